// CUDA C on a CPU: enough of the language and its runtime to run a .cu file, unmodified, and to catch its mistakes.
//
//     g++ -x c++ -std=c++17 -O1 -ffp-contract=off -fno-gnu-unique -fPIC -shared -I <this folder>
//         -include cuda_on_host.h kernel.cu -o kernel.so
//
// One fiber per CUDA thread; the blocks of a grid run one after another. A fiber runs until it waits, at
// __syncthreads or at a *_sync primitive; then the next one is chosen: forward, in reverse, or at random
// (cuda_on_host_order). A program with a missing barrier gives different results in different orders.
// Shared memory is filled with NaN before each block. What is caught and reported as
// cudaErrorLaunchFailure, with cuda_on_host_message() saying why: threads that wait at different barriers,
// a barrier that some thread never reaches, a lane outside its own mask, lanes of one mask at different
// primitives, a shuffle from a lane that is not in the mask or has returned.
//
// It says nothing of speed. Functions such as expf are the host's, not the device's; + - * / fmaf and sqrtf
// are IEEE on both.
#pragma once
#if !defined(__CUDACC__)

#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Every thread_local of the library is shared memory, and nothing else is: see poison_shared_memory.
#define __shared__ static thread_local

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
typedef struct cuda_stream* cudaStream_t;
struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

inline uint3 threadIdx __attribute__((visibility("hidden"))), blockIdx __attribute__((visibility("hidden")));
inline dim3 blockDim __attribute__((visibility("hidden"))), gridDim __attribute__((visibility("hidden")));

namespace cuda_on_host {

constexpr int most_threads = 1024, lanes = 32;
constexpr size_t stack_bytes = 256 * 1024;
enum Order { forward = 0, reverse = 1, shuffled = 2 };

#if defined(__x86_64__)
// Saves what a called function must preserve, then runs on another stack from where that one was left.
typedef void* Context;
extern "C" void cuda_on_host_switch(Context* from, Context to);
asm(R"(
    .text
    .weak cuda_on_host_switch
    .hidden cuda_on_host_switch
    .type cuda_on_host_switch, @function
cuda_on_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size cuda_on_host_switch, . - cuda_on_host_switch
)");
inline void switch_to(Context& from, Context& to) { cuda_on_host_switch(&from, to); }
inline void prepare(Context& fiber, char* stack, void (*start)())
{
    void** top = reinterpret_cast<void**>(stack + stack_bytes);
    *--top = nullptr;  // keeps the stack aligned as after a call
    *--top = reinterpret_cast<void*>(start);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber = top;
}
#else
typedef ucontext_t Context;
inline void switch_to(Context& from, Context& to) { swapcontext(&from, &to); }
inline void prepare(Context& fiber, char* stack, void (*start)())
{
    getcontext(&fiber);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = stack_bytes;
    fiber.uc_link = nullptr;
    makecontext(&fiber, start, 0);
}
#endif

struct Thread {
    Context context;
    uint3 index;
    int lane, warp;
};

// What the lanes of a warp hand each other: each gives a value and names the lane that it wants one from.
struct Warp {
    unsigned alive, ready, waiting;
    unsigned mask[lanes];
    const char* primitive[lanes];
    uint64_t given[lanes], received[lanes];
    int source[lanes];
};

struct Machine {
    Thread thread[most_threads];
    Warp warp[most_threads / lanes];
    Thread* current;
    Context scheduler;
    char* stacks;
    int threads, warps, alive, at_barrier, barrier_place;
    Order order = forward;
    uint64_t random;
    bool failed;
    char message[256] = "";
    void (*body)(const void*);
    const void* arguments;
};
inline Machine machine __attribute__((visibility("hidden")));
inline pthread_mutex_t one_launch_at_a_time __attribute__((visibility("hidden"))) = PTHREAD_MUTEX_INITIALIZER;

// Leaves the kernel for good: its fibers are abandoned where they stand.
[[noreturn]] inline void fail(const char* why)
{
    const Thread& t = *machine.current;
    snprintf(machine.message, sizeof machine.message, "block (%u,%u,%u), thread (%u,%u,%u): %s", blockIdx.x,
             blockIdx.y, blockIdx.z, t.index.x, t.index.y, t.index.z, why);
    machine.failed = true;
    Context lost;
    switch_to(lost, machine.scheduler);
    abort();
}

inline int random_below(int n)
{
    machine.random ^= machine.random << 13;
    machine.random ^= machine.random >> 7;
    machine.random ^= machine.random << 17;
    return static_cast<int>((machine.random >> 20) % static_cast<unsigned>(n));
}

// The thread to run next: in forward order the next ready one after `current`, its own warp first.
inline Thread* choose()
{
    const int total = machine.threads, here = static_cast<int>(machine.current - machine.thread);
    const int start = machine.order == shuffled ? random_below(total) : here;
    const int step = machine.order == forward || (machine.order == shuffled && random_below(2)) ? 1 : total - 1;
    int at = start;
    for (int tried = 0; tried < total; ++tried) {
        at = (at + step) % total;
        const Warp& w = machine.warp[at / lanes];
        if (w.ready >> (at % lanes) & 1u) return &machine.thread[at];
    }
    return nullptr;
}

inline void run_another()
{
    Thread* self = machine.current;
    Thread* next = choose();
    if (!next) fail("all threads wait, at different barriers or for a thread that never comes");
    if (next == self) return;
    machine.current = next;
    threadIdx = next->index;
    switch_to(self->context, next->context);
}

inline void release_barrier()
{
    machine.at_barrier = 0;
    for (int w = 0; w < machine.warps; ++w) machine.warp[w].ready = machine.warp[w].alive;
}

inline void wait_for_block(int place)
{
    if (machine.alive != machine.threads) fail("__syncthreads after a thread of the block has returned");
    if (machine.at_barrier == 0) machine.barrier_place = place;
    if (machine.barrier_place != place) fail("threads of one block are at different __syncthreads");
    if (++machine.at_barrier == machine.alive) return release_barrier();
    machine.warp[machine.current->warp].ready &= ~(1u << machine.current->lane);
    run_another();
}

// All lanes of a mask have come: each receives what its source gave.
inline void exchange(Warp& w, unsigned mask)
{
    for (int lane = 0; lane < lanes; ++lane) {
        if (!(mask >> lane & 1u)) continue;
        if (!(mask >> w.source[lane] & 1u)) fail("a shuffle reads from a lane that is not in its mask");
        w.received[lane] = w.given[w.source[lane]];
    }
    w.waiting &= ~mask;
    w.ready |= mask;
}

inline uint64_t meet(unsigned mask, uint64_t value, int source, const char* primitive)
{
    Thread& self = *machine.current;
    Warp& w = machine.warp[self.warp];
    const unsigned me = 1u << self.lane;
    if (!(mask & me)) fail("a lane is not in the mask of its own *_sync");
    if ((mask & w.alive) != mask) fail("a *_sync waits for a lane that has returned or never was");
    for (int lane = 0; lane < lanes; ++lane)
        if ((w.waiting & mask) >> lane & 1u && (w.mask[lane] != mask || w.primitive[lane] != primitive))
            fail("lanes of one mask are at different *_sync primitives");
    w.given[self.lane] = value;
    w.source[self.lane] = source;
    w.mask[self.lane] = mask;
    w.primitive[self.lane] = primitive;
    w.waiting |= me;
    if ((w.waiting & mask) == mask) {
        exchange(w, mask);
    } else {
        w.ready &= ~me;
        run_another();
    }
    return w.received[self.lane];
}

template <class V>
V shuffle(unsigned mask, V value, int source, const char* primitive)
{
    static_assert(sizeof(V) == 4 || sizeof(V) == 8, "shuffles move 32 or 64 bits");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = meet(mask, bits, source, primitive);
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline int my_lane() { return machine.current->lane; }

inline unsigned ballot(unsigned mask, bool holds)
{
    unsigned votes = 0;  // by 32 turns of one shuffle each: rare, so kept simple
    for (int lane = 0; lane < lanes; ++lane)
        if (mask >> lane & 1u) votes |= static_cast<unsigned>(shuffle<unsigned>(mask, holds, lane, "ballot")) << lane;
    return votes;
}

// Where the library's thread_local variables lie, for this thread: they are its shared memory.
inline int find_shared_memory(struct dl_phdr_info* info, size_t, void* found)
{
    bool ours = false;
    const ElfW(Phdr)* local = nullptr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = info->dlpi_phdr[i];
        const uintptr_t start = info->dlpi_addr + part.p_vaddr, here = reinterpret_cast<uintptr_t>(&machine);
        if (part.p_type == PT_LOAD && here >= start && here < start + part.p_memsz) ours = true;
        if (part.p_type == PT_TLS) local = &part;
    }
    if (!ours) return 0;
    if (local && info->dlpi_tls_data) {
        static_cast<std::pair<void*, size_t>*>(found)->first = info->dlpi_tls_data;
        static_cast<std::pair<void*, size_t>*>(found)->second = local->p_memsz;
    }
    return 1;
}

inline void poison_shared_memory()
{
    std::pair<void*, size_t> shared{nullptr, 0};
    dl_iterate_phdr(find_shared_memory, &shared);
    if (shared.first) memset(shared.first, 0xff, shared.second);
}

inline void finish_thread()
{
    Thread& self = *machine.current;
    Warp& w = machine.warp[self.warp];
    w.alive &= ~(1u << self.lane);
    w.ready &= ~(1u << self.lane);
    if (machine.at_barrier > 0) fail("a thread returns while others wait at __syncthreads");
    for (int lane = 0; lane < lanes; ++lane)
        if (w.waiting >> lane & 1u && w.mask[lane] >> self.lane & 1u) fail("a thread returns while lanes of its warp wait for it");
    if (--machine.alive == 0) {
        Context lost;
        switch_to(lost, machine.scheduler);
    }
    run_another();
}

inline void start_thread()
{
    machine.body(machine.arguments);
    finish_thread();
    abort();
}

inline void run_block()
{
    poison_shared_memory();
    const dim3 size = blockDim;
    machine.alive = machine.threads;
    machine.at_barrier = 0;
    for (int n = 0; n < machine.threads; ++n) {
        Thread& t = machine.thread[n];
        const unsigned u = static_cast<unsigned>(n);
        t.index = {u % size.x, u / size.x % size.y, u / (size.x * size.y)};
        t.lane = n % lanes;
        t.warp = n / lanes;
        prepare(t.context, machine.stacks + static_cast<size_t>(n) * stack_bytes, start_thread);
    }
    for (int w = 0; w < machine.warps; ++w) {
        const int left = machine.threads - w * lanes;
        machine.warp[w].alive = machine.warp[w].ready = left >= lanes ? ~0u : (1u << left) - 1;
        machine.warp[w].waiting = 0;
    }
    machine.current = &machine.thread[machine.order == reverse ? machine.threads - 1 : 0];
    threadIdx = machine.current->index;
    switch_to(machine.scheduler, machine.current->context);
}

inline bool allocate_stacks()
{
    if (machine.stacks) return true;
    const size_t bytes = static_cast<size_t>(most_threads) * stack_bytes;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    machine.stacks = static_cast<char*>(memory);
    // The lowest page of each stack is out of bounds: an overflow stops at once.
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (int n = 0; n < most_threads; ++n) mprotect(machine.stacks + static_cast<size_t>(n) * stack_bytes, page, PROT_NONE);
    return true;
}

inline cudaError_t run_grid(dim3 grid, dim3 block, void (*body)(const void*), const void* arguments)
{
    const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (threads < 1 || threads > most_threads || !grid.x || !grid.y || !grid.z) return cudaErrorInvalidConfiguration;
    pthread_mutex_lock(&one_launch_at_a_time);
    machine.failed = !allocate_stacks();
    machine.threads = static_cast<int>(threads);
    machine.warps = (machine.threads + lanes - 1) / lanes;
    blockDim = block;
    gridDim = grid;
    machine.random = 88172645463325252ull;
    machine.body = body;
    machine.arguments = arguments;
    for (unsigned z = 0; z < grid.z && !machine.failed; ++z)
        for (unsigned y = 0; y < grid.y && !machine.failed; ++y)
            for (unsigned x = 0; x < grid.x && !machine.failed; ++x) {
                blockIdx = {x, y, z};
                run_block();
            }
    const bool failed = machine.failed;
    pthread_mutex_unlock(&one_launch_at_a_time);
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

}  // namespace cuda_on_host

template <class Parameter, class Argument>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameter), Argument&& argument)
{
    struct Call {
        void (*kernel)(Parameter);
        std::remove_const_t<Parameter> argument;
    };
    const Call call{kernel, argument};
    const auto body = [](const void* given) {
        const Call& c = *static_cast<const Call*>(given);
        c.kernel(c.argument);
    };
    return cuda_on_host::run_grid(config->gridDim, config->blockDim, body, &call);
}

extern "C" inline __attribute__((used)) void cuda_on_host_order(int order)
{
    cuda_on_host::machine.order = static_cast<cuda_on_host::Order>(order);
}
extern "C" inline __attribute__((used)) const char* cuda_on_host_message() { return cuda_on_host::machine.message; }

// Each place in the source is its own barrier, by its number.
#define __syncthreads() cuda_on_host::wait_for_block(__COUNTER__)
inline void __syncwarp(unsigned mask = ~0u) { cuda_on_host::meet(mask, 0, cuda_on_host::my_lane(), "syncwarp"); }
template <class V>
V __shfl_sync(unsigned mask, V v, int source, int width = 32)
{
    const int base = cuda_on_host::my_lane() & ~(width - 1);
    return cuda_on_host::shuffle(mask, v, base | (source & (width - 1)), "shfl");
}
template <class V>
V __shfl_xor_sync(unsigned mask, V v, int distance, int width = 32)
{
    const int me = cuda_on_host::my_lane(), other = me ^ distance;
    return cuda_on_host::shuffle(mask, v, (other & ~(width - 1)) > (me & ~(width - 1)) ? me : other, "shfl_xor");
}
template <class V>
V __shfl_down_sync(unsigned mask, V v, unsigned distance, int width = 32)
{
    const int me = cuda_on_host::my_lane(), in_group = (me & (width - 1)) + static_cast<int>(distance);
    return cuda_on_host::shuffle(mask, v, in_group < width ? me + static_cast<int>(distance) : me, "shfl_down");
}
template <class V>
V __shfl_up_sync(unsigned mask, V v, unsigned distance, int width = 32)
{
    const int me = cuda_on_host::my_lane(), in_group = (me & (width - 1)) - static_cast<int>(distance);
    return cuda_on_host::shuffle(mask, v, in_group >= 0 ? me - static_cast<int>(distance) : me, "shfl_up");
}
inline unsigned __ballot_sync(unsigned mask, int holds) { return cuda_on_host::ballot(mask, holds != 0); }
inline int __any_sync(unsigned mask, int holds) { return cuda_on_host::ballot(mask, holds != 0) != 0; }
inline int __all_sync(unsigned mask, int holds) { return cuda_on_host::ballot(mask, holds != 0) == mask; }

// One rounding each; -ffp-contract=off keeps them apart.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline int __float_as_int(float v)
{
    int bits;
    memcpy(&bits, &v, sizeof v);
    return bits;
}
inline float __int_as_float(int bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
