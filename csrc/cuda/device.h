// The few words in which the kernels speak to a GPU: where a thread stands, shared memory, barriers, shuffles, launches.
//
// With EQUITOOLS_CUDA_ON_HOST the same words are tests/csrc/cuda_on_host.h, which runs the threads of a block one after the
// other on a CPU: so the kernels themselves are tested where there is no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "../core/portable.h"

#ifdef EQUITOOLS_CUDA_ON_HOST
#include "cuda_on_host.h"
#else
#include <cuda_runtime.h>

#define EQUITOOLS_KERNEL static __global__ void
#define EQUITOOLS_DEVICE static __device__ __forceinline__
#define EQUITOOLS_BOUNDS(threads) __launch_bounds__(threads)

namespace equitools {
namespace gpu {

EQUITOOLS_DEVICE int thread() { return int(threadIdx.x); }
EQUITOOLS_DEVICE int threads() { return int(blockDim.x); }
EQUITOOLS_DEVICE int64_t block() { return blockIdx.x; }
EQUITOOLS_DEVICE int64_t blocks() { return gridDim.x; }
EQUITOOLS_DEVICE int part() { return int(blockIdx.y); }
EQUITOOLS_DEVICE void block_barrier() { __syncthreads(); }
EQUITOOLS_DEVICE void warp_barrier() { __syncwarp(); }

EQUITOOLS_DEVICE unsigned char* shared() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}

template <typename T>
EQUITOOLS_DEVICE T shuffle_xor(T v, int lanes) {
  return __shfl_xor_sync(0xffffffffu, v, lanes);
}

EQUITOOLS_DEVICE int64_t add_atomic(int64_t* p, int64_t v) {
  return int64_t(atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v)));
}
EQUITOOLS_DEVICE void add_atomic(float* p, float v) { atomicAdd(p, v); }
EQUITOOLS_DEVICE void add_atomic(double* p, double v) { atomicAdd(p, v); }

inline void check(cudaError_t error, const char* doing) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("CUDA error while ") + doing + ": " + cudaGetErrorString(error));
}

// One dimension of blocks, `parts` of them side by side in y.
template <typename... P, typename... A>
void launch(const char* name, void (*kernel)(P...), int64_t blocks, int parts, int threads, size_t shared, void* stream,
            A... arguments) {
  if (blocks <= 0 || parts <= 0) return;
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), name);
  kernel<<<dim3(unsigned(blocks), unsigned(parts)), threads, shared, static_cast<cudaStream_t>(stream)>>>(
      static_cast<P>(arguments)...);
  check(cudaGetLastError(), name);
}

inline void set_zero(void* p, size_t bytes, void* stream) {
  if (bytes) check(cudaMemsetAsync(p, 0, bytes, static_cast<cudaStream_t>(stream)), "clearing memory");
}

inline void upload(void* to, const void* from, size_t bytes, void* stream) {
  if (bytes)
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "copying tables");
}

// Waits for the stream.
inline void read_back(void* to, const void* from, size_t bytes, void* stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)), "reading a result");
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "waiting for the stream");
}

inline bool capturing(void* stream) {
  cudaStreamCaptureStatus state = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &state), "asking about a capture");
  return state != cudaStreamCaptureStatusNone;
}

inline void set_device(int index) { check(cudaSetDevice(index), "choosing the device"); }

inline int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking about the device");
  return count;
}

}  // namespace gpu
}  // namespace equitools
#endif

namespace equitools {
namespace gpu {

constexpr int kWarp = 32;

EQUITOOLS_DEVICE int lane() { return thread() % kWarp; }
EQUITOOLS_DEVICE int warp() { return thread() / kWarp; }
EQUITOOLS_DEVICE int64_t global_thread() { return block() * threads() + thread(); }
EQUITOOLS_DEVICE int64_t global_threads() { return blocks() * threads(); }

// Blocks for n items, one a thread; kernels of this kind go on in steps of global_threads().
inline int64_t blocks_for(int64_t n, int threads) {
  const int64_t wanted = (n + threads - 1) / threads;
  return wanted < (int64_t(1) << 30) ? wanted : (int64_t(1) << 30);
}

}  // namespace gpu
}  // namespace equitools
