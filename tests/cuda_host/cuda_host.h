/* CUDA kernels as C++ on the CPU: blocks in turn, a fiber for each thread of a block.
 *
 * A .cu file that includes device.h and names its kernels with KERNEL compiles with g++ and this header. A fiber
 * runs until it waits at a barrier of its warp or its block, or ends. Threads of a block run in ascending or
 * descending order, so that a missing barrier shows as a difference between the two. Barriers that cannot be
 * met, and launches that no device takes, are told as errors. */
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static __attribute__((section("cuda_shared")))
#define __launch_bounds__(...)
#define __restrict__
#define __align__(n) __attribute__((aligned(n)))

/* where the linker puts all shared arrays; hidden: every library has its own */
extern "C" __attribute__((weak, visibility("hidden"))) char __start_cuda_shared[], __stop_cuda_shared[];

namespace cuda_host {

struct Index {
    unsigned x, y, z;
};

constexpr unsigned WARP = 32, MOST_THREADS = 1024, MOST_SHARED = 227 * 1024;
constexpr size_t STACK = 256 * 1024;

enum class State { runnable, at_warp, at_block, done };

struct Fiber {
    Index thread;
    unsigned rank;  // of the thread in its block
    State state;
    unsigned mask;  // lanes that it waits for
    uint64_t slot;  // what it shows to the other lanes of its warp
    char *stack;
    ucontext_t context;
    jmp_buf place;
    bool started;
};

struct Launch {
    std::vector<Fiber> fibers;
    Index grid, block, block_index;
    Fiber *current;
    unsigned live, at_block;
    bool backward;
    const char *error;
    void (*body)(const void *);
    const void *arguments;
    ucontext_t scheduler;
    jmp_buf scheduler_place;
    unsigned char *shared;
};

inline Launch *launch = nullptr;  // one at a time: shared memory is static

/* -- switching ------------------------------------------------------------------------------------------- */

/* makecontext gives a fiber its stack; from then on jumps are enough, and need no system call. AddressSanitizer
 * must be told of every switch, and does not follow jumps. */
#if defined(__SANITIZE_ADDRESS__)
inline const void *scheduler_bottom = nullptr;
inline size_t scheduler_size = 0;

inline void resume(Fiber &fiber) {
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack, STACK);
    swapcontext(&launch->scheduler, &fiber.context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}
inline void leave() {
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, scheduler_bottom, scheduler_size);
    swapcontext(&launch->current->context, &launch->scheduler);
    __sanitizer_finish_switch_fiber(fake, &scheduler_bottom, &scheduler_size);
}
inline void arrived() { __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size); }
#else
inline void resume(Fiber &fiber) {
    if (_setjmp(launch->scheduler_place)) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}
inline void leave() {
    if (!_setjmp(launch->current->place)) _longjmp(launch->scheduler_place, 1);
}
inline void arrived() {}
#endif

inline void fail(const char *message) {
    if (!launch->error) launch->error = message;
    leave();
    abort();  // nobody resumes a fiber after an error
}

/* -- barriers -------------------------------------------------------------------------------------------- */

inline void release_block() {
    for (Fiber &fiber : launch->fibers)
        if (fiber.state == State::at_block) fiber.state = State::runnable;
    launch->at_block = 0;
}

inline void sync_block() {
    launch->at_block += 1;
    if (launch->at_block == launch->live) {
        release_block();
        return;
    }
    launch->current->state = State::at_block;
    leave();
}

inline void sync_warp(unsigned mask) {
    Fiber &self = *launch->current;
    unsigned lane = self.rank % WARP, first = self.rank - lane, waiting = 1u << lane;
    if (!(mask & waiting)) fail("a thread is not in the mask of its own warp barrier");
    for (unsigned i = 0; i < WARP && first + i < launch->fibers.size(); i++) {
        Fiber &other = launch->fibers[first + i];
        if (!(mask >> i & 1) || &other == &self) continue;
        if (other.state == State::done) fail("a warp barrier waits for a thread that has ended");
        if (other.state == State::at_block) fail("threads of a warp wait at different barriers");
        if (other.state != State::at_warp) continue;
        if (other.mask != mask) fail("threads of a warp wait with different masks");
        waiting |= 1u << i;
    }
    size_t beyond = launch->fibers.size() - first;
    unsigned there = beyond >= WARP ? ~0u : (1u << beyond) - 1;
    if (mask & ~there) fail("the mask of a warp barrier names threads that the block does not have");
    if (waiting == mask) {
        for (unsigned i = 0; i < WARP; i++)
            if ((mask >> i & 1) && i != lane) launch->fibers[first + i].state = State::runnable;
        return;
    }
    self.mask = mask;
    self.state = State::at_warp;
    leave();
}

/* -- running --------------------------------------------------------------------------------------------- */

inline void fiber_main() {
    arrived();
    for (;;) {  // once for every block
        launch->body(launch->arguments);
        launch->current->state = State::done;
        launch->live -= 1;
        if (launch->live && launch->at_block == launch->live) release_block();
        leave();
    }
}

inline void run_block() {
    size_t n = launch->fibers.size();
    for (Fiber &fiber : launch->fibers) fiber.state = State::runnable;
    launch->live = (unsigned)n;
    launch->at_block = 0;
    while (launch->live && !launch->error) {
        bool ran = false;
        for (size_t i = 0; i < n && !launch->error; i++) {
            Fiber &fiber = launch->fibers[launch->backward ? n - 1 - i : i];
            if (fiber.state != State::runnable) continue;
            launch->current = &fiber;
            resume(fiber);
            ran = true;
        }
        if (!ran && launch->live && !launch->error) launch->error = "threads wait at barriers that nobody releases";
    }
}

struct Dimensions {
    Index grid, block;
    unsigned shared, backward;
};

inline const char *run(void (*body)(const void *), const Dimensions &dimensions, const void *arguments) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    size_t n = (size_t)dimensions.block.x * dimensions.block.y * dimensions.block.z;
    const Index &grid = dimensions.grid;
    if (n < 1 || n > MOST_THREADS) return "a block has 1 to 1024 threads";
    if (grid.x < 1 || grid.y < 1 || grid.z < 1) return "a grid has no block";
    if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return "a grid has too many blocks";
    if (dimensions.shared > MOST_SHARED) return "a block asks for too much shared memory";
    Launch own{};
    launch = &own;
    std::vector<unsigned char> shared(dimensions.shared + 16);
    own.shared = shared.data() + (16 - (uintptr_t)shared.data() % 16) % 16;
    own.grid = grid;
    own.block = dimensions.block;
    own.backward = dimensions.backward;
    own.body = body;
    own.arguments = arguments;
    own.fibers.resize(n);
    static char *stacks = (char *)mmap(nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return "no memory for the stacks of the threads";
    for (size_t i = 0; i < n; i++) {
        Fiber &fiber = own.fibers[i];
        fiber.rank = (unsigned)i;
        fiber.thread = {(unsigned)(i % own.block.x), (unsigned)(i / own.block.x % own.block.y),
                        (unsigned)(i / ((size_t)own.block.x * own.block.y))};
        fiber.stack = stacks + i * STACK;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
    }
    for (unsigned z = 0; z < grid.z && !own.error; z++)
        for (unsigned y = 0; y < grid.y && !own.error; y++)
            for (unsigned x = 0; x < grid.x && !own.error; x++) {
                own.block_index = {x, y, z};
                memset(own.shared, 0xff, dimensions.shared);  // NaN: nobody may read what nobody wrote
                if (__start_cuda_shared)
                    memset(__start_cuda_shared, 0xff, (size_t)(__stop_cuda_shared - __start_cuda_shared));
                run_block();
            }
    launch = nullptr;
    return own.error;
}

}  // namespace cuda_host

#define threadIdx (cuda_host::launch->current->thread)
#define blockIdx (cuda_host::launch->block_index)
#define blockDim (cuda_host::launch->block)
#define gridDim (cuda_host::launch->grid)

#include "intrinsics.h"

#define DYNAMIC_SHARED(name) unsigned char *name = cuda_host::launch->shared

/* The kernel `name` calls body(arguments); host_name is its entry from outside. */
#define KERNEL(name, threads, blocks, Arguments, body)                                                                 \
    extern "C" const char *host_##name(const cuda_host::Dimensions *dimensions, const void *arguments,         \
                                       size_t size) {                                                          \
        if (size != sizeof(Arguments)) return "the arguments have another size than those of the kernel";      \
        if ((size_t)dimensions->block.x * dimensions->block.y * dimensions->block.z > (threads))               \
            return "a block has more threads than the kernel was compiled for";                                \
        return cuda_host::run([](const void *a) { body(*(const Arguments *)a); }, *dimensions, arguments);     \
    }
