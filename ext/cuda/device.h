/* What all kernels share. They are compiled by nvcc, or with g++ and tests/cuda_host in place of a device.
 *
 * A kernel takes one structure of 8-byte fields (addresses and long long), so that its arguments are an array of
 * 8-byte words for whoever launches it. Statistics of shards are double; every sum of floating-point numbers
 * is in an order that follows from the sizes of the shards and of the blocks alone. */
#pragma once

#ifdef __CUDACC__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define KERNEL(name, threads, blocks, Arguments, body)                                                                 \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const Arguments a) { body(a); }
#else
#include "cuda_host.h"
#endif

typedef long long Int;  /* rows times features may exceed 32 bits */

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int WARP_SIZE = 32;
constexpr int THREADS = 256;  /* of most blocks */

/* Return the sum over the warp, the same in every lane. */
template <typename T> __device__ __forceinline__ T warp_sum(T value) {
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(ALL_LANES, value, bits);
    return value;
}

/* Return the sum over a block of THREADS threads, in thread 0. All threads call it; `room` is shared. */
__device__ __forceinline__ double block_sum(double value, double (&room)[THREADS / WARP_SIZE]) {
    value = warp_sum(value);
    __syncthreads();  /* the room may still be read from the call before */
    if (threadIdx.x % WARP_SIZE == 0) room[threadIdx.x / WARP_SIZE] = value;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < THREADS / WARP_SIZE; i++) value += room[i];
    return value;
}
