// The words of csrc/cuda/device.h on a CPU: runs the blocks of a grid one after the other, and the threads of a block as
// fibers that change at barriers and shuffles. Shared memory is new for every block, of exactly the size asked for, and
// full of NaN. A barrier that some threads never reach ends the program. The order of the threads can be reversed, so
// that a missing barrier is seen.
#pragma once

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define EQUITOOLS_KERNEL static void
#define EQUITOOLS_DEVICE static inline
#define EQUITOOLS_BOUNDS(threads)

namespace equitools {
namespace gpu {

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
};

struct Barrier {
  int members = 0, arrived = 0;
  long generation = 0;
};

struct Host {
  static constexpr size_t kStack = 512 * 1024;
  int thread = 0, threads = 0, part = 0;
  int64_t block = 0, blocks = 0;
  unsigned char* shared = nullptr;
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  const void* scheduler_bottom = nullptr;
  size_t scheduler_size = 0;
  Barrier whole;
  std::vector<Barrier> warps;
  std::vector<double> exchange;  // a slot for each thread
  bool progress = false;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  bool reversed = false;
};

inline Host& host() {
  static Host h;
  return h;
}

inline void to_scheduler(bool last) {
  Host& h = host();
  Fiber& f = h.fibers[h.thread];
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(last ? nullptr : &fake, h.scheduler_bottom, h.scheduler_size);
  swapcontext(&f.context, &h.scheduler);
  __sanitizer_finish_switch_fiber(fake, &h.scheduler_bottom, &h.scheduler_size);
#else
  (void)last;
  swapcontext(&f.context, &h.scheduler);
#endif
}

inline void enter() {
  Host& h = host();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &h.scheduler_bottom, &h.scheduler_size);
#endif
  h.body(h.arguments);
  h.fibers[h.thread].done = true;
  h.progress = true;
  to_scheduler(true);
}

inline void wait_at(Barrier& b) {
  Host& h = host();
  h.progress = true;
  if (++b.arrived == b.members) {
    b.arrived = 0;
    ++b.generation;
    return;
  }
  const long mine = b.generation;
  while (b.generation == mine) to_scheduler(false);
  h.progress = true;
}

inline int thread() { return host().thread; }
inline int threads() { return host().threads; }
inline int64_t block() { return host().block; }
inline int64_t blocks() { return host().blocks; }
inline int part() { return host().part; }
inline unsigned char* shared() { return host().shared; }
inline void block_barrier() { wait_at(host().whole); }
inline void warp_barrier() { wait_at(host().warps[host().thread / 32]); }

template <typename T>
T shuffle_xor(T v, int lanes) {
  Host& h = host();
  const int me = h.thread;
  std::memcpy(&h.exchange[me], &v, sizeof(T));
  warp_barrier();
  T other;
  std::memcpy(&other, &h.exchange[me ^ lanes], sizeof(T));
  warp_barrier();
  return other;
}

inline int64_t add_atomic(int64_t* p, int64_t v) {
  const int64_t before = *p;
  *p += v;
  return before;
}
inline void add_atomic(float* p, float v) { *p += v; }
inline void add_atomic(double* p, double v) { *p += v; }

inline void run_block(Host& h) {
  const int n = h.threads;
  h.whole = {n, 0, 0};
  h.warps.assign((n + 31) / 32, {});
  for (int t = 0; t < n; ++t) ++h.warps[t / 32].members;
  if (int(h.fibers.size()) < n) h.fibers.resize(n);
  for (int t = 0; t < n; ++t) {
    Fiber& f = h.fibers[t];
    if (!f.stack) f.stack.reset(new char[Host::kStack]);
    f.done = false;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = Host::kStack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
  }
  for (int left = n; left > 0;) {
    h.progress = false;
    for (int k = 0; k < n; ++k) {
      const int t = h.reversed ? n - 1 - k : k;
      Fiber& f = h.fibers[t];
      if (f.done) continue;
      h.thread = t;
#if defined(__SANITIZE_ADDRESS__)
      void* fake = nullptr;
      __sanitizer_start_switch_fiber(&fake, f.stack.get(), Host::kStack);
      swapcontext(&h.scheduler, &f.context);
      __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
      swapcontext(&h.scheduler, &f.context);
#endif
      if (f.done) --left;
    }
    if (left > 0 && !h.progress) {
      std::fprintf(stderr, "a barrier that some threads of the block never reach\n");
      std::abort();
    }
  }
}

template <typename... P, typename... A>
void launch(const char*, void (*kernel)(P...), int64_t blocks, int parts, int threads, size_t shared, void*,
            A... arguments) {
  if (blocks <= 0 || parts <= 0) return;
  Host& h = host();
  auto call = [&] { kernel(static_cast<P>(arguments)...); };
  h.body = [](void* p) { (*static_cast<decltype(call)*>(p))(); };
  h.arguments = &call;
  h.threads = threads;
  h.blocks = blocks;
  h.exchange.assign(threads, 0.0);
  h.reversed = std::getenv("EQUITOOLS_ON_HOST_REVERSED") != nullptr;
  for (h.part = 0; h.part < parts; ++h.part)
    for (h.block = 0; h.block < blocks; ++h.block) {
      std::unique_ptr<double[]> memory(new double[(shared + 7) / 8]);
      std::memset(memory.get(), 0xff, (shared + 7) / 8 * 8);  // NaN as float and as double
      h.shared = reinterpret_cast<unsigned char*>(memory.get());
      run_block(h);
    }
}

inline void set_zero(void* p, size_t bytes, void*) {
  if (bytes) std::memset(p, 0, bytes);
}
inline void upload(void* to, const void* from, size_t bytes, void*) {
  if (bytes) std::memcpy(to, from, bytes);
}
inline void read_back(void* to, const void* from, size_t bytes, void*) { std::memcpy(to, from, bytes); }
inline bool capturing(void*) { return std::getenv("EQUITOOLS_ON_HOST_CAPTURING") != nullptr; }
inline void set_device(int) {}
inline int multiprocessors() { return 2; }

}  // namespace gpu
}  // namespace equitools
