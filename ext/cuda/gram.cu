/* Products of features with each other, with targets and with coefficients.
 *
 * One kernel adds up Z^T diag(w) Z, where a row z is (x - c, y - c_y, 1), or some columns of it: all sums of this
 * file are among its entries. T is the type of x, U that of y, and A that in which products are added up over
 * a few rows; beyond these all sums are double. */
#include "products.h"

constexpr int TILE = 64, EACH = TILE / 16;

template <typename T, typename U> struct Products {
    const T *X;  /* (n, d) */
    const U *Y;  /* (n, t) */
    const double *weights;  /* 0: all 1 */
    const Int *held;  /* 0: all rows count; else those with held & mask = value */
    Int mask, value;
    const double *centers, *y_centers;  /* 0: nothing is subtracted */
    Int d, t;
    Int first, width;  /* columns of the product that are wanted */
    const Int *bounds;
    Int rows_of_part, most_parts;
    double *parts;  /* (shards, most_parts, d + t + 1, width); tiles wholly below the diagonal are not written */
};

/* Grid: (tiles of rows * tiles of columns, parts, shards) */
template <typename T, typename U, typename A> __device__ __forceinline__ void products(const Products<T, U> &a) {
    const Int p = a.d + a.t + 1, tiles = (a.width + TILE - 1) / TILE;
    const Int i0 = blockIdx.x / tiles * TILE, j0 = blockIdx.x % tiles * TILE;
    if (i0 > a.first + j0 + TILE - 1) return;
    const Int shard_stop = a.bounds[blockIdx.z + 1];
    const Int start = a.bounds[blockIdx.z] + (Int)blockIdx.y * a.rows_of_part;
    const Int stop = start + a.rows_of_part < shard_stop ? start + a.rows_of_part : shard_stop;
    if (start >= stop) return;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;

    const auto value = [&](Int row, Int g) -> A {
        if (g >= p || (a.held && (a.held[row] & a.mask) != a.value)) return 0;
        if (g < a.d) return (A)((double)a.X[row * a.d + g] - (a.centers ? a.centers[g] : 0));
        if (g == p - 1) return 1;
        return (A)((double)a.Y[row * a.t + g - a.d] - (a.y_centers ? a.y_centers[g - a.d] : 0));
    };
    const auto left = [&](Int row, int column) -> A {
        const A found = value(row, i0 + column);
        return a.weights ? found * (A)a.weights[row] : found;
    };
    const auto right = [&](Int row, int column) -> A { return value(row, a.first + j0 + column); };
    double sum[EACH][EACH];
    tile_of_products<A, EACH>(sum, start, stop, left, right);
    double *part = a.parts + (blockIdx.z * a.most_parts + blockIdx.y) * p * a.width;
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const Int row = i0 + ty + 16 * i, column = j0 + tx + 16 * j;
            if (row < p && column < a.width) part[row * a.width + column] = sum[i][j];
        }
}

struct Gather {
    const double *parts;
    const Int *bounds;
    Int rows_of_part, most_parts;
    Int p, first, width;
    const Int *entries;  /* (m,): row * p + column of every number of the statistic; -1: it is 0 */
    Int m;
    double *statistics;  /* (shards, stride): from `at` on */
    Int stride, at;
};

/* Sum over the parts of a shard, in order. Grid: (m / THREADS, shards) */
__device__ __forceinline__ void gather(const Gather &a) {
    const Int e = (Int)blockIdx.x * blockDim.x + threadIdx.x, s = blockIdx.y;
    if (e >= a.m) return;
    double sum = 0;
    if (a.entries[e] >= 0) {
        const Int row = a.entries[e] / a.p, column = a.entries[e] % a.p - a.first;
        const Int n_parts = (a.bounds[s + 1] - a.bounds[s] + a.rows_of_part - 1) / a.rows_of_part;
        const double *part = a.parts + s * a.most_parts * a.p * a.width + row * a.width + column;
        for (Int i = 0; i < n_parts; i++) sum += part[i * a.p * a.width];
    }
    a.statistics[s * a.stride + a.at + e] = sum;
}

template <typename T> struct Project {
    const T *X;  /* (n, d) */
    const double *centers, *W, *offsets;  /* (d,), (d, k), (k,) */
    const T *Y;  /* (n, k), or 0: subtracted */
    Int n, d, k;
    T *rounded;  /* (n, k): one of both is 0 */
    double *exact;
};

/* Sums are double, in the order of the features. Grid: (n / 64, k / 64) */
template <typename T> __device__ __forceinline__ void project(const Project<T> &a) {
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const Int row0 = (Int)blockIdx.x * TILE, k0 = (Int)blockIdx.y * TILE;
    const auto left = [&](Int j, int i) -> double {
        return row0 + i < a.n ? (double)a.X[(row0 + i) * a.d + j] - a.centers[j] : 0;
    };
    const auto right = [&](Int j, int c) -> double { return k0 + c < a.k ? a.W[j * a.k + k0 + c] : 0; };
    double sum[EACH][EACH];
    tile_of_products<double, EACH>(sum, 0, a.d, left, right);
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const Int row = row0 + ty + 16 * i, column = k0 + tx + 16 * j;
            if (row >= a.n || column >= a.k) continue;
            const Int at = row * a.k + column;
            double z = sum[i][j] + a.offsets[column];
            if (a.Y) z -= (double)a.Y[at];
            if (a.rounded)
                a.rounded[at] = (T)z;
            else
                a.exact[at] = z;
        }
}

#define OF_BOTH(T, U) Products<T, U>
KERNEL(products_float, THREADS, 2, OF_BOTH(float, float), (products<float, float, float>))
KERNEL(products_double, THREADS, 2, OF_BOTH(double, double), (products<double, double, double>))
KERNEL(masked_products_float, THREADS, 2, OF_BOTH(float, float), (products<float, float, double>))
KERNEL(residuals_float, THREADS, 2, OF_BOTH(float, double), (products<float, double, double>))
KERNEL(gather_products, THREADS, 1, Gather, gather)
KERNEL(project_float, THREADS, 2, Project<float>, project<float>)
KERNEL(project_double, THREADS, 2, Project<double>, project<double>)
