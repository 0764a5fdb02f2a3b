// The peak rate of fused multiply-adds: independent chains in registers, the widest vectors that the processor has.
// Usage: fma THREADS wall|cpu -> two numbers, GFLOP/s in float and in double; cpu: by the processor time of one thread.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

namespace {

constexpr long kSteps = 20000000;
constexpr int kChains = 12;  // more than latency times issue width

template <typename T>
#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline))
#endif
void chains_wide(T* sink) {
  typedef T V __attribute__((vector_size(64)));
  V a[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) a[i] = V{} + T(0.1 * i);
  const V b = V{} + T(0.999), c = V{} + T(0.001);
  for (long k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) a[i] = a[i] * b + c;
  }
  V sum = V{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum += a[i];
  *sink = sum[0];
}

template <typename T>
#if defined(__x86_64__)
__attribute__((target("avx2,fma"), noinline))
#endif
void chains_narrow(T* sink) {
  typedef T V __attribute__((vector_size(32)));
  V a[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) a[i] = V{} + T(0.1 * i);
  const V b = V{} + T(0.999), c = V{} + T(0.001);
  for (long k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) a[i] = a[i] * b + c;
  }
  V sum = V{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum += a[i];
  *sink = sum[0];
}

double now(bool processor) {
  timespec t;
  clock_gettime(processor ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

template <typename T>
double rate(int threads, bool processor) {
#if defined(__x86_64__)
  const bool wide = __builtin_cpu_supports("avx512f");
#else
  const bool wide = false;
#endif
  double best = 0;
  for (int repetition = 0; repetition < 3; ++repetition) {
    std::vector<T> sinks(threads * 64);
    std::vector<std::thread> workers;
    const double start = now(processor);
    for (int t = 0; t < threads; ++t) {
      T* sink = &sinks[t * 64];
      workers.emplace_back([=] { wide ? chains_wide<T>(sink) : chains_narrow<T>(sink); });
    }
    for (auto& worker : workers) worker.join();
    const double seconds = now(processor) - start;
    const double lanes = (wide ? 64.0 : 32.0) / sizeof(T);
    best = std::max(best, 2.0 * threads * kSteps * kChains * lanes / seconds / 1e9);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const bool processor = argc > 2 && std::strcmp(argv[2], "cpu") == 0;
  std::printf("%.1f %.1f\n", rate<float>(threads, processor), rate<double>(threads, processor));
}
