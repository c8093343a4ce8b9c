/* Host twins of the device functions that the kernels use. */
#pragma once

#include <cmath>

namespace cuda_host {

template <class T> T exchanged(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a lane shows at most 8 bytes");
    Fiber &self = *launch->current;
    self.slot = 0;
    memcpy(&self.slot, &value, sizeof(T));
    sync_warp(mask);
    T found = value;
    if (!(mask >> source & 1)) fail("a shuffle reads a lane that is not in its mask");
    memcpy(&found, &launch->fibers[self.rank - self.rank % WARP + source].slot, sizeof(T));
    sync_warp(mask);  // nobody overwrites its slot before all have read it
    return found;
}

/* What every lane of the mask shows; 0 of the others. */
inline void all_slots(unsigned mask, uint64_t value, uint64_t *slots) {
    Fiber &self = *launch->current;
    self.slot = value;
    sync_warp(mask);
    for (unsigned i = 0; i < WARP; i++)
        slots[i] = mask >> i & 1 ? launch->fibers[self.rank - self.rank % WARP + i].slot : 0;
    sync_warp(mask);
}

inline unsigned lane() { return launch->current->rank % WARP; }

}  // namespace cuda_host

inline void __syncthreads() { cuda_host::sync_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda_host::sync_warp(mask); }

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    unsigned lane = cuda_host::lane(), base = lane / width * width;
    return cuda_host::exchanged(mask, value, base + (unsigned)source % width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    unsigned lane = cuda_host::lane(), source = lane ^ (unsigned)bits;
    return cuda_host::exchanged(mask, value, source / width == lane / width ? source : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned lane = cuda_host::lane(), source = lane % width >= by ? lane - by : lane;
    return cuda_host::exchanged(mask, value, source);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned lane = cuda_host::lane(), source = lane + by;
    return cuda_host::exchanged(mask, value, source / width == lane / width ? source : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    uint64_t slots[cuda_host::WARP];
    cuda_host::all_slots(mask, predicate != 0, slots);
    unsigned votes = 0;
    for (unsigned i = 0; i < cuda_host::WARP; i++) votes |= (unsigned)slots[i] << i;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
template <class T> unsigned __match_any_sync(unsigned mask, T value) {
    uint64_t slots[cuda_host::WARP], own = 0;
    memcpy(&own, &value, sizeof(T));
    cuda_host::all_slots(mask, own, slots);
    unsigned equal = 0;
    for (unsigned i = 0; i < cuda_host::WARP; i++)
        if ((mask >> i & 1) && slots[i] == own) equal |= 1u << i;
    return equal;
}

/* integers alone: a float reduction by atomics would depend on the order of the threads */
inline int atomicAdd(int *at, int value) { return std::exchange(*at, *at + value); }
inline unsigned atomicAdd(unsigned *at, unsigned value) { return std::exchange(*at, *at + value); }
inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long value) {
    return std::exchange(*at, *at + value);
}

inline long long __double_as_longlong(double value) {
    long long bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline double __longlong_as_double(long long bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

using std::exp;
using std::fabs;
using std::floor;
using std::isfinite;
using std::isnan;
using std::log;
using std::log1p;
using std::max;
using std::min;
using std::sqrt;
