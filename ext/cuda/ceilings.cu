/* What a device can do at most: bytes it copies and sums of products it adds up in a second, for benchmarks. */
#include "device.h"

struct Copy {
    const double *from;
    double *to;
    Int n;
};

/* Grid: any */
__device__ __forceinline__ void copy(const Copy &a) {
    const Int step = (Int)gridDim.x * blockDim.x;
    for (Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += step) a.to[i] = a.from[i];
}
KERNEL(copy_words, THREADS, 1, Copy, copy)

constexpr int CHAINS = 8;  /* sums that a thread has under way: more than an addition takes cycles */

struct Chains {
    const double *start;  /* (2,): the factor and the summand */
    Int steps;
    double *sums;  /* (blocks * THREADS,): the compiler must not leave the work out */
};

/* 2 CHAINS steps operations a thread. Grid: any */
template <typename T> __device__ __forceinline__ void multiply_add(const Chains &a) {
    const T factor = (T)a.start[0], summand = (T)a.start[1];
    T sum[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum[i] = (T)(threadIdx.x + i);
    for (Int s = 0; s < a.steps; s++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + summand;
    T total = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; i++) total += sum[i];
    a.sums[(Int)blockIdx.x * THREADS + threadIdx.x] = (double)total;
}
KERNEL(multiply_add_float, THREADS, 1, Chains, multiply_add<float>)
KERNEL(multiply_add_double, THREADS, 1, Chains, multiply_add<double>)
