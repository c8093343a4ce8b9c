/* Rows and the centers nearest to them: no matrix of rows and centers is ever stored.
 *
 * A step is: half_norms, assign, then the rows are put in the order of their labels (count_labels, label_starts,
 * order_rows: a stable counting sort), and sum_segments adds up the rows of each center in the order of the
 * rows, so that the sums do not depend on which thread came first. */
#include "device.h"

/* -- the nearest center ---------------------------------------------------------------------------------- */

template <typename T> struct Norms {
    const T *centers;  /* (k, d) */
    Int k, d;
    T *half;  /* |c|^2 / 2 */
};

/* Grid: (k / THREADS) */
template <typename T> __device__ __forceinline__ void half_norms(const Norms<T> &a) {
    Int c = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= a.k) return;
    double sum = 0;
    for (Int j = 0; j < a.d; j++) sum += (double)a.centers[c * a.d + j] * (double)a.centers[c * a.d + j];
    a.half[c] = (T)(sum / 2);
}

template <typename T> struct Assign {
    const T *X;  /* (n, d) */
    const Int *bounds;  /* first row of every shard, then the end */
    const T *centers, *half, *origin;  /* origin may be 0 */
    Int k, d;
    int *labels;  /* of row i at i * stride; overwritten */
    Int stride;
    unsigned long long *counters;  /* (shards, 2): labels that have changed, scores that are not finite */
};

/* A block of 16 x 16 threads takes ROWS rows and goes over the centers in tiles of 16 x CENTERS; a thread holds
 * the products of 8 rows and CENTERS centers in registers, and the best score x c - |c|^2 / 2 of these rows so
 * far. Ties go to the lowest center. Grid: (most rows of a shard / ROWS, shards) */
constexpr int ROWS_OF_THREAD = 8, ROWS_OF_BLOCK = 16 * ROWS_OF_THREAD, DEPTH = 16;

template <typename T, int CENTERS> __device__ __forceinline__ void assign(const Assign<T> &a) {
    constexpr int TILE = 16 * CENTERS, PAD = 16 / sizeof(T), VECTOR = CENTERS < 4 ? CENTERS : 4;
    __shared__ __align__(16) T x[DEPTH][ROWS_OF_BLOCK + PAD];
    __shared__ __align__(16) T c[DEPTH][TILE + PAD];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const Int first = a.bounds[blockIdx.y] + (Int)blockIdx.x * ROWS_OF_BLOCK, stop = a.bounds[blockIdx.y + 1];
    if (first >= stop) return;

    T best[ROWS_OF_THREAD];
    int label[ROWS_OF_THREAD];
#pragma unroll
    for (int i = 0; i < ROWS_OF_THREAD; i++) best[i] = -(T)INFINITY, label[i] = 0;

    for (Int tile = 0; tile < a.k; tile += TILE) {
        T product[ROWS_OF_THREAD][CENTERS];
#pragma unroll
        for (int i = 0; i < ROWS_OF_THREAD; i++)
#pragma unroll
            for (int j = 0; j < CENTERS; j++) product[i][j] = 0;

        for (Int depth = 0; depth < a.d; depth += DEPTH) {
            const Int column = depth + tx;
            const T o = a.origin && column < a.d ? a.origin[column] : (T)0;
            __syncthreads();  /* all have read the tiles before */
            for (int i = ty; i < ROWS_OF_BLOCK; i += 16)
                x[tx][i] = column < a.d && first + i < stop ? a.X[(first + i) * a.d + column] - o : (T)0;
            for (int j = ty; j < TILE; j += 16)
                c[tx][j] = column < a.d && tile + j < a.k ? a.centers[(tile + j) * a.d + column] : (T)0;
            __syncthreads();
            const int end = a.d - depth < DEPTH ? (int)(a.d - depth) : DEPTH;
#pragma unroll 2
            for (int p = 0; p < end; p++) {
                T u[ROWS_OF_THREAD], v[CENTERS];
#pragma unroll
                for (int i = 0; i < ROWS_OF_THREAD; i++) u[i] = x[p][ty * ROWS_OF_THREAD + i];
#pragma unroll
                for (int j = 0; j < CENTERS; j++) v[j] = c[p][j / VECTOR * 16 * VECTOR + tx * VECTOR + j % VECTOR];
#pragma unroll
                for (int i = 0; i < ROWS_OF_THREAD; i++)
#pragma unroll
                    for (int j = 0; j < CENTERS; j++) product[i][j] += u[i] * v[j];
            }
        }
#pragma unroll
        for (int j = 0; j < CENTERS; j++) {  /* ascending within a thread */
            const Int number = tile + j / VECTOR * 16 * VECTOR + tx * VECTOR + j % VECTOR;
            if (number >= a.k) continue;
            const T half = a.half[number];
#pragma unroll
            for (int i = 0; i < ROWS_OF_THREAD; i++) {
                const T score = product[i][j] - half;
                if (score > best[i]) best[i] = score, label[i] = (int)number;
            }
        }
    }
    unsigned long long changed = 0, overflown = 0;
#pragma unroll
    for (int i = 0; i < ROWS_OF_THREAD; i++) {
        for (int bits = 8; bits > 0; bits /= 2) {
            const T score = __shfl_xor_sync(ALL_LANES, best[i], bits, 16);
            const int number = __shfl_xor_sync(ALL_LANES, label[i], bits, 16);
            if (score > best[i] || (score == best[i] && number < label[i])) best[i] = score, label[i] = number;
        }
        const Int row = first + ty * ROWS_OF_THREAD + i;
        if (tx == 0 && row < stop) {
            changed += a.labels[row * a.stride] != label[i];
            overflown += !isfinite(best[i]);
            a.labels[row * a.stride] = label[i];
        }
    }
    if (changed) atomicAdd(&a.counters[2 * blockIdx.y], changed);
    if (overflown) atomicAdd(&a.counters[2 * blockIdx.y + 1], overflown);
}

/* -- the rows of every center, in order ------------------------------------------------------------------ */

struct Order {
    const int *labels;
    Int stride, k, rows_of_chunk, most_chunks;  /* chunks of a shard */
    const Int *bounds;
    Int shards;
    int *counts;  /* (shards, most_chunks, k): rows of every label, then where they go */
    int *starts;  /* (shards, k + 1): first place of every label among the rows of the shard */
    int *order;  /* (n,): rows, counted from the first of the shard, label after label */
};

/* Walk over the rows of a chunk with one warp; counts[label] is that of the rows before. */
template <bool WRITE> __device__ __forceinline__ void walk_chunk(const Order &a) {
    const Int warp = ((Int)blockIdx.x * blockDim.x + threadIdx.x) / WARP_SIZE;
    const int lane = threadIdx.x % WARP_SIZE;
    const Int s = warp / a.most_chunks, chunk = warp % a.most_chunks;
    if (s >= a.shards) return;
    const Int shard = a.bounds[s], end = a.bounds[s + 1], first = shard + chunk * a.rows_of_chunk;
    const Int stop = first + a.rows_of_chunk < end ? first + a.rows_of_chunk : end;
    int *counts = a.counts + (s * a.most_chunks + chunk) * a.k;
    const int *starts = a.starts + s * (a.k + 1);
    for (Int base = first; base < stop; base += WARP_SIZE) {
        const Int row = base + lane;
        const int label = row < stop ? a.labels[row * a.stride] : -1;
        const unsigned equal = __match_any_sync(ALL_LANES, label);
        const int before = label >= 0 ? counts[label] : 0;
        __syncwarp();  /* all have read what the first of the equal ones now writes */
        if (label >= 0) {
            const int rank = __popc(equal & ((1u << lane) - 1));
            if (WRITE) a.order[shard + starts[label] + before + rank] = (int)(row - shard);
            if (rank == 0) counts[label] = before + __popc(equal);
        }
        __syncwarp();
    }
}
/* Grid: (shards * most_chunks / warps of a block) */
__device__ __forceinline__ void count_chunk(const Order &a) { walk_chunk<false>(a); }
__device__ __forceinline__ void order_chunk(const Order &a) { walk_chunk<true>(a); }

/* Counts become the rows of the same label in the chunks before; starts are the sums over labels. Grid: (shards) */
__device__ __forceinline__ void label_starts(const Order &a) {
    __shared__ int sums[THREADS + 1];
    const Int s = blockIdx.x, t = threadIdx.x;
    const Int share = (a.k + THREADS - 1) / THREADS;
    const Int first = t * share < a.k ? t * share : a.k, stop = first + share < a.k ? first + share : a.k;
    int *counts = a.counts + s * a.most_chunks * a.k, *starts = a.starts + s * (a.k + 1);
    for (Int l = t; l < a.k; l += THREADS) {  /* neighbours in memory side by side */
        int before = 0;
        for (Int chunk = 0; chunk < a.most_chunks; chunk++) {
            const int here = counts[chunk * a.k + l];
            counts[chunk * a.k + l] = before;
            before += here;
        }
        starts[l] = before;
    }
    __syncthreads();
    int sum = 0;
    for (Int l = first; l < stop; l++) sum += starts[l];
    sums[t + 1] = sum;
    if (t == 0) sums[0] = 0;
    __syncthreads();
    if (t == 0)
        for (int i = 0; i < THREADS; i++) sums[i + 1] += sums[i];
    __syncthreads();
    int at = sums[t];
    for (Int l = first; l < stop; l++) {
        const int here = starts[l];
        starts[l] = at;
        at += here;
    }
    if (t == 0) starts[a.k] = sums[THREADS];
}

/* -- sums over the rows of every center ------------------------------------------------------------------ */

template <typename T> struct Segments {
    const T *X;
    const double *weights;  /* 0: all 1 */
    const T *centers, *origin;
    Int k, d;
    const Int *bounds;
    const int *starts, *order;
    double *statistics;  /* (shards, width); -1 for what is not wanted */
    Int width, sums_at, counts_at, members_at;
    double *inertia;  /* (shards, k), or 0 */
};

/* A block takes the rows of one center: 8 warps take every eighth row, their lanes a column each.
 * Grid: (k, shards) */
template <typename T> __device__ __forceinline__ void sum_segments(const Segments<T> &a) {
    constexpr int WARPS = THREADS / WARP_SIZE;
    __shared__ double part[WARPS][WARP_SIZE];
    __shared__ double room[WARPS];
    const Int s = blockIdx.y, center = blockIdx.x;
    const int lane = threadIdx.x % WARP_SIZE, warp = threadIdx.x / WARP_SIZE;
    const Int shard = a.bounds[s], first = a.starts[s * (a.k + 1) + center];
    const Int n = a.starts[s * (a.k + 1) + center + 1] - first;
    const int *rows = a.order + shard + first;
    double *statistic = a.statistics + s * a.width;
    double inertia = 0;
    if (n == 0) {
        if (a.sums_at >= 0)
            for (Int j = threadIdx.x; j < a.d; j += THREADS) statistic[a.sums_at + center * a.d + j] = 0;
        if (threadIdx.x == 0) {
            if (a.counts_at >= 0) statistic[a.counts_at + center] = 0;
            if (a.members_at >= 0) statistic[a.members_at + center] = 0;
            if (a.inertia) a.inertia[s * a.k + center] = 0;
        }
        return;
    }
    if (a.sums_at >= 0 || a.inertia)
        for (Int tile = 0; tile < a.d; tile += WARP_SIZE) {
            const Int j = tile + lane;
            double sum = 0;
            if (j < a.d) {
                const T o = a.origin ? a.origin[j] : (T)0;
                const double c = a.inertia ? (double)a.centers[center * a.d + j] : 0;
#pragma unroll 4
                for (Int i = warp; i < n; i += WARPS) {
                    const Int row = shard + rows[i];
                    const double x = (double)(T)(a.X[row * a.d + j] - o), w = a.weights ? a.weights[row] : 1;
                    sum += w * x;
                    inertia += w * (x - c) * (x - c);
                }
            }
            part[warp][lane] = sum;
            __syncthreads();
            if (a.sums_at >= 0 && warp == 0 && j < a.d) {
                for (int i = 1; i < WARPS; i++) sum += part[i][lane];
                statistic[a.sums_at + center * a.d + j] = sum;
            }
            __syncthreads();
        }
    if (a.counts_at >= 0) {
        double weight = 0;
        if (a.weights)
            for (Int i = threadIdx.x; i < n; i += THREADS) weight += a.weights[shard + rows[i]];
        weight = block_sum(weight, room);
        if (threadIdx.x == 0) statistic[a.counts_at + center] = a.weights ? weight : (double)n;
    }
    if (a.members_at >= 0 && threadIdx.x == 0) statistic[a.members_at + center] = (double)n;
    if (a.inertia) {
        inertia = block_sum(inertia, room);
        if (threadIdx.x == 0) a.inertia[s * a.k + center] = inertia;
    }
}

struct Finish {
    const unsigned long long *counters;
    const double *inertia;  /* (shards, k), or 0 */
    Int k;
    double *statistics;
    Int width, changed_at, overflown_at, inertia_at;  /* -1 for what is not wanted */
};

/* Grid: (shards) */
__device__ __forceinline__ void finish(const Finish &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    double *statistic = a.statistics + blockIdx.x * a.width;
    double sum = 0;
    if (a.inertia)
        for (Int c = threadIdx.x; c < a.k; c += THREADS) sum += a.inertia[blockIdx.x * a.k + c];
    sum = block_sum(sum, room);
    if (threadIdx.x) return;
    if (a.changed_at >= 0) statistic[a.changed_at] = (double)a.counters[2 * blockIdx.x];
    if (a.overflown_at >= 0) statistic[a.overflown_at] = (double)a.counters[2 * blockIdx.x + 1];
    if (a.inertia_at >= 0) statistic[a.inertia_at] = sum;
}

/* -- distances ------------------------------------------------------------------------------------------- */

template <typename T> struct LabelDistances {
    const T *X;
    const int *labels;
    const T *centers, *origin;
    Int n, d;
    double *distances;
};

/* A warp takes a row. Grid: (n / warps of a block) */
template <typename T> __device__ __forceinline__ void label_distances(const LabelDistances<T> &a) {
    const Int row = ((Int)blockIdx.x * blockDim.x + threadIdx.x) / WARP_SIZE;
    const int lane = threadIdx.x % WARP_SIZE;
    if (row >= a.n) return;
    const T *x = a.X + row * a.d, *c = a.centers + a.labels[row] * a.d;
    double sum = 0;
    for (Int j = lane; j < a.d; j += WARP_SIZE) {
        const double difference = (double)(T)(x[j] - (a.origin ? a.origin[j] : (T)0)) - (double)c[j];
        sum += difference * difference;
    }
    sum = warp_sum(sum);
    if (lane == 0) a.distances[row] = sum;
}

template <typename T> struct CenterDistances {
    const T *X, *centers;
    Int n, k, d;
    T *distances;
};

/* Grid: (n * k / THREADS) */
template <typename T> __device__ __forceinline__ void center_distances(const CenterDistances<T> &a) {
    const Int at = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= a.n * a.k) return;
    const T *x = a.X + at / a.k * a.d, *c = a.centers + at % a.k * a.d;
    T sum = 0;
    for (Int j = 0; j < a.d; j++) sum += (x[j] - c[j]) * (x[j] - c[j]);
    a.distances[at] = sqrt(sum);
}

template <typename T> struct Seeds {
    const T *X;
    const double *weights;  /* 0: all 1 */
    T *shares;
    const T *seeds;  /* (m, d) */
    Int m, d;
    const Int *bounds;
    Int most_parts;
    double *parts;  /* (shards, most_parts, m) */
    Int keep;  /* 1: the shares are brought up to date */
};

/* Sum of min(w |x - s|^2, share) over the rows of a block, for every seed. Grid: (most_parts, shards) */
template <typename T> __device__ __forceinline__ void seed_shares(const Seeds<T> &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    const Int row = a.bounds[blockIdx.y] + (Int)blockIdx.x * THREADS + threadIdx.x;
    const bool there = row < a.bounds[blockIdx.y + 1];
    const T share = there ? a.shares[row] : (T)0;
    for (Int m = 0; m < a.m; m++) {
        T least = 0;
        if (there) {
            double sum = 0;
            for (Int j = 0; j < a.d; j++) {
                const double difference = (double)a.X[row * a.d + j] - (double)a.seeds[m * a.d + j];
                sum += difference * difference;
            }
            const T own = (T)(a.weights ? a.weights[row] * sum : sum);
            least = own < share ? own : share;
            if (a.keep) a.shares[row] = least;
        }
        const double part = block_sum((double)least, room);
        if (threadIdx.x == 0) a.parts[(blockIdx.y * a.most_parts + blockIdx.x) * a.m + m] = part;
    }
}

/* -- for both types -------------------------------------------------------------------------------------- */

KERNEL(half_norms_float, THREADS, 1, Norms<float>, half_norms<float>)
KERNEL(half_norms_double, THREADS, 1, Norms<double>, half_norms<double>)
KERNEL(assign_few_float, THREADS, 2, Assign<float>, (assign<float, 1>))
KERNEL(assign_few_double, THREADS, 2, Assign<double>, (assign<double, 1>))
KERNEL(assign_many_float, THREADS, 2, Assign<float>, (assign<float, 8>))
KERNEL(assign_many_double, THREADS, 1, Assign<double>, (assign<double, 4>))
KERNEL(count_labels, THREADS, 1, Order, count_chunk)
KERNEL(find_label_starts, THREADS, 1, Order, label_starts)
KERNEL(order_rows, THREADS, 1, Order, order_chunk)
KERNEL(sum_segments_float, THREADS, 1, Segments<float>, sum_segments<float>)
KERNEL(sum_segments_double, THREADS, 1, Segments<double>, sum_segments<double>)
KERNEL(finish_statistics, THREADS, 1, Finish, finish)
KERNEL(label_distances_float, THREADS, 1, LabelDistances<float>, label_distances<float>)
KERNEL(label_distances_double, THREADS, 1, LabelDistances<double>, label_distances<double>)
KERNEL(center_distances_float, THREADS, 1, CenterDistances<float>, center_distances<float>)
KERNEL(center_distances_double, THREADS, 1, CenterDistances<double>, center_distances<double>)
KERNEL(seed_shares_float, THREADS, 1, Seeds<float>, seed_shares<float>)
KERNEL(seed_shares_double, THREADS, 1, Seeds<double>, seed_shares<double>)
