/* Mixtures of normal densities: responsibilities of rows, and moments under them.
 *
 * As in the reference, the center is subtracted from a row first, then a mean or a shift, all in the type of
 * the rows; a log-density is at least LOWEST, and a responsibility below e^-100 of the largest is 0. */
#include "products.h"

constexpr double LOWEST = -1e30, LOG_NOTHING = -100;

template <typename T> struct Densities {
    const T *X;  /* (n, d) */
    const T *center, *means, *factors, *log_weights;  /* (d,), (k, d), (k, d, d) or (k, d), (k,) */
    Int d, k;
    const Int *bounds;
    T *r;  /* of row i and component c at i * row_stride + c * component_stride; 0: not wanted */
    Int row_stride, component_stride;
    T *log_densities;  /* (n,), or 0 */
    int *labels;  /* (n,), or 0 */
    Int most_parts;
    double *parts;  /* (shards, most_parts): sums of log-densities; or 0 */
};

/* log w + log N(x | m, P): columns of (x - m) P, eight at a time. */
template <typename T, bool DIAGONAL>
__device__ __forceinline__ T log_joint(const Densities<T> &a, const T *x, Int c) {
    constexpr int COLUMNS = 8;
    const T *m = a.means + c * a.d;
    T square = 0;
    if (DIAGONAL) {
        for (Int j = 0; j < a.d; j++) {
            const T y = ((x[j] - a.center[j]) - m[j]) * a.factors[c * a.d + j];
            square += y * y;
        }
    } else {
        for (Int j0 = 0; j0 < a.d; j0 += COLUMNS) {
            const Int stop = j0 + COLUMNS < a.d ? j0 + COLUMNS : a.d;
            T y[COLUMNS];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) y[j] = 0;
            for (Int i = 0; i < stop; i++) {  /* P is upper triangular */
                const T z = (x[i] - a.center[i]) - m[i], *row = a.factors + (c * a.d + i) * a.d + j0;
#pragma unroll
                for (int j = 0; j < COLUMNS; j++)
                    if (j0 + j < a.d) y[j] += z * row[j];
            }
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) square += y[j] * y[j];
        }
    }
    const T found = a.log_weights[c] - square / 2;
    return found > (T)LOWEST ? found : (T)LOWEST;  /* also where it is NaN */
}

/* A thread takes a row. Densities are computed twice where nobody keeps them: so no array of rows and components
 * is needed for the sums of log-densities alone. Grid: (most_parts, shards) */
template <typename T, bool DIAGONAL> __device__ __forceinline__ void densities(const Densities<T> &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    const Int row = a.bounds[blockIdx.y] + (Int)blockIdx.x * THREADS + threadIdx.x;
    const bool there = row < a.bounds[blockIdx.y + 1];
    T log_density = 0;
    if (there) {
        const T *x = a.X + row * a.d;
        T *r = a.r + row * a.row_stride;
        T top = -(T)INFINITY, total = 0;
        int label = 0;
        for (Int c = 0; c < a.k; c++) {
            const T found = log_joint<T, DIAGONAL>(a, x, c);
            if (a.r) r[c * a.component_stride] = found;
            if (found > top) top = found, label = (int)c;
        }
        for (Int c = 0; c < a.k; c++) {
            const T below = (a.r ? r[c * a.component_stride] : log_joint<T, DIAGONAL>(a, x, c)) - top;
            const T share = below < (T)LOG_NOTHING ? (T)0 : exp(below);
            if (a.r) r[c * a.component_stride] = share;
            total += share;
        }
        if (a.r)
            for (Int c = 0; c < a.k; c++) r[c * a.component_stride] /= total;
        log_density = top + log(total);
        if (a.log_densities) a.log_densities[row] = log_density;
        if (a.labels) a.labels[row] = label;
    }
    if (!a.parts) return;
    const double part = block_sum((double)log_density, room);
    if (threadIdx.x == 0) a.parts[blockIdx.y * a.most_parts + blockIdx.x] = part;
}

template <typename T> struct Moments {
    const T *X;
    const T *r;  /* as above; 0: 1 at the label */
    Int row_stride, component_stride;
    const int *labels;
    const T *center, *shifts;  /* (d,), (k, d) */
    Int d, k;
    const Int *bounds;
    Int rows_of_part, most_parts;
    double *parts;
};

template <typename T> __device__ __forceinline__ T share(const Moments<T> &a, Int row, Int c) {
    if (a.r) return a.r[row * a.row_stride + c * a.component_stride];
    return a.labels[row] == c ? (T)1 : (T)0;
}

/* Rows of a part of a shard: from `start` to `stop`. */
template <typename T> __device__ __forceinline__ bool rows_of_part(const Moments<T> &a, Int s, Int &start, Int &stop) {
    start = a.bounds[s] + (Int)blockIdx.y * a.rows_of_part;
    stop = start + a.rows_of_part < a.bounds[s + 1] ? start + a.rows_of_part : a.bounds[s + 1];
    return start < stop;
}

/* Sum of r (z, 1)(z, 1)^T with z = x - c - s into parts (shards, most_parts, k, d + 1, d + 1); tiles wholly below the
 * diagonal are not written. Grid: (tiles * tiles * k, parts, shards) */
template <typename T, int EACH> __device__ __forceinline__ void moments(const Moments<T> &a) {
    constexpr int TILE = 16 * EACH;
    const Int p = a.d + 1, tiles = (p + TILE - 1) / TILE, s = blockIdx.z;
    const Int c = blockIdx.x / (tiles * tiles), tile = blockIdx.x % (tiles * tiles);
    const Int i0 = tile / tiles * TILE, j0 = tile % tiles * TILE;
    Int start, stop;
    if (i0 > j0 || !rows_of_part(a, s, start, stop)) return;
    const auto value = [&](Int row, Int g) -> T {
        if (g > a.d) return 0;
        return g == a.d ? (T)1 : (a.X[row * a.d + g] - a.center[g]) - a.shifts[c * a.d + g];
    };
    const auto left = [&](Int row, int column) -> T { return share(a, row, c) * value(row, i0 + column); };
    const auto right = [&](Int row, int column) -> T { return value(row, j0 + column); };
    double sum[EACH][EACH];
    tile_of_products<T, EACH>(sum, start, stop, left, right);
    double *part = a.parts + ((s * a.most_parts + blockIdx.y) * a.k + c) * p * p;
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const Int row = i0 + threadIdx.x / 16 + 16 * i, column = j0 + threadIdx.x % 16 + 16 * j;
            if (row < p && column < p) part[row * p + column] = sum[i][j];
        }
}

/* Sums of r, r z and r z^2 into parts (shards, most_parts, k + k d + k d). 8 warps take every eighth row, their lanes a
 * feature each. Grid: (k * features / 32, parts, shards) */
template <typename T> __device__ __forceinline__ void moments_diagonal(const Moments<T> &a) {
    constexpr int WARPS = THREADS / WARP_SIZE;
    __shared__ double rooms[3][WARPS][WARP_SIZE];
    const Int tiles = (a.d + WARP_SIZE - 1) / WARP_SIZE, s = blockIdx.z;
    const Int c = blockIdx.x / tiles;
    const int lane = threadIdx.x % WARP_SIZE, warp = threadIdx.x / WARP_SIZE;
    const Int j = blockIdx.x % tiles * WARP_SIZE + lane;
    Int start, stop;
    if (!rows_of_part(a, s, start, stop)) return;
    double sums[3] = {0, 0, 0};
    if (j < a.d) {
        const T center = a.center[j], shift = a.shifts[c * a.d + j];
        for (Int row = start + warp; row < stop; row += WARPS) {
            const double w = share(a, row, c), z = (a.X[row * a.d + j] - center) - shift;
            sums[0] += w;
            sums[1] += w * z;
            sums[2] += w * z * z;
        }
    }
#pragma unroll
    for (int i = 0; i < 3; i++) rooms[i][warp][lane] = sums[i];
    __syncthreads();
    if (warp || j >= a.d) return;
#pragma unroll
    for (int i = 0; i < 3; i++)
        for (int w = 1; w < WARPS; w++) sums[i] += rooms[i][w][lane];
    double *part = a.parts + (s * a.most_parts + blockIdx.y) * a.k * (1 + 2 * a.d);
    if (j == 0) part[c] = sums[0];
    part[a.k + c * a.d + j] = sums[1];
    part[a.k + a.k * a.d + c * a.d + j] = sums[2];
}

KERNEL(densities_float, THREADS, 1, Densities<float>, (densities<float, false>))
KERNEL(densities_double, THREADS, 1, Densities<double>, (densities<double, false>))
KERNEL(densities_diagonal_float, THREADS, 1, Densities<float>, (densities<float, true>))
KERNEL(densities_diagonal_double, THREADS, 1, Densities<double>, (densities<double, true>))
KERNEL(moments_16_float, THREADS, 2, Moments<float>, (moments<float, 1>))
KERNEL(moments_16_double, THREADS, 2, Moments<double>, (moments<double, 1>))
KERNEL(moments_64_float, THREADS, 2, Moments<float>, (moments<float, 4>))
KERNEL(moments_64_double, THREADS, 1, Moments<double>, (moments<double, 4>))
KERNEL(moments_diagonal_float, THREADS, 1, Moments<float>, moments_diagonal<float>)
KERNEL(moments_diagonal_double, THREADS, 1, Moments<double>, moments_diagonal<double>)
