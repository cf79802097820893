// Enough of CUDA to run the kernels on a CPU. The threads of a block take turns: each
// runs until it waits for the others.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

using std::exp;
using std::fabs;
using std::log;
using std::max;
using std::min;
using std::pow;
using std::sqrt;
struct Index { int x; };

static Index threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t scheduler;
static std::vector<ucontext_t> threads;
alignas(16) double memory[48 * 1024 / 8];  // shared memory of a block

static void __syncthreads() { swapcontext(&threads[threadIdx.x], &scheduler); }

static float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(threads)

// CuPy compiles with -ftz=true: floats below 2^-126 are read and written as zeros.
// As long as one of these exists, x86 CPUs do the same.
struct FlushToZero {
#if defined(__SSE2__)
    unsigned before = _mm_getcsr();
    FlushToZero() { _mm_setcsr(before | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before); }
#endif
};

static void (*work)(void*);
static void* arguments;
static std::vector<bool> done;

static void run_thread() {
    work(arguments);
    done[threadIdx.x] = true;
    swapcontext(&threads[threadIdx.x], &scheduler);
}

// Run a kernel. Returns false if threads of a block do not wait equally often, or if more
// shared memory is written than requested.
template <typename Kernel>
bool launch(int grid, int block, int shared_bytes, Kernel kernel) {
    FlushToZero flush;
    const size_t stack = 64 * 1024;
    std::vector<char> stacks(stack * block);
    char* begin = reinterpret_cast<char*>(memory);
    work = [](void* kernel) { (*static_cast<Kernel*>(kernel))(); };
    arguments = &kernel;
    gridDim = {grid}, blockDim = {block};
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
        std::memset(memory, 0xff, sizeof memory);  // NaN until written
        threads.resize(block), done.assign(block, false);
        for (int t = 0; t < block; ++t) {
            getcontext(&threads[t]);
            threads[t].uc_stack.ss_sp = stacks.data() + t * stack;
            threads[t].uc_stack.ss_size = stack;
            threads[t].uc_link = nullptr;
            makecontext(&threads[t], run_thread, 0);
        }
        while (!done[0]) {
            for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x)
                swapcontext(&scheduler, &threads[threadIdx.x]);
            if (std::count(done.begin(), done.end(), bool(done[0])) != block)
                return false;
        }
        for (char* c = begin + shared_bytes; c < begin + sizeof memory; ++c)
            if (*c != char(0xff)) return false;
    }
    return true;
}

template <typename... Parameters, size_t... I>
bool launch_with(void (*kernel)(Parameters...), int grid, int block, int shared_bytes,
                 void** values, std::index_sequence<I...>) {
    return launch(grid, block, shared_bytes, [=] {
        kernel(*static_cast<std::remove_cv_t<Parameters>*>(values[I])...);
    });
}

// Run a kernel whose arguments are pointed at, as CUDA's driver takes them.
template <typename... Parameters>
bool launch_with(void (*kernel)(Parameters...), int grid, int block, int shared_bytes,
                 void** values) {
    return launch_with(kernel, grid, block, shared_bytes, values,
                       std::index_sequence_for<Parameters...>());
}
