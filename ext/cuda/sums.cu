/* Sums of parts of shards, and of shards in the fixed tree. */
#include "device.h"

struct Parts {
    const double *parts;  /* (shards, most_parts, width) */
    Int most_parts, width;
    const Int *bounds;  /* of the shards */
    Int rows_of_part;
    double *statistics;  /* (shards, stride) */
    Int stride, at;
};

/* statistics[s, at + j] = sum over the parts of the shard, in order. Grid: (columns / THREADS, shards) */
__device__ __forceinline__ void sum_parts(const Parts &a) {
    Int s = blockIdx.y, j = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= a.width) return;
    const double *part = a.parts + s * a.most_parts * a.width + j;
    const Int n_parts = (a.bounds[s + 1] - a.bounds[s] + a.rows_of_part - 1) / a.rows_of_part;
    double sum = 0;
    for (Int i = 0; i < n_parts; i++) sum += part[i * a.width];
    a.statistics[s * a.stride + a.at + j] = sum;
}
KERNEL(sum_of_parts, THREADS, 1, Parts, sum_parts)

struct Tree {
    double *statistics;  /* (shards, width) */
    Int width;
    const Int *pairs;  /* (n_pairs, 2): the second is added to the first */
    Int n_pairs;
};

/* Grid: (columns / THREADS) */
__device__ __forceinline__ void sum_tree(const Tree &a) {
    Int j = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= a.width) return;
    for (Int p = 0; p < a.n_pairs; p++)
        a.statistics[a.pairs[2 * p] * a.width + j] += a.statistics[a.pairs[2 * p + 1] * a.width + j];
}
KERNEL(sum_of_tree, THREADS, 1, Tree, sum_tree)
