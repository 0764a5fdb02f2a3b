#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace equitools {
namespace {

int detect() {
#if defined(__x86_64__)
  const char* asked = std::getenv("EQUITOOLS_CPU_CAPABILITY");
  int ceiling = 2;
  if (asked && std::strcmp(asked, "default") == 0) ceiling = 0;
  if (asked && std::strcmp(asked, "avx2") == 0) ceiling = 1;
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  const int found = avx512 ? 2 : avx2 ? 1 : 0;
  return found < ceiling ? found : ceiling;
#else
  return 0;
#endif
}

}  // namespace

int cpu_capability() {
  static const int capability = detect();
  return capability;
}

const Kernels& kernels() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return kernels_avx512();
  if (cpu_capability() == 1) return kernels_avx2();
#endif
  return kernels_baseline();
}

}  // namespace equitools
