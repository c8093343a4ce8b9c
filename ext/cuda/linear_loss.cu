/* Losses of linear models: margins of rows, what the losses of these say of each column, and their sums.
 *
 * Columns of several problems are interleaved: the first column of each, then the second of each. Margins, slopes
 * and curvatures lie column after column, so that neighbouring threads use neighbouring numbers. */
#include "products.h"

constexpr int EACH = 4, TILE = 16 * EACH;

template <typename T> struct Margins {
    const T *X;  /* (n, d) */
    const double *origin, *W;  /* (d,) or 0: nothing is subtracted; (K, d + 1), the last one the intercept */
    Int n, d, K;
    T *z;  /* of row i and column c at i * row_stride + c * column_stride */
    Int row_stride, column_stride;
};

/* Grid: (n / TILE, K / TILE) */
template <typename T> __device__ __forceinline__ void margins(const Margins<T> &a) {
    const Int row0 = (Int)blockIdx.x * TILE, c0 = (Int)blockIdx.y * TILE;
    const auto left = [&](Int j, int i) -> T {
        if (row0 + i >= a.n) return 0;
        return a.X[(row0 + i) * a.d + j] - (a.origin ? (T)a.origin[j] : (T)0);
    };
    const auto right = [&](Int j, int c) -> T { return c0 + c < a.K ? (T)a.W[(c0 + c) * (a.d + 1) + j] : (T)0; };
    double sum[EACH][EACH];
    tile_of_products<T, EACH>(sum, 0, a.d, left, right);
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const Int row = row0 + threadIdx.x / 16 + 16 * i, c = c0 + threadIdx.x % 16 + 16 * j;
            if (row < a.n && c < a.K)
                a.z[row * a.row_stride + c * a.column_stride] = (T)sum[i][j] + (T)a.W[c * (a.d + 1) + a.d];
        }
}

enum { LOGISTIC, MULTINOMIAL, SQUARED_HINGE, SQUARED_EPSILON_INSENSITIVE };

template <typename T> struct Losses {
    const T *margins;  /* (K or fewer, n): those of `problems_of_margins`, which problems take in turn */
    Int problems_of_margins;
    T *z;  /* (K, n): slopes times weights; may be the margins */
    T *curvatures;  /* (K, n), or 0; of pairs (K (K + 1) / 2, n) */
    Int n, K, problems;
    const double *y, *weights;  /* (n,); weights 0: all 1 */
    const Int *held, *folds;  /* (n,), (problems,); 0: all rows count in all problems */
    const double *factors;  /* (problems, classes), or 0 */
    Int classes;
    const double *positive;  /* of the margins */
    Int loss;
    const double *epsilon;
    const Int *bounds;
    Int most_parts;
    double *parts;  /* (shards, most_parts, K): sums of losses; under multinomial of the rows of each class; or 0 */
};

template <typename T> struct Loss {
    T value, slope, curvature;
};

/* The loss of a margin, and its derivatives. */
template <typename T> __device__ __forceinline__ Loss<T> loss_of(Int loss, T z, double y, double positive, T epsilon) {
    if (loss == SQUARED_EPSILON_INSENSITIVE) {  /* max(0, |z - y| - epsilon)^2 */
        const T residual = z - (T)y, size = fabs(residual) - epsilon, beyond = size > 0 ? size : (T)0;
        return {beyond * beyond, residual < 0 ? -2 * beyond : 2 * beyond, beyond > 0 ? (T)2 : (T)0};
    }
    const T t = y == positive ? (T)1 : (T)-1, m = t * z;
    if (loss == SQUARED_HINGE) {  /* max(0, 1 - t z)^2 */
        const T rest = 1 - m, missing = rest > 0 ? rest : (T)0;
        return {missing * missing, -2 * t * missing, missing > 0 ? (T)2 : (T)0};
    }
    const T e = exp(-fabs(m)), whole = 1 + e;  /* log(1 + exp(-t z)) */
    return {(m < 0 ? -m : (T)0) + log1p(e), -t * ((m < 0 ? (T)1 : e) / whole), e / (whole * whole)};
}

/* The weight of a row in a problem. */
template <typename T> __device__ __forceinline__ T weight_of(const Losses<T> &a, Int row, double y, Int p) {
    double weight = a.weights ? a.weights[row] : 1;
    if (a.held && a.folds) weight *= (double)(1 - (a.held[row] >> a.folds[p] & 1));
    if (a.factors) weight *= a.factors[p * a.classes + (Int)y];
    return (T)weight;
}

/* Margins of a row in the columns of a problem: the first of the largest, it, and sum_k exp(z_k - it) but for it. */
template <typename T> struct Classes {
    Int first;
    T most, others;
};
template <typename T>
__device__ __forceinline__ Classes<T> classes_of(const Losses<T> &a, Int row, Int columns, Int p) {
    const T *margins = a.margins + p % a.problems_of_margins * a.n + row;
    const Int step = a.problems_of_margins * a.n;
    Classes<T> found = {0, margins[0], 0};
    for (Int k = 1; k < columns; k++)
        if (margins[k * step] > found.most) found.most = margins[k * step], found.first = k;
    for (Int k = 0; k < columns; k++)
        if (k != found.first) found.others += exp(margins[k * step] - found.most);
    return found;
}

/* A thread takes a row. Grid: (most_parts, shards) */
template <typename T> __device__ __forceinline__ void losses(const Losses<T> &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    const Int row = a.bounds[blockIdx.y] + (Int)blockIdx.x * THREADS + threadIdx.x;
    const bool there = row < a.bounds[blockIdx.y + 1];
    const double y = there ? a.y[row] : 0;
    const Int columns = a.K / a.problems;
    for (Int p = 0; p < a.problems; p++) {
        const T w = there ? weight_of(a, row, y, p) : (T)0;
        Classes<T> classes = {0, 0, 0};
        T of_target = 0;
        if (a.loss == MULTINOMIAL && there) {  /* log sum_k exp(z_k) - z_y */
            classes = classes_of(a, row, columns, p);
            of_target = a.margins[((Int)y * a.problems_of_margins + p % a.problems_of_margins) * a.n + row];
        }
        for (Int k = 0; k < columns; k++) {
            const Int c = k * a.problems + p;
            T value = 0;
            if (there) {
                const Int column = k * a.problems_of_margins + p % a.problems_of_margins;
                const T z = a.margins[column * a.n + row];
                Loss<T> found;
                if (a.loss == MULTINOMIAL) {
                    const T share = exp(z - classes.most) / (1 + classes.others), own = k == (Int)y ? (T)1 : (T)0;
                    const T loss = log1p(classes.others) + (classes.most - of_target);
                    found = {own * loss, share - own, share * (1 - share)};
                } else {
                    found = loss_of(a.loss, z, y, a.positive[column], (T)*a.epsilon);
                }
                value = w * found.value;
                a.z[c * a.n + row] = w * found.slope;
                if (a.curvatures) a.curvatures[c * a.n + row] = w * found.curvature;
            }
            if (a.parts) {
                const double part = block_sum((double)value, room);
                if (threadIdx.x == 0) a.parts[(blockIdx.y * a.most_parts + blockIdx.x) * a.K + c] = part;
            }
        }
    }
}

/* w p_k ([k = l] - p_l) for classes k <= l of the one problem. Grid: (n / THREADS) */
template <typename T> __device__ __forceinline__ void pairs(const Losses<T> &a) {
    const Int row = (Int)blockIdx.x * THREADS + threadIdx.x;
    if (row >= a.n) return;
    const T w = weight_of(a, row, a.y[row], 0);
    const Classes<T> classes = classes_of(a, row, a.K, 0);
    T *to = a.curvatures + row;
    for (Int k = 0; k < a.K; k++) {
        const T share = exp(a.margins[k * a.n + row] - classes.most) / (1 + classes.others);
        for (Int l = k; l < a.K; l++, to += a.n) {
            const T other = exp(a.margins[l * a.n + row] - classes.most) / (1 + classes.others);
            *to = w * (share * ((k == l ? (T)1 : (T)0) - other));
        }
    }
}

template <typename T> struct Gradient {
    const T *X;
    const double *origin;
    const T *r;  /* (K, n) */
    Int n, d, K;
    Int squared;  /* 1: the squares of the features are taken */
    const Int *bounds;
    Int rows_of_part, most_parts;
    double *parts;  /* (shards, most_parts, d + 1, K): sums of (x, 1) r^T */
};

/* Grid: (tiles of features * tiles of columns, parts, shards) */
template <typename T> __device__ __forceinline__ void gradient(const Gradient<T> &a) {
    const Int tiles = (a.K + TILE - 1) / TILE, s = blockIdx.z;
    const Int g0 = blockIdx.x / tiles * TILE, c0 = blockIdx.x % tiles * TILE;
    const Int start = a.bounds[s] + (Int)blockIdx.y * a.rows_of_part;
    const Int stop = start + a.rows_of_part < a.bounds[s + 1] ? start + a.rows_of_part : a.bounds[s + 1];
    if (start >= stop) return;
    const auto left = [&](Int row, int i) -> T {
        const Int g = g0 + i;
        if (g >= a.d) return g == a.d ? (T)1 : (T)0;
        const T x = a.X[row * a.d + g] - (a.origin ? (T)a.origin[g] : (T)0);
        return a.squared ? x * x : x;
    };
    const auto right = [&](Int row, int c) -> T { return c0 + c < a.K ? a.r[(c0 + c) * a.n + row] : (T)0; };
    double sum[EACH][EACH];
    tile_of_products<T, EACH>(sum, start, stop, left, right);
    double *part = a.parts + (s * a.most_parts + blockIdx.y) * (a.d + 1) * a.K;
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const Int g = g0 + threadIdx.x / 16 + 16 * i, c = c0 + threadIdx.x % 16 + 16 * j;
            if (g <= a.d && c < a.K) part[g * a.K + c] = sum[i][j];
        }
}

KERNEL(margins_float, THREADS, 2, Margins<float>, margins<float>)
KERNEL(margins_double, THREADS, 2, Margins<double>, margins<double>)
KERNEL(losses_float, THREADS, 1, Losses<float>, losses<float>)
KERNEL(losses_double, THREADS, 1, Losses<double>, losses<double>)
KERNEL(pairs_float, THREADS, 1, Losses<float>, pairs<float>)
KERNEL(pairs_double, THREADS, 1, Losses<double>, pairs<double>)
KERNEL(gradient_float, THREADS, 2, Gradient<float>, gradient<float>)
KERNEL(gradient_double, THREADS, 1, Gradient<double>, gradient<double>)
