/* Blocks of rows for gram.h, at one instruction set and type. No include guard. */

#include "product.h"

/* What a thread has: a block of centred rows with their targets, and of coordinates; both times the weights; sums. */
typedef struct {
    REAL *a, *wa, *z, *wz;
    double *sums;
} ISA(scratch);

static size_t ISA(scratch_numbers)(const gram_call *call) {
    return (size_t)(BLOCK_ROWS * (block_stride(call->d + call->t) + block_stride(call->k)));
}

static size_t ISA(scratch_bytes)(const gram_call *call) {
    const size_t columns = (size_t)(call->d + call->t), sums = columns * (call->t ? columns : 1) + (size_t)call->k;
    return 2 * ISA(scratch_numbers)(call) * sizeof(REAL) + (sums + WIDEST_VECTOR) * sizeof(double);
}

INLINE ISA(scratch) ISA(carved)(const gram_call *call, void *memory) {
    const int64_t rows = BLOCK_ROWS * block_stride(call->d + call->t), coordinates = BLOCK_ROWS * block_stride(call->k);
    REAL *a = memory;
    return (ISA(scratch)){a, a + rows, a + 2 * rows, a + 2 * rows + coordinates,
                          (double *)(a + 2 * rows + 2 * coordinates)};
}

static void ISA(pack)(gram_call *call) {
    const int64_t d = call->d, k = call->k, padded = ISA(padded)(d);
    const REAL *W = call->rounded;
    REAL *features = call->features;
    ISA(pack_columns)(W, d, k, k, 1, call->panels);
    for (int64_t q = 0; q < k; q++)
        for (int64_t j = 0; j < padded; j++) features[q * padded + j] = j < d ? W[j * k + q] : 0;
}

/* `columns` numbers less their centers to `out`, and to `sums`; times w to `weighted`, unless that is NULL. */
INLINE void ISA(center_row)(const REAL *restrict x, const double *restrict centers, int64_t columns, double w,
                            REAL *restrict out, REAL *restrict weighted, double *restrict sums) {
    if (weighted)
        for (int64_t j = 0; j < columns; j++) {
            const double v = (double)x[j] - centers[j];
            out[j] = (REAL)v;
            weighted[j] = (REAL)(w * v);
            sums[j] += w * v;
        }
    else
        for (int64_t j = 0; j < columns; j++) {
            const double v = (double)x[j] - centers[j];
            out[j] = (REAL)v;
            sums[j] += v;
        }
}

/* Rows and targets less their centers, side by side, then zeros up to whole vectors. */
HOT void ISA(center_block)(const gram_call *call, int64_t start, int64_t count, REAL *a, REAL *wa, double *sums,
                           double *y_sums) {
    const int64_t d = call->d, t = call->t, stride = block_stride(d + t), end = ISA(padded)(d + t);
    const REAL *x = (const REAL *)call->x + start * d, *y = (const REAL *)call->y + start * t;
    for (int64_t i = 0; i < count; i++, a += stride) {
        const double w = call->weights ? call->weights[start + i] : 1;
        ISA(center_row)(x + i * d, call->centers, d, w, a, wa, sums);
        if (t) ISA(center_row)(y + i * t, call->y_centers, t, w, a + d, wa ? wa + d : NULL, y_sums);
        for (int64_t j = d + t; j < end; j++) a[j] = 0;
        if (wa) wa += stride;
    }
}

/* Rows less their centers alone. */
HOT void ISA(center_only)(const gram_call *call, int64_t start, int64_t count, REAL *restrict a) {
    const int64_t d = call->d, stride = block_stride(d + call->t);
    const double *restrict c = call->centers;
    for (int64_t i = 0; i < count; i++, a += stride) {
        const REAL *restrict x = (const REAL *)call->x + (start + i) * d;
        for (int64_t j = 0; j < d; j++) a[j] = (REAL)((double)x[j] - c[j]);
    }
}

/* -- products of features ------------------------------------------------------------------------------------ */

/* Products of rows and targets side by side, G (d + t, d + t), to the parts of the statistic. */
INLINE void ISA(part_products)(const gram_call *call, const double *G, double *gram) {
    const int64_t d = call->d, t = call->t, D = d + t;
    double *y_squares = gram + d * d + t, *cross = y_squares + t;
    for (int64_t p = 0; p < d; p++) {
        for (int64_t q = 0; q < p; q++) gram[p * d + q] = 0;
        if (!t) continue;
        memcpy(gram + p * d + p, G + p * D + p, (size_t)(d - p) * sizeof(double));
        memcpy(cross + p * t, G + p * D + d, (size_t)t * sizeof(double));
    }
    for (int64_t q = 0; q < t; q++) y_squares[q] = G[(d + q) * D + d + q];
}

static void ISA(gram_shard)(const void *argument, int64_t start, int64_t stop, double *statistic, void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t d = call->d, t = call->t, D = d + t, stride = block_stride(D);
    double *sums = statistic + 1, *gram = sums + d, *y_sums = gram + d * d, *G = t ? s.sums : gram;
    REAL *wa = call->weights ? s.wa : NULL;
    if (t) memset(G, 0, (size_t)(D * D) * sizeof(double));
    const passes_t passes = passes_of((double)BLOCK_ROWS * D * D / 2);
    for (int64_t first = start; first < stop && go_on(&passes); first += BLOCK_ROWS) {
        const int64_t count = stop - first < BLOCK_ROWS ? stop - first : BLOCK_ROWS;
        ISA(center_block)(call, first, count, s.a, wa, sums, y_sums);
        ISA(across_rows)(wa ? wa : s.a, stride, D, s.a, stride, D, count, G, D, 1);
    }
    double weight = (double)(stop - start);
    if (call->weights) {
        weight = 0;
        for (int64_t i = start; i < stop; i++) weight += call->weights[i];
    }
    statistic[0] += weight;
    ISA(part_products)(call, G, gram);
}

/* A row, or its targets, of float or double less their centers. */
INLINE void ISA(center_any)(const gram_call *call, const void *rows, int64_t i, const double *centers,
                            int64_t columns, double w, REAL *restrict out, REAL *restrict weighted, double *sums) {
    if (!call->single) {
        ISA(center_row)((const REAL *)rows + i * columns, centers, columns, w, out, weighted, sums);
        return;
    }
    const float *restrict x = (const float *)rows + i * columns;
    for (int64_t j = 0; j < columns; j++) {
        const double v = (double)x[j] - centers[j];
        out[j] = (REAL)v;
        if (weighted) weighted[j] = (REAL)(w * v);
        sums[j] += w * v;
    }
}

/* As gram_shard, of the chosen rows alone: they are packed into blocks. */
static void ISA(masked_gram_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                   void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t d = call->d, t = call->t, D = d + t, stride = block_stride(D), end = ISA(padded)(D);
    double *sums = statistic + 1, *gram = sums + d, *y_sums = gram + d * d, *G = t ? s.sums : gram, weight = 0;
    REAL *weighted = call->weights ? s.wa : NULL;
    if (t) memset(G, 0, (size_t)(D * D) * sizeof(double));
    int64_t count = 0;
    const passes_t passes = passes_of((double)BLOCK_ROWS * D * D / 2);
    for (int64_t i = start; i < stop; i++) {
        if (is_chosen(call, i)) {
            const double w = call->weights ? call->weights[i] : 1;
            REAL *a = s.a + count * stride, *wa = weighted ? weighted + count * stride : NULL;
            ISA(center_any)(call, call->x, i, call->centers, d, w, a, wa, sums);
            if (t) ISA(center_any)(call, call->y, i, call->y_centers, t, w, a + d, wa ? wa + d : NULL, y_sums);
            for (int64_t j = D; j < end; j++) a[j] = 0;
            weight += w;
            count++;
        }
        if (count == BLOCK_ROWS || (i + 1 == stop && count)) {
            if (!go_on(&passes)) break;
            ISA(across_rows)(weighted ? weighted : s.a, stride, D, s.a, stride, D, count, G, D, 1);
            count = 0;
        }
    }
    statistic[0] += weight;
    ISA(part_products)(call, G, gram);
}

/* Everything about 0 first; then, with S = sum of w x and W = sum of w,
 *
 *     sum w (x - c)(x - c)^T = sum w x x^T - S c^T - c S^T + W c c^T
 *     sum w (x - c)(y - c_y)^T = sum w x (y - c_y)^T - c (sum w (y - c_y))^T
 */
static void ISA(sparse_gram_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                   void *memory) {
    const gram_call *call = argument;
    const int64_t d = call->d, t = call->t;
    const REAL *values = call->x, *y = call->y;
    const double *c = call->centers;
    double *sums = statistic + 1, *gram = sums + d, *y_sums = gram + d * d, *y_squares = y_sums + t;
    double *cross = y_squares + t, weight = 0;
    (void)memory;
    for (int64_t i = start; i < stop; i++) {
        const double w = call->weights ? call->weights[i] : 1;
        const int64_t end = call->indptr[i + 1];
        if (!is_chosen(call, i)) continue;
        weight += w;
        for (int64_t q = 0; q < t; q++) {
            const double v = (double)y[i * t + q] - call->y_centers[q];
            y_sums[q] += w * v;
            y_squares[q] += w * v * v;
        }
        for (int64_t a = call->indptr[i]; a < end; a++) {
            const int64_t j = call->indices[a];
            const double wv = w * (double)values[a];
            sums[j] += wv;
            for (int64_t b = a; b < end; b++) gram[j * d + call->indices[b]] += wv * (double)values[b];
            for (int64_t q = 0; q < t; q++) cross[j * t + q] += wv * ((double)y[i * t + q] - call->y_centers[q]);
        }
    }
    statistic[0] += weight;
    if (!call->centered) return;
    for (int64_t p = 0; p < d; p++) {
        for (int64_t q = p; q < d; q++) gram[p * d + q] += weight * c[p] * c[q] - sums[p] * c[q] - c[p] * sums[q];
        for (int64_t q = 0; q < t; q++) cross[p * t + q] -= c[p] * y_sums[q];
    }
    for (int64_t p = 0; p < d; p++) sums[p] -= weight * c[p];
}

/* Columns from `first` on, of which rows up to the diagonal are wanted. */
static void ISA(gram_panel_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                  void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t first = call->first, width = call->width, rows = first + width, stride = block_stride(call->d);
    const passes_t passes = passes_of((double)BLOCK_ROWS * rows * width);
    for (int64_t at = start; at < stop && go_on(&passes); at += BLOCK_ROWS) {
        const int64_t count = stop - at < BLOCK_ROWS ? stop - at : BLOCK_ROWS;
        ISA(center_only)(call, at, count, s.a);
        for (int64_t i = 0; call->weights && i < count; i++)
            for (int64_t j = 0; j < rows; j++)
                s.wa[i * stride + j] = (REAL)(call->weights[at + i] * (double)s.a[i * stride + j]);
        ISA(across_rows)(call->weights ? s.wa : s.a, stride, rows, s.a + first, stride, width, count, statistic,
                         width, 0);
    }
    for (int64_t p = first; p < rows; p++)
        for (int64_t q = 0; q < p - first; q++) statistic[p * width + q] = 0;
}

static void ISA(sparse_gram_panel_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                         void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t d = call->d, first = call->first, width = call->width;
    const REAL *values = call->x;
    const double *c = call->centers;
    double *sums = s.sums, weight = 0;
    memset(sums, 0, (size_t)d * sizeof(double));
    for (int64_t i = start; i < stop; i++) {
        const double w = call->weights ? call->weights[i] : 1;
        const int64_t end = call->indptr[i + 1];
        weight += w;
        for (int64_t a = call->indptr[i]; a < end; a++) {
            const double wv = w * (double)values[a];
            double *line = statistic + call->indices[a] * width - first;
            sums[call->indices[a]] += wv;
            for (int64_t b = a; b < end && call->indices[b] < first + width; b++)
                if (call->indices[b] >= first) line[call->indices[b]] += wv * (double)values[b];
        }
    }
    for (int64_t p = 0; call->centered && p < first + width; p++)
        for (int64_t q = p > first ? p : first; q < first + width; q++)
            statistic[p * width + q - first] += weight * c[p] * c[q] - sums[p] * c[q] - c[p] * sums[q];
}

/* -- coordinates --------------------------------------------------------------------------------------------- */

/* out = at_zero + sum of x_j W_j over the entries of a sparse row */
INLINE void ISA(sparse_row_times)(const gram_call *call, int64_t i, double *restrict out) {
    const REAL *values = call->x;
    const int64_t k = call->k;
    for (int64_t q = 0; q < k; q++) out[q] = call->at_zero[q];
    for (int64_t a = call->indptr[i]; a < call->indptr[i + 1]; a++) {
        const double v = (double)values[a], *restrict W = call->W + call->indices[a] * k;
        for (int64_t q = 0; q < k; q++) out[q] += v * W[q];
    }
}

/* W^T (x - c) of a block to `z`. */
HOT void ISA(coordinates_of)(const gram_call *call, int64_t start, int64_t count, const ISA(scratch) *s) {
    const int64_t k = call->k, stride = block_stride(k), end = ISA(padded)(k);
    if (call->indptr) {
        for (int64_t i = 0; i < count; i++) {
            ISA(sparse_row_times)(call, start + i, s->sums);
            for (int64_t q = 0; q < k; q++) s->z[i * stride + q] = (REAL)s->sums[q];
            for (int64_t q = k; q < end; q++) s->z[i * stride + q] = 0;
        }
        return;
    }
    const REAL *x = (const REAL *)call->x + start * call->d;
    int64_t x_stride = call->d;
    if (call->centered) {
        ISA(center_only)(call, start, count, s->a);
        x = s->a;
        x_stride = block_stride(call->d + call->t);
    }
    ISA(rows_times)(x, x_stride, count, call->d, call->panels, k, NULL, s->z, stride);
}

static void ISA(projected_gram_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                      void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t k = call->k, stride = block_stride(k), end = ISA(padded)(k);
    const passes_t passes = passes_of((double)BLOCK_ROWS * k * (call->d + k));
    for (int64_t first = start; first < stop && go_on(&passes); first += BLOCK_ROWS) {
        const int64_t count = stop - first < BLOCK_ROWS ? stop - first : BLOCK_ROWS;
        ISA(coordinates_of)(call, first, count, &s);
        if (call->weights)
            for (int64_t i = 0; i < count; i++)
                for (int64_t q = 0; q < end; q++)
                    s.wz[i * stride + q] = (REAL)(call->weights[first + i] * (double)s.z[i * stride + q]);
        ISA(across_rows)(call->weights ? s.wz : s.z, stride, k, s.z, stride, k, count, statistic, k, 1);
    }
    for (int64_t p = 0; p < k; p++)
        for (int64_t q = 0; q < p; q++) statistic[p * k + q] = 0;
}

/* One row after another, for few coordinates: vectors lie along the features. */
HOT void ISA(project_narrow)(const gram_call *call, int64_t start, int64_t stop, REAL *restrict a) {
    const int64_t d = call->d, k = call->k, padded = ISA(padded)(d), whole = d / RL * RL;
    const double *restrict c = call->centers;
    for (int64_t i = start; i < stop; i++) {
        const REAL *x = (const REAL *)call->x + i * d;
        if (call->centered) {
            for (int64_t j = 0; j < d; j++) a[j] = (REAL)((double)x[j] - c[j]);
            x = a;
        }
        const VR tail = ISA(load_some)(x + whole, d - whole);
        for (int64_t q = 0; q < k; q++) {
            const REAL *w = (const REAL *)call->features + q * padded;
            VR dot = {0};
            for (int64_t j = 0; j < whole; j += RL) dot = ISA(fma_r)(ISA(load_r)(x + j), ISA(load_r)(w + j), dot);
            if (whole < d) dot = ISA(fma_r)(tail, ISA(load_r)(w + whole), dot);
            ((REAL *)call->out)[i * k + q] = (REAL)((double)ISA(sum_r)(dot) + call->offsets[q]);
        }
    }
}

static void ISA(project_rows)(const void *argument, int64_t start, int64_t stop, double *statistic, void *memory) {
    const gram_call *call = argument;
    (void)statistic;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t k = call->k, stride = block_stride(k), count = stop - start;
    REAL *out = (REAL *)call->out + start * k;
    if (!call->indptr && k <= NARROW) {
        ISA(project_narrow)(call, start, stop, s.a);
        return;
    }
    ISA(coordinates_of)(call, start, count, &s);
    for (int64_t i = 0; i < count; i++)
        if (call->indptr) /* b is in at_zero */
            memcpy(out + i * k, s.z + i * stride, (size_t)k * sizeof(REAL));
        else
            for (int64_t q = 0; q < k; q++) out[i * k + q] = (REAL)((double)s.z[i * stride + q] + call->offsets[q]);
}

/* -- residuals ----------------------------------------------------------------------------------------------- */

/* Adds a residual to its sums; returns w r. */
INLINE double ISA(count_residual)(double w, double r, double *sum, double *square) {
    const double wr = w * r;
    *sum += wr;
    *square += wr * r;
    return wr;
}

INLINE double ISA(target)(const gram_call *call, int64_t i, int64_t q) {
    return call->y ? (double)((const REAL *)call->y)[i * call->k + q] : 0;
}

static void ISA(residual_products_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                         void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t d = call->d, k = call->k, a_stride = block_stride(d), z_stride = block_stride(k);
    double *sums = statistic + d * k, *squares = sums + k;
    const passes_t passes = passes_of((double)BLOCK_ROWS * d * k);
    for (int64_t first = start; first < stop && go_on(&passes); first += BLOCK_ROWS) {
        const int64_t count = stop - first < BLOCK_ROWS ? stop - first : BLOCK_ROWS;
        ISA(center_only)(call, first, count, s.a);
        ISA(rows_times)(s.a, a_stride, count, d, call->panels, k, NULL, s.z, z_stride);
        for (int64_t i = 0; i < count; i++) {
            const double w = call->weights ? call->weights[first + i] : 1;
            REAL *z = s.z + i * z_stride;
            for (int64_t q = 0; q < k; q++) {
                const double r = (double)z[q] + call->offsets[q] - ISA(target)(call, first + i, q);
                z[q] = (REAL)ISA(count_residual)(w, r, sums + q, squares + q);
            }
        }
        ISA(across_rows)(s.a, a_stride, d, s.z, z_stride, k, count, statistic, k, 0);
    }
}

/* One row after another, for few targets: r = sum of x_j W_j, then the products x_j r. */
static void ISA(narrow_residual_products_shard)(const void *argument, int64_t start, int64_t stop,
                                                double *statistic, void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const int64_t d = call->d, k = call->k, padded = ISA(padded)(d);
    const double *restrict c = call->centers;
    const REAL *features = call->features;
    double *sums = statistic + d * k, *squares = sums + k;
    REAL *restrict a = s.a, *products = s.wa; /* (d), (k, d), padded */
    for (int64_t j = d; j < padded; j++) a[j] = 0;
    for (int64_t first = start; first < stop; first += BLOCK_ROWS) {
        const int64_t last = stop - first < BLOCK_ROWS ? stop : first + BLOCK_ROWS;
        memset(products, 0, (size_t)(k * padded) * sizeof(REAL));
        for (int64_t i = first; i < last; i++) {
            const REAL *restrict x = (const REAL *)call->x + i * d;
            const double w = call->weights ? call->weights[i] : 1;
            for (int64_t j = 0; j < d; j++) a[j] = (REAL)((double)x[j] - c[j]);
            for (int64_t q = 0; q < k; q++) {
                VR dot = {0};
                for (int64_t j = 0; j < padded; j += RL)
                    dot = ISA(fma_r)(ISA(load_r)(a + j), ISA(load_r)(features + q * padded + j), dot);
                const double r = (double)ISA(sum_r)(dot) + call->offsets[q] - ISA(target)(call, i, q);
                const VR wr = ISA(splat_r)((REAL)ISA(count_residual)(w, r, sums + q, squares + q));
                REAL *line = products + q * padded;
                for (int64_t j = 0; j < padded; j += RL)
                    ISA(store_r)(line + j, ISA(fma_r)(ISA(load_r)(a + j), wr, ISA(load_r)(line + j)));
            }
        }
        for (int64_t q = 0; q < k; q++)
            for (int64_t j = 0; j < d; j++) statistic[j * k + q] += (double)products[q * padded + j];
    }
}

static void ISA(sparse_residual_products_shard)(const void *argument, int64_t start, int64_t stop,
                                                double *statistic, void *memory) {
    const gram_call *call = argument;
    const ISA(scratch) s = ISA(carved)(call, memory);
    const REAL *values = call->x;
    const int64_t d = call->d, k = call->k;
    double *sums = statistic + d * k, *squares = sums + k, *restrict r = s.sums;
    for (int64_t i = start; i < stop; i++) {
        const double w = call->weights ? call->weights[i] : 1;
        ISA(sparse_row_times)(call, i, r);
        for (int64_t q = 0; q < k; q++)
            r[q] = ISA(count_residual)(w, r[q] - ISA(target)(call, i, q), sums + q, squares + q);
        for (int64_t a = call->indptr[i]; a < call->indptr[i + 1]; a++) {
            const double v = (double)values[a];
            double *restrict products = statistic + call->indices[a] * k;
            for (int64_t q = 0; q < k; q++) products[q] += v * r[q];
        }
    }
    if (call->centered)
        for (int64_t j = 0; j < d; j++)
            for (int64_t q = 0; q < k; q++) statistic[j * k + q] -= call->centers[j] * sums[q];
}
