/* Sparse rows: the stored values alone are read; lanes are centers. No include guard. */

#define SPARSE_VECTORS 4 /* of centers at a time */

/* Centers, padded to whole vectors. */
INLINE int64_t ISA(whole_vectors)(int64_t k) { return (k + RL - 1) / RL * RL; }

INLINE double ISA(size_of)(const REAL *c, int64_t d) {
    double sum = 0;
    for (int64_t f = 0; f < d; f++) sum += (double)c[f] * (double)c[f];
    return sum;
}

/* Centers (k, d) to `packed` (d, whole_vectors(k)), and `start` = -|c|^2 / 2, -inf beyond the last. */
static void ISA(pack_columns_of)(const REAL *centers, int64_t k, int64_t d, REAL *packed, REAL *start) {
    int64_t wide = ISA(whole_vectors)(k);
    for (int64_t f = 0; f < d; f++, packed += wide) {
        for (int64_t j = 0; j < k; j++) packed[j] = centers[j * d + f];
        for (int64_t j = k; j < wide; j++) packed[j] = 0;
    }
    for (int64_t j = 0; j < wide; j++)
        start[j] = j < k ? (REAL)(-0.5 * ISA(size_of)(centers + j * d, d)) : (REAL)-INFINITY;
}

INLINE void ISA(sparse_products)(const REAL *values, const int32_t *columns, int64_t n, const REAL *packed,
                                 const REAL *start, int64_t wide, REAL *scores, const int vectors) {
    VR sum[SPARSE_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[v] = ISA(load_r)(start + v * RL);
    for (int64_t i = 0; i < n; i++) {
        const REAL *column = packed + columns[i] * wide;
        VR value = ISA(splat_r)(values[i]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[v] = ISA(fma_r)(value, ISA(load_r)(column + v * RL), sum[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) ISA(store_r)(scores + v * RL, sum[v]);
}

/* The nearest center of a row, its score in *best and the next one's in *second. */
static int32_t ISA(sparse_nearest)(const kmeans_call *call, int64_t row, REAL *scores, REAL *best, REAL *second) {
    const int64_t from = call->indptr[row], n = call->indptr[row + 1] - from, wide = ISA(whole_vectors)(call->k);
    const REAL *values = (const REAL *)call->x + from, *packed = call->packed, *start = call->start;
    const int32_t *columns = call->indices + from;
    for (int64_t j = 0; j < wide; j += SPARSE_VECTORS * RL) {
        switch ((wide - j) / RL) {
            case 1: ISA(sparse_products)(values, columns, n, packed + j, start + j, wide, scores + j, 1); break;
            case 2: ISA(sparse_products)(values, columns, n, packed + j, start + j, wide, scores + j, 2); break;
            case 3: ISA(sparse_products)(values, columns, n, packed + j, start + j, wide, scores + j, 3); break;
            default: ISA(sparse_products)(values, columns, n, packed + j, start + j, wide, scores + j, 4);
        }
    }
    int32_t nearest = 0;
    REAL largest = scores[0], next = (REAL)-INFINITY;
    for (int32_t j = 1; j < (int32_t)call->k; j++) {
        if (scores[j] > largest) {
            next = largest, largest = scores[j], nearest = j;
        } else if (scores[j] > next) {
            next = scores[j];
        }
    }
    *best = largest, *second = next;
    return nearest;
}

/* |x - c|^2 = |c|^2 + sum over stored values of x (x - 2 c), not below 0 */
static double ISA(sparse_squared_distance)(const kmeans_call *call, int64_t row, const REAL *c, double size) {
    double sum = size;
    for (int64_t i = call->indptr[row]; i < call->indptr[row + 1]; i++) {
        double value = (double)((const REAL *)call->x)[i];
        sum += value * (value - 2.0 * (double)c[call->indices[i]]);
    }
    return sum > 0 ? sum : 0;
}
