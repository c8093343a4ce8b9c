/* A shard of rows, at one precision and instruction set; see linear_loss.h. No include guard. */

#include "product.h"
#include "linear_loss_rows.h"

/* -- memory --------------------------------------------------------------------------------------------------- */

/* Of a block; arrays of rows are padded to whole vectors, and what pads them has weight 0. */
typedef struct {
    REAL *x, *scaled;         /* (rows, stride): [x 1 0..], and the same times a curvature; not of sparse rows */
    REAL *margins, *slopes;   /* (rows, padded columns), (rows, K): row after row, as the products want them */
    REAL *z, *r, *D, *y, *w;  /* (columns, rows), (K, rows) twice, (rows) twice: as the losses want them */
    int64_t rows, stride;
} ISA(block);

static int64_t ISA(block_rows)(const linear_t *c) {
    const int64_t bytes = ISA(padded)(c->d + 1) * (int64_t)sizeof(REAL), fit = LINEAR_BYTES / bytes / RL * RL;
    if (c->indptr || fit > LINEAR_ROWS) return LINEAR_ROWS;
    return fit < RL ? RL : fit;
}

static size_t ISA(cut)(const linear_t *c, REAL *memory, ISA(block) *b) {
    const int64_t columns = c->K, dense = !c->indptr;
    const int64_t again = c->what == LINEAR_HESSIAN || c->what == LINEAR_PAIRS || c->what == LINEAR_DIAGONAL;
    b->rows = ISA(block_rows)(c);
    b->stride = ISA(padded)(c->d + 1);
    const int64_t sizes[] = {dense * b->rows * b->stride, dense * again * b->rows * b->stride,
                             b->rows * ISA(padded)(columns), b->rows * c->K, columns * b->rows, c->K * b->rows,
                             c->K * b->rows, b->rows, b->rows};
    REAL **parts[] = {&b->x, &b->scaled, &b->margins, &b->slopes, &b->z, &b->r, &b->D, &b->y, &b->w};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = memory ? memory + at : NULL;
        at += (sizes[i] + 15) / 16 * 16; /* whole cache lines */
    }
    return (size_t)at * sizeof(REAL);
}

static size_t ISA(scratch_bytes)(const linear_t *c) {
    ISA(block) b;
    return ISA(cut)(c, NULL, &b);
}

static size_t ISA(packed_bytes)(const linear_t *c) {
    const int64_t columns = c->K, e = c->d + 1;
    return (size_t)(e * (ISA(padded)(columns) + columns) + RL) * sizeof(REAL);
}

/* W in REAL: for dense rows as rows_times wants them, for sparse ones feature after feature. */
static void ISA(pack_model)(const linear_t *c) {
    const int64_t columns = c->K, e = c->d + 1;
    REAL *packed = c->packed, *plain = packed + e * ISA(padded)(columns);
    for (int64_t k = 0; k < columns; k++)
        for (int64_t j = 0; j < e; j++)
            plain[k * e + j] = (REAL)c->W[k * e + j];
    if (!c->indptr && columns == 1) {
        for (int64_t j = 0; j < ISA(padded)(e); j++) packed[j] = j < e ? plain[j] : 0;
        return;
    }
    if (!c->indptr) {
        ISA(pack_columns)(plain, e, columns, 1, e, packed);
        return;
    }
    for (int64_t j = 0; j < e; j++)
        for (int64_t k = 0; k < columns; k++) packed[j * columns + k] = plain[k * e + j];
}

/* -- margins -------------------------------------------------------------------------------------------------- */

static void ISA(start_block)(const linear_t *c, const ISA(block) *b) {
    if (c->indptr) return;
    for (int64_t i = 0; i < b->rows; i++) {
        REAL *row = b->x + i * b->stride;
        for (int64_t j = c->d; j < b->stride; j++) row[j] = j == c->d;
    }
}

HOT void ISA(sparse_margins)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n) {
    const int64_t columns = c->K;
    const REAL *x = c->x, *w = c->packed, *intercepts = w + c->d * columns;
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = c->indptr[first + i], end = c->indptr[first + i + 1];
        REAL *z = columns == 1 ? b->z + i : b->margins;
        if (columns == 1) { /* four sums, because one waits for itself */
            REAL sum[4] = {intercepts[0], 0, 0, 0};
            int64_t p = begin;
            for (; p + 4 <= end; p += 4)
                for (int q = 0; q < 4; q++) sum[q] += x[p + q] * w[c->indices[p + q]];
            for (; p < end; p++) sum[0] += x[p] * w[c->indices[p]];
            z[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            continue;
        }
        for (int64_t k = 0; k < columns; k++) z[k] = intercepts[k];
        for (int64_t p = begin; p < end; p++) {
            const REAL value = x[p], *row = w + c->indices[p] * columns;
            for (int64_t k = 0; k < columns; k++) z[k] += value * row[k];
        }
        for (int64_t k = 0; k < columns; k++) b->z[k * b->rows + i] = z[k];
    }
}

/* Lane l of the result: x[l] and x[l + w] added where l is without bit w, y[l - w] and y[l] where it has it. */
INLINE VR ISA(add_halves)(VR x, VR y, const int64_t w) {
    VR low, high;
    for (int64_t l = 0; l < RL; l++) {
        low[l] = l & w ? y[l - w] : x[l];
        high[l] = l & w ? y[l] : x[l + w];
    }
    return low + high;
}

/* Lane r of the result: the sum of the lanes of sums[r]; the same order of additions for every r. */
INLINE VR ISA(sum_of_each)(VR *sums) {
#pragma GCC unroll 4
    for (int64_t w = RL / 2; w > 0; w /= 2)
#pragma GCC unroll 8
        for (int64_t r = 0; r < w; r++) sums[r] = ISA(add_halves)(sums[r], sums[r + w], w);
    return sums[0];
}

/* One column: the block's rows are copied, with a 1 at their end, while they are multiplied; margins go to z. A row
 * is read to the end of its last vector where another row follows there. */
HOT void ISA(copy_and_multiply)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n) {
    const int64_t whole = c->d / RL * RL, rest = c->d - whole;
    const REAL *x = (const REAL *)c->x + first * c->d, *w = (const REAL *)c->packed;
    VR end = {0}, lane = {0};
    for (int64_t l = 0; l < RL; l++) lane[l] = (REAL)l, end[l] = l == rest;
    const VRM inside = ISA(less_r)(lane, ISA(splat_r)((REAL)rest));
    for (int64_t i0 = 0; i0 < n; i0 += RL) {
        VR sums[RL];
#pragma GCC unroll 16
        for (int64_t r = 0; r < RL; r++) {
            const int64_t i = i0 + r;
            VR sum = {0};
            if (i < n) {
                const REAL *from = x + i * c->d;
                REAL *to = b->x + i * b->stride;
                for (int64_t j = 0; j < whole; j += RL) {
                    const VR v = ISA(load_r)(from + j);
                    ISA(store_r)(to + j, v);
                    sum = ISA(fma_r)(v, ISA(load_r)(w + j), sum);
                }
                const int readable = (first + i) * c->d + whole + RL <= c->n * c->d;
                const VR last = readable ? ISA(load_r)(from + whole) : ISA(load_some)(from + whole, rest);
                const VR v = ISA(select_r)(inside, last, end);
                ISA(store_r)(to + whole, v);
                sum = ISA(fma_r)(v, ISA(load_r)(w + whole), sum);
            }
            sums[r] = sum;
        }
        ISA(store_r)(b->z + i0, ISA(sum_of_each)(sums));
    }
}

static void ISA(margins_of_block)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n) {
    const int64_t columns = c->K;
    if (c->indptr) {
        ISA(sparse_margins)(c, b, first, n);
        return;
    }
    if (columns == 1) {
        ISA(copy_and_multiply)(c, b, first, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(b->x + i * b->stride, (const REAL *)c->x + (first + i) * c->d, (size_t)c->d * sizeof(REAL));
    ISA(rows_times)(b->x, b->stride, n, c->d + 1, c->packed, columns, NULL, b->margins, ISA(padded)(columns));
    for (int64_t k = 0; k < columns; k++)
        for (int64_t i = 0; i < n; i++) b->z[k * b->rows + i] = b->margins[i * ISA(padded)(columns) + k];
}

static void ISA(margins_of_rows)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const linear_t *c = call;
    (void)statistic;
    ISA(block) b;
    ISA(cut)(c, scratch, &b);
    ISA(start_block)(c, &b);
    ISA(margins_of_block)(c, &b, start, stop - start);
    for (int64_t i = 0; i < stop - start; i++)
        for (int64_t k = 0; k < c->K; k++) ((REAL *)c->margins)[(start + i) * c->K + k] = b.z[k * b.rows + i];
}

/* -- sums ----------------------------------------------------------------------------------------------------- */

/* G (K, d + 1) += R^T [X 1] */
HOT void ISA(add_gradient)(const linear_t *c, const ISA(block) *b, const REAL *r, int64_t first, int64_t n, double *g) {
    const int64_t e = c->d + 1, K = c->K;
    const REAL *x = c->x;
    if (!c->indptr) {
        for (int64_t k = 0; K > 1 && k < K; k++)
            for (int64_t i = 0; i < n; i++) b->slopes[i * K + k] = r[k * b->rows + i];
        ISA(across_rows)(K > 1 ? b->slopes : r, K, K, b->x, b->stride, e, n, g, e, 0);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < K; k++) {
            const double slope = r[k * b->rows + i];
            double *row = g + k * e;
            for (int64_t p = c->indptr[first + i]; p < c->indptr[first + i + 1]; p++)
                row[c->indices[p]] += slope * x[p];
            row[c->d] += slope;
        }
}

/* G (K, d + 1) += D^T [X^2 1] */
static void ISA(add_squares)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n, double *g) {
    const int64_t e = c->d + 1, K = c->K;
    const REAL *x = c->x;
    if (!c->indptr) {
        for (int64_t k = 0; k < K; k++)
            for (int64_t i = 0; i < n; i++) b->slopes[i * K + k] = b->D[k * b->rows + i];
        for (int64_t i = 0; i < n * b->stride; i++) b->scaled[i] = b->x[i] * b->x[i];
        ISA(across_rows)(b->slopes, K, K, b->scaled, b->stride, e, n, g, e, 0);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < K; k++) {
            const double curvature = b->D[k * b->rows + i];
            for (int64_t p = c->indptr[first + i]; p < c->indptr[first + i + 1]; p++)
                g[k * e + c->indices[p]] += curvature * ((double)x[p] * x[p]);
            g[k * e + c->d] += curvature;
        }
}

/* H (d + 1, d + 1) += [X 1]^T diag(D) [X 1]; of dense rows on and above the diagonal. */
HOT void ISA(add_hessian)(const linear_t *c, const ISA(block) *b, const REAL *D, int64_t first, int64_t n, double *h) {
    const int64_t e = c->d + 1;
    const REAL *x = c->x;
    if (!c->indptr) {
        for (int64_t i = 0; i < n; i++) {
            const VR scale = ISA(splat_r)(D[i]);
            for (int64_t j = 0; j < b->stride; j += RL) {
                const int64_t at = i * b->stride + j;
                ISA(store_r)(b->scaled + at, scale * ISA(load_r)(b->x + at));
            }
        }
        ISA(across_rows)(b->scaled, b->stride, e, b->x, b->stride, e, n, h, e, 1);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = c->indptr[first + i], end = c->indptr[first + i + 1];
        for (int64_t p = begin; p <= end; p++) { /* the last one is the intercept */
            const double value = (double)D[i] * (p < end ? x[p] : (REAL)1);
            double *row = h + (p < end ? c->indices[p] : c->d) * e;
            for (int64_t q = begin; q < end; q++) row[c->indices[q]] += value * x[q];
            row[c->d] += value;
        }
    }
}

/* Copy what lies above the diagonal to below it. */
static void ISA(mirror)(double *h, int64_t e) {
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = 0; j < i; j++) h[i * e + j] = h[j * e + i];
}

/* The Hessian's blocks of all pairs of classes k <= l: curvature p_k ([k = l] - p_l), with p in z */
static void ISA(add_pairs)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n, double *h) {
    const int64_t e = c->d + 1, K = c->K;
    for (int64_t k = 0; k < K; k++)
        for (int64_t l = k; l < K; l++) {
            const REAL *p = b->z + k * b->rows, *q = b->z + l * b->rows;
            for (int64_t i = 0; i < n; i++) b->D[i] = b->w[i] * p[i] * ((REAL)(k == l) - q[i]);
            ISA(add_hessian)(c, b, b->D, first, n, h + (k * K + l) * e * e);
        }
}

static void ISA(finish)(const linear_t *c, double *h) {
    const int64_t e = c->d + 1, K = c->K;
    for (int64_t k = 0; k < K; k++) {
        if (c->what == LINEAR_HESSIAN) ISA(mirror)(h + k * e * e, e);
        for (int64_t l = k; c->what == LINEAR_PAIRS && l < K; l++) {
            double *block = h + (k * K + l) * e * e;
            ISA(mirror)(block, e);
            if (l > k) memcpy(h + (l * K + k) * e * e, block, (size_t)(e * e) * sizeof(double));
        }
    }
}

static void ISA(linear_shard)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const linear_t *c = call;
    const int64_t e = c->d + 1, K = c->K;
    ISA(block) b;
    ISA(cut)(c, scratch, &b);
    ISA(start_block)(c, &b);
    for (int64_t first = start; first < stop; first += b.rows) {
        const int64_t n = stop - first < b.rows ? stop - first : b.rows, padded = ISA(padded)(n);
        ISA(margins_of_block)(c, &b, first, n);
        for (int64_t k = 0; k < c->K; k++)
            for (int64_t i = n; i < padded; i++) b.z[k * b.rows + i] = 0;
        for (int64_t i = 0; i < padded; i++) {
            b.y[i] = i < n ? (REAL)c->y[first + i] : 0;
            b.w[i] = i >= n ? 0 : c->weights ? (REAL)c->weights[first + i] : 1;
        }
        const int values = c->what <= LINEAR_PAIRS;
        ISA(losses_of_rows)(c, b.rows, padded, b.z, b.y, b.w, b.r, b.D, values ? statistic : NULL);
        if (c->what == LINEAR_DIAGONAL) ISA(add_squares)(c, &b, first, n, statistic);
        else ISA(add_gradient)(c, &b, b.r, first, n, statistic + K);
        for (int64_t k = 0; c->what == LINEAR_HESSIAN && k < K; k++)
            ISA(add_hessian)(c, &b, b.D + k * b.rows, first, n, statistic + K + K * e + k * e * e);
        if (c->what == LINEAR_PAIRS) ISA(add_pairs)(c, &b, first, n, statistic + K + K * e);
    }
    if (!c->indptr) ISA(finish)(c, statistic + K + K * e);
    else if (c->what == LINEAR_PAIRS) ISA(finish)(c, statistic + K + K * e);
}
