// The convolution's kernels of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/convolution_plan.h"

namespace equitools {

template <typename T>
struct ConvolutionOf {
  int64_t (*scratch)(const ConvPlan&, int64_t hidden);  // numbers of type T that a thread works in, 64-byte aligned
  // Receivers [begin, end). The gradients dx and dv are added to, so that each thread needs its own.
  void (*forward)(const ConvData<T>&, T* scratch, int64_t begin, int64_t end);
  void (*backward)(const ConvData<T>&, T* scratch, int64_t begin, int64_t end);
  void (*double_backward)(const ConvData<T>&, T* scratch, int64_t begin, int64_t end);
};

struct Convolution {
  ConvolutionOf<float> f32;
  ConvolutionOf<double> f64;
};

const Convolution& convolution_baseline();
const Convolution& convolution_avx2();    // only where the build has x86-64
const Convolution& convolution_avx512();  // only where the build has x86-64
const Convolution& convolution();

template <typename T>
const ConvolutionOf<T>& convolution_of();
template <>
inline const ConvolutionOf<float>& convolution_of<float>() {
  return convolution().f32;
}
template <>
inline const ConvolutionOf<double>& convolution_of<double>() {
  return convolution().f64;
}

}  // namespace equitools
