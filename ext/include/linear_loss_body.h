/* A shard of rows, at one precision and instruction set; see linear_loss.h. No include guard. */

#include "product.h"
#include "linear_loss_rows.h"

/* -- memory --------------------------------------------------------------------------------------------------- */

/* Of a block; arrays of rows are padded to whole vectors, and what pads them has weight 0. */
typedef struct {
    REAL *x, *scaled;         /* (rows, stride): [x 1 0..], and the same times a curvature; not of sparse rows */
    REAL *margins, *slopes;   /* (rows, padded columns): row after row, as the products want them */
    REAL *z, *r, *D, *y, *w;  /* (columns, rows), (K, rows) twice, (rows) twice: as the losses want them */
    int64_t rows, stride;
} ISA(block);

static int64_t ISA(block_rows)(const linear_t *c) {
    const int64_t bytes = ISA(padded)(c->d + 1) * (int64_t)sizeof(REAL), fit = LINEAR_BYTES / bytes / RL * RL;
    if (c->indptr || fit > LINEAR_ROWS) return LINEAR_ROWS;
    return fit < RL ? RL : fit;
}

static size_t ISA(cut)(const linear_t *c, REAL *memory, ISA(block) *b) {
    const int64_t K = c->K, wide = ISA(padded)(K), dense = !c->indptr;
    const int64_t again = c->what == LINEAR_HESSIAN || c->what == LINEAR_PAIRS || c->what == LINEAR_DIAGONAL;
    b->rows = ISA(block_rows)(c);
    b->stride = ISA(padded)(c->d + 1);
    const int64_t sizes[] = {dense * b->rows * b->stride, dense * again * b->rows * b->stride, b->rows * wide,
                             b->rows * wide, K * b->rows, K * b->rows, K * b->rows, b->rows, b->rows};
    REAL **parts[] = {&b->x, &b->scaled, &b->margins, &b->slopes, &b->z, &b->r, &b->D, &b->y, &b->w};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = memory ? memory + at : NULL;
        at += (sizes[i] + 15) / 16 * 16; /* whole cache lines */
    }
    return (size_t)at * sizeof(REAL);
}

/* -- the model ------------------------------------------------------------------------------------------------ */

/* Whether problems have a lane each; then the columns of every class are padded to whole vectors. */
INLINE int ISA(is_wide)(const linear_t *c) {
    return c->what == LINEAR_FOLDS ||
           (c->what == LINEAR_GRADIENT && !c->indptr && c->P > 1 && c->P >= RL / 2);
}

/* Columns as they are packed. */
INLINE int64_t ISA(packed_columns)(const linear_t *c) {
    return ISA(is_wide)(c) ? c->K / c->P * ISA(padded)(c->P) : c->K;
}

/* What is packed: the coefficients, the origin, and what the lanes of wide problems read. */
typedef struct {
    REAL *w, *origin, *ones, *positive, *keeps, *factors; /* .., (stride), (lanes) twice, (folds, lanes), (classes, lanes) */
    int64_t lanes;
} ISA(model);

static size_t ISA(model_of)(const linear_t *c, ISA(model) *m) {
    const int64_t e = c->d + 1, stride = ISA(padded)(e), columns = ISA(packed_columns)(c);
    const int64_t each = stride > e ? stride : e, wide = ISA(is_wide)(c);
    m->lanes = ISA(padded)(c->P);
    const int64_t sizes[] = {each * ISA(padded)(columns), stride, wide * m->lanes, wide * m->lanes,
                             wide * c->n_folds * m->lanes, wide * c->n_classes * m->lanes};
    REAL **parts[] = {&m->w, &m->origin, &m->ones, &m->positive, &m->keeps, &m->factors};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = c->packed ? (REAL *)c->packed + at : NULL;
        at += (sizes[i] + 15) / 16 * 16;
    }
    return (size_t)at * sizeof(REAL);
}

static size_t ISA(packed_bytes)(const linear_t *c) {
    ISA(model) m;
    return ISA(model_of)(c, &m) + (size_t)(ISA(packed_columns)(c) * (c->d + 1) + RL) * sizeof(REAL);
}

/* The column of W that is packed at a place, -1 for one that pads. */
INLINE int64_t ISA(column_at)(const linear_t *c, int64_t at) {
    if (!ISA(is_wide)(c)) return at;
    const int64_t lanes = ISA(padded)(c->P), class = at / lanes, lane = at % lanes;
    return lane < c->P ? class * c->P + lane : -1;
}

/* W in REAL. Dense rows: column after column, each padded to whole vectors, where they are multiplied by one at a
 * time, else as rows_times wants them. Sparse rows: feature after feature, each padded, but of one column. */
static void ISA(pack_model)(const linear_t *c) {
    const int64_t columns = ISA(packed_columns)(c), e = c->d + 1, stride = ISA(padded)(e);
    ISA(model) m;
    REAL *plain = (REAL *)((char *)c->packed + ISA(model_of)(c, &m));
    for (int64_t k = 0; k < columns; k++) {
        const int64_t from = ISA(column_at)(c, k);
        for (int64_t j = 0; j < e; j++) plain[k * e + j] = from < 0 ? 0 : (REAL)c->W[from * e + j];
    }
    for (int64_t j = 0; j < stride; j++) m.origin[j] = c->origin && j < c->d ? (REAL)c->origin[j] : 0;
    if (c->indptr) {
        const int64_t width = columns == 1 ? 1 : ISA(padded)(columns);
        for (int64_t j = 0; j < e; j++)
            for (int64_t k = 0; k < width; k++) m.w[j * width + k] = k < columns ? plain[k * e + j] : 0;
    } else if (columns == 1 || c->what == LINEAR_MARGINS) {
        for (int64_t k = 0; k < columns; k++)
            for (int64_t j = 0; j < stride; j++) m.w[k * stride + j] = j < e ? plain[k * e + j] : 0;
    } else {
        ISA(pack_columns)(plain, e, columns, 1, e, m.w);
    }
    for (int64_t p = 0; ISA(is_wide)(c) && p < m.lanes; p++) {
        const int64_t inside = p < c->P;
        m.ones[p] = 1;
        m.positive[p] = inside && c->K == c->P ? (REAL)c->positive[p] : 0;
        for (int64_t f = 0; f < c->n_folds; f++) m.keeps[f * m.lanes + p] = inside ? c->folds[p] != f : 0;
        for (int64_t k = 0; k < c->n_classes; k++)
            m.factors[k * m.lanes + p] = inside ? (REAL)c->factors[p * c->n_classes + k] : 0;
    }
}

/* -- margins -------------------------------------------------------------------------------------------------- */

static void ISA(start_block)(const linear_t *c, REAL *x, int64_t rows, int64_t stride) {
    if (c->indptr) return;
    for (int64_t i = 0; i < rows; i++) {
        REAL *row = x + i * stride;
        for (int64_t j = c->d; j < stride; j++) row[j] = j == c->d;
    }
}

/* Rows less the origin; what comes after their features is there. */
HOT void ISA(copy_rows)(const linear_t *c, const REAL *origin, REAL *x, int64_t stride, int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const REAL *from = (const REAL *)c->x + (first + i) * c->d;
        REAL *to = x + i * stride;
        if (c->origin)
            for (int64_t j = 0; j < c->d; j++) to[j] = from[j] - origin[j];
        else memcpy(to, from, (size_t)c->d * sizeof(REAL));
    }
}

/* Margins of sparse rows, (n, padded columns). Four sums take turns, because one waits for itself. */
HOT void ISA(sparse_margins)(const linear_t *c, const REAL *w, int64_t width, int64_t first, int64_t n, REAL *margins) {
    const REAL *x = c->x;
    const int32_t *indices = c->indices;
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = c->indptr[first + i], end = c->indptr[first + i + 1];
        if (width == 1) {
            REAL sum[4] = {w[c->d], 0, 0, 0};
            int64_t p = begin;
            for (; p + 4 <= end; p += 4)
                for (int q = 0; q < 4; q++) sum[q] += x[p + q] * w[indices[p + q]];
            for (; p < end; p++) sum[0] += x[p] * w[indices[p]];
            margins[i] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            continue;
        }
        for (int64_t k = 0; k < width; k += RL) {
            VR sum[4] = {ISA(load_r)(w + c->d * width + k)};
            int64_t p = begin;
            for (; p + 4 <= end; p += 4)
                for (int q = 0; q < 4; q++)
                    sum[q] += ISA(splat_r)(x[p + q]) * ISA(load_r)(w + indices[p + q] * width + k);
            for (; p < end; p++) sum[0] += ISA(splat_r)(x[p]) * ISA(load_r)(w + indices[p] * width + k);
            ISA(store_r)(margins + i * width + k, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
    }
}

/* Lane l of the result: x[l] and x[l + w] added where l is without bit w, y[l - w] and y[l] where it has it. */
INLINE VR ISA(add_halves)(VR x, VR y, const int64_t w) {
#ifdef __clang__
    VR low, high;
    for (int64_t l = 0; l < RL; l++) {
        low[l] = l & w ? y[l - w] : x[l];
        high[l] = l & w ? y[l] : x[l + w];
    }
    return low + high;
#else /* GCC would move the lanes one by one */
    static const REAL_INT lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    VRI lane;
    memcpy(&lane, lanes, sizeof lane);
    const VRI low = lane + (((lane & (REAL_INT)w) != 0) & (REAL_INT)(RL - w)), high = low + (REAL_INT)w;
    return __builtin_shuffle(x, y, low) + __builtin_shuffle(x, y, high);
#endif
}

/* Lane r of the result: the sum of the lanes of sums[r]; the same order of additions for every r. */
INLINE VR ISA(sum_of_each)(VR *sums) {
#pragma GCC unroll 4
    for (int64_t w = RL / 2; w > 0; w /= 2)
#pragma GCC unroll 8
        for (int64_t r = 0; r < w; r++) sums[r] = ISA(add_halves)(sums[r], sums[r + w], w);
    return sums[0];
}

/* The margins of RL rows from row i on, of which `n` are there; the rows are copied, less the origin and with a 1 at
 * their end, while they are multiplied. With `all` all are there, and can be read to the end of their last vector;
 * otherwise the first `readable` can, where another row follows. */
INLINE VR ISA(margins_of_some)(const linear_t *c, const ISA(block) *b, const REAL *w, const REAL *origin,
                               int64_t first, int64_t i, int64_t n, int64_t readable, const int all,
                               const int shifted) {
    const int64_t whole = c->d / RL * RL, rest = c->d - whole;
    const REAL *from = (const REAL *)c->x + (first + i) * c->d;
    REAL *to = b->x + i * b->stride;
    VR sums[RL], end = {0}, lane = {0};
    for (int64_t l = 0; l < RL; l++) lane[l] = (REAL)l, end[l] = l == rest;
    const VRM inside = ISA(less_r)(lane, ISA(splat_r)((REAL)rest));
#pragma GCC unroll 16
    for (int64_t r = 0; r < RL; r++, from += c->d, to += b->stride) {
        sums[r] = (VR){0};
        if (!all && r >= n) continue;
        for (int64_t j = 0; j < whole; j += RL) {
            VR v = ISA(load_r)(from + j);
            if (shifted) v -= ISA(load_r)(origin + j);
            ISA(store_r)(to + j, v);
            sums[r] = ISA(fma_r)(v, ISA(load_r)(w + j), sums[r]);
        }
        VR last = all || r < readable ? ISA(load_r)(from + whole) : ISA(load_some)(from + whole, rest);
        if (shifted) last -= ISA(load_r)(origin + whole);
        last = ISA(select_r)(inside, last, end);
        ISA(store_r)(to + whole, last);
        sums[r] = ISA(fma_r)(last, ISA(load_r)(w + whole), sums[r]);
    }
    return ISA(sum_of_each)(sums);
}

/* One column: margins of a block go to z, and its rows are copied. */
INLINE void ISA(copy_and_multiply)(const linear_t *c, const ISA(block) *b, const REAL *w, const REAL *origin,
                                   int64_t first, int64_t n, const int shifted) {
    const int64_t room = c->n * c->d - c->d / RL * RL - RL; /* where the last vector that can be read begins */
    const int64_t readable = room < 0 ? 0 : room / c->d + 1 - first;
    for (int64_t i = 0; i < n; i += RL) {
        const int all = i + RL <= n && i + RL <= readable;
        const VR z = all ? ISA(margins_of_some)(c, b, w, origin, first, i, n - i, readable - i, 1, shifted)
                         : ISA(margins_of_some)(c, b, w, origin, first, i, n - i, readable - i, 0, shifted);
        ISA(store_r)(b->z + i, z);
    }
}

HOT void ISA(copy_and_multiply_plain)(const linear_t *c, const ISA(block) *b, const ISA(model) *m, int64_t first,
                                      int64_t n) {
    ISA(copy_and_multiply)(c, b, m->w, m->origin, first, n, 0);
}
HOT void ISA(copy_and_multiply_shifted)(const linear_t *c, const ISA(block) *b, const ISA(model) *m, int64_t first,
                                        int64_t n) {
    ISA(copy_and_multiply)(c, b, m->w, m->origin, first, n, 1);
}

/* Another column of the rows that have been copied; the additions of copy_and_multiply, in their order. */
HOT void ISA(multiply_again)(const ISA(block) *b, const REAL *w, int64_t n, REAL *z) {
    for (int64_t i0 = 0; i0 < n; i0 += RL) {
        VR sums[RL];
#pragma GCC unroll 16
        for (int64_t r = 0; r < RL; r++) {
            const REAL *row = b->x + (i0 + r) * b->stride;
            VR sum = {0};
            for (int64_t j = 0; i0 + r < n && j < b->stride; j += RL)
                sum = ISA(fma_r)(ISA(load_r)(row + j), ISA(load_r)(w + j), sum);
            sums[r] = sum;
        }
        ISA(store_r)(z + i0, ISA(sum_of_each)(sums));
    }
}

/* Margins of a block to z, column after column. Those of the kernel of rows are added up in the same order for any
 * number of columns: a model has the same margins alone and among others. */
static void ISA(margins_of_block)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n) {
    const int64_t columns = c->K, width = columns == 1 ? 1 : ISA(padded)(columns);
    ISA(model) m;
    ISA(model_of)(c, &m);
    if (!c->indptr && (columns == 1 || c->what == LINEAR_MARGINS)) {
        if (c->origin) ISA(copy_and_multiply_shifted)(c, b, &m, first, n);
        else ISA(copy_and_multiply_plain)(c, b, &m, first, n);
        for (int64_t k = 1; k < columns; k++)
            ISA(multiply_again)(b, m.w + k * b->stride, n, b->z + k * b->rows);
        return;
    }
    if (c->indptr) {
        ISA(sparse_margins)(c, m.w, width, first, n, columns == 1 ? b->z : b->margins);
        if (columns == 1) return;
    } else {
        ISA(copy_rows)(c, m.origin, b->x, b->stride, first, n);
        ISA(rows_times)(b->x, b->stride, n, c->d + 1, m.w, columns, NULL, b->margins, width);
    }
    for (int64_t k = 0; k < columns; k++)
        for (int64_t i = 0; i < n; i++) b->z[k * b->rows + i] = b->margins[i * width + k];
}

static void ISA(margins_of_rows)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const linear_t *c = call;
    (void)statistic;
    ISA(block) b;
    ISA(cut)(c, scratch, &b);
    ISA(start_block)(c, b.x, b.rows, b.stride);
    ISA(margins_of_block)(c, &b, start, stop - start);
    for (int64_t i = 0; i < stop - start; i++)
        for (int64_t k = 0; k < c->K; k++) ((REAL *)c->margins)[(start + i) * c->K + k] = b.z[k * b.rows + i];
}

/* -- sums ----------------------------------------------------------------------------------------------------- */

/* Slopes or curvatures row after row. */
static void ISA(by_rows)(const linear_t *c, const ISA(block) *b, const REAL *r, int64_t n) {
    const int64_t width = ISA(padded)(c->K);
    for (int64_t k = 0; k < c->K; k++)
        for (int64_t i = 0; i < n; i++) b->slopes[i * width + k] = r[k * b->rows + i];
}

/* G (d + 1, K) += [X 1]^T R */
HOT void ISA(add_gradient)(const linear_t *c, const ISA(block) *b, const REAL *r, int64_t first, int64_t n, double *g) {
    const int64_t e = c->d + 1, K = c->K;
    const REAL *x = c->x;
    if (!c->indptr && K == 1) {
        ISA(across_rows)(r, 1, 1, b->x, b->stride, e, n, g, e, 0);
        return;
    }
    if (!c->indptr) {
        ISA(by_rows)(c, b, r, n);
        ISA(across_rows)(b->x, b->stride, e, b->slopes, ISA(padded)(K), K, n, g, K, 0);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < K; k++) {
            const double slope = r[k * b->rows + i];
            for (int64_t p = c->indptr[first + i]; p < c->indptr[first + i + 1]; p++)
                g[c->indices[p] * K + k] += slope * x[p];
            g[c->d * K + k] += slope;
        }
}

/* G (d + 1, K) += [X^2 1]^T D */
static void ISA(add_squares)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n, double *g) {
    const int64_t e = c->d + 1, K = c->K;
    const REAL *x = c->x;
    if (!c->indptr) {
        ISA(by_rows)(c, b, b->D, n);
        for (int64_t i = 0; i < n * b->stride; i++) b->scaled[i] = b->x[i] * b->x[i];
        ISA(across_rows)(b->scaled, b->stride, e, b->slopes, ISA(padded)(K), K, n, g, K, 0);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < K; k++) {
            const double curvature = b->D[k * b->rows + i];
            for (int64_t p = c->indptr[first + i]; p < c->indptr[first + i + 1]; p++)
                g[c->indices[p] * K + k] += curvature * ((double)x[p] * x[p]);
            g[c->d * K + k] += curvature;
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

/* Weights of the block's rows in a problem. */
static void ISA(weigh)(const linear_t *c, const ISA(block) *b, int64_t problem, int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        REAL w = c->weights ? (REAL)c->weights[first + i] : 1;
        if (c->folds && c->held && c->held[first + i] >> c->folds[problem] & 1) w = 0;
        if (c->factors) w *= (REAL)c->factors[problem * c->n_classes + (int64_t)c->y[first + i]];
        b->w[i] = w;
    }
}

static void ISA(losses_of_block)(const linear_t *c, const ISA(block) *b, int64_t first, int64_t n, double *loss) {
    const int64_t padded = ISA(padded)(n), of_problems = c->folds || c->factors;
    for (int64_t k = 0; k < c->K; k++)
        for (int64_t i = n; i < padded; i++) b->z[k * b->rows + i] = 0;
    for (int64_t i = 0; i < padded; i++) b->y[i] = i < n ? (REAL)c->y[first + i] : 0, b->w[i] = 0;
    for (int64_t p = 0; p < c->P; p++) {
        const int64_t at = p * b->rows;
        if (p == 0 || of_problems) ISA(weigh)(c, b, p, first, n);
        ISA(losses_of_problem)(c, p, b->rows, padded, b->z + at, b->y, b->w, b->r + at, b->D + at, loss);
    }
}

#include "linear_loss_wide.h"
#include "linear_loss_columns.h"
#include "linear_loss_folds.h"

static void ISA(linear_shard)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const linear_t *c = call;
    const int64_t e = c->d + 1, K = c->K;
    if (c->what == LINEAR_FOLDS) {
        ISA(folds_shard)(c, start, stop, statistic, scratch);
        return;
    }
    if (ISA(is_wide)(c)) {
        ISA(wide_shard)(c, start, stop, statistic, scratch);
        return;
    }
    ISA(block) b;
    ISA(cut)(c, scratch, &b);
    ISA(start_block)(c, b.x, b.rows, b.stride);
    const double matrices = c->what == LINEAR_HESSIAN ? (double)e : c->what == LINEAR_PAIRS ? (double)K * e : 1;
    const passes_t passes = passes_of((double)b.rows * K * e * matrices);
    for (int64_t first = start; first < stop && go_on(&passes); first += b.rows) {
        const int64_t n = stop - first < b.rows ? stop - first : b.rows;
        ISA(margins_of_block)(c, &b, first, n);
        ISA(losses_of_block)(c, &b, first, n, c->what <= LINEAR_PAIRS ? statistic : NULL);
        if (c->what == LINEAR_DIAGONAL) ISA(add_squares)(c, &b, first, n, statistic);
        else ISA(add_gradient)(c, &b, b.r, first, n, statistic + K);
        for (int64_t k = 0; c->what == LINEAR_HESSIAN && k < K; k++)
            ISA(add_hessian)(c, &b, b.D + k * b.rows, first, n, statistic + K + K * e + k * e * e);
        if (c->what == LINEAR_PAIRS) ISA(add_pairs)(c, &b, first, n, statistic + K + K * e);
    }
    if (!c->indptr || c->what == LINEAR_PAIRS) ISA(finish)(c, statistic + K + K * e);
}

static size_t ISA(scratch_bytes)(const linear_t *c) {
    ISA(block) b;
    ISA(wide_block) w;
    if (c->what == LINEAR_FOLDS) return ISA(folds_scratch_bytes)(c);
    return ISA(is_wide)(c) ? ISA(cut_wide)(c, NULL, &w) : ISA(cut)(c, NULL, &b);
}
#undef LOGISTIC_TERMS
