/* Labels, and what rows add to the statistic of their center. No include guard. */

typedef struct {
    int64_t open[ROWS_AT_ONCE]; /* numbers of rows whose label is open */
    REAL *scores; /* of a sparse row */
    ISA(tile_t) * tile;
} ISA(scratch_t);

static size_t ISA(packed_bytes)(const kmeans_call *call) {
    int64_t wide = call->indptr ? ISA(whole_vectors)(call->k) : call->k;
    return (size_t)(wide * call->d) * sizeof(REAL);
}

static void ISA(pack)(kmeans_call *call) {
    if (call->indptr) ISA(pack_columns_of)(call->centers, call->k, call->d, call->packed, call->start);
    else ISA(pack_centers)(call->centers, call->k, call->d, call->packed, call->start);
}

static void ISA(all_sizes)(kmeans_call *call) {
    for (int64_t j = 0; j < call->k; j++)
        call->sizes[j] = ISA(size_of)((const REAL *)call->centers + j * call->d, call->d);
}

static size_t ISA(sparse_bytes)(const kmeans_call *call) {
    return call->indptr ? (size_t)ISA(whole_vectors)(call->k) * sizeof(REAL) : 0;
}

static size_t ISA(scratch_bytes)(const kmeans_call *call) {
    int with_values = call->shares != NULL || call->all_distances != NULL;
    return sizeof(ISA(scratch_t)) + 2 * HPCML_ALIGNMENT + ISA(sparse_bytes)(call) +
           (call->indptr ? 0 : ISA(tile_bytes)(call->k, call->d, with_values));
}

INLINE void *ISA(aligned_at)(void *p) {
    return (void *)(((uintptr_t)p + HPCML_ALIGNMENT - 1) / HPCML_ALIGNMENT * HPCML_ALIGNMENT);
}

static ISA(scratch_t) * ISA(scratch_at)(void *memory) {
    ISA(scratch_t) *scratch = memory;
    void *rest = ISA(aligned_at)(scratch + 1); /* either is there */
    scratch->scores = rest;
    scratch->tile = rest;
    return scratch;
}

INLINE const REAL *ISA(row_at)(const kmeans_call *call, int64_t i) { return (const REAL *)call->x + i * call->d; }

/* |x - origin - c|^2 to the center j */
INLINE double ISA(distance_to)(const kmeans_call *call, int64_t i, int64_t j) {
    const REAL *c = (const REAL *)call->centers + j * call->d;
    if (call->indptr) return ISA(sparse_squared_distance)(call, i, c, call->sizes[j]);
    return ISA(squared_distance)(ISA(row_at)(call, i), call->origin, c, call->d);
}

/* -- the nearest of all centers ----------------------------------------------------------------------------------- */

INLINE int64_t ISA(relabel)(const REAL_INT *nearest, int32_t *labels, const int64_t *numbers, int64_t n) {
    int32_t changed = 0;
    for (int64_t r = 0; r < n; r++) {
        int32_t label = (int32_t)nearest[r], *old = labels + (numbers ? numbers[r] : r);
        changed += label != *old;
        *old = label;
    }
    return changed;
}

INLINE void ISA(count_overflown)(const kmeans_call *call, const REAL *best, int64_t n) {
    int32_t found = 0;
    for (int64_t r = 0; r < n; r++) found += !(best[r] - best[r] == 0); /* infinite or NaN */
    if (found) {
#pragma omp atomic
        *call->overflown += found;
    }
}

/* Label at most TILE dense rows; return how many labels changed. */
INLINE int64_t ISA(label_tile)(const kmeans_call *call, ISA(scratch_t) * scratch, const ISA(rows_t) * rows, int64_t start,
                               const int filled) {
    ISA(tile_t) *tile = scratch->tile;
    ISA(against_all)(tile, rows, call->origin, call->packed, call->start, call->k, PRODUCT, BEST, filled);
    if (call->overflown) ISA(count_overflown)(call, tile->best, rows->n == TILE ? TILE : rows->n);
    if (rows->n == TILE) return ISA(relabel)(tile->nearest, call->labels + start, NULL, TILE);
    return ISA(relabel)(tile->nearest, call->labels + start, NULL, rows->n);
}

static int64_t ISA(label_all)(const kmeans_call *call, ISA(scratch_t) * scratch, int64_t start, int64_t stop) {
    int64_t changed = 0;
    if (call->indptr) {
        REAL best, second;
        for (int64_t i = start; i < stop; i++) {
            int32_t label = ISA(sparse_nearest)(call, i, scratch->scores, &best, &second);
            changed += label != call->labels[i];
            call->labels[i] = label;
            if (call->overflown) ISA(count_overflown)(call, &best, 1);
        }
        return changed;
    }
    for (int64_t i = start; i < stop; i += TILE) {
        ISA(rows_t) rows = {ISA(row_at)(call, i), NULL, stop - i < TILE ? stop - i : TILE, call->d};
        changed += ISA(label_tile)(call, scratch, &rows, i, 0);
    }
    return changed;
}

/* -- with bounds: see bounded_step of the reference --------------------------------------------------------------- */

INLINE int ISA(holds)(double upper, double lower, double norm, double rounding) {
    return lower * lower - upper * upper > 4 * rounding * norm * (1.5 * norm + upper);
}

/* Not below the distance of a row to a center. Terms of the size of |x|^2 cancel in sparse rows: |x| <= |c| + distance. */
INLINE double ISA(distance_above)(const kmeans_call *call, int64_t i, int64_t j, double rounding) {
    double squared = ISA(distance_to)(call, i, j), reach = 2 * call->norm + sqrt(squared);
    if (call->indptr) squared += 4 * (double)(call->d + 8) * 0x1p-52 * reach * reach;
    return sqrt(squared) * (1 + rounding);
}

/* What the products of a row leave of its bounds: best and second are x c - |c|^2 / 2, x without origin. */
INLINE void ISA(new_bounds)(const kmeans_call *call, int64_t i, double size, double second, double rounding) {
    const double eps = REAL_BITS == 64 ? 0x1p-52 : 0x1p-23, norm = call->norm;
    double error = 2 * rounding * (size + 2 * sqrt(size) * norm + norm * norm);
    double below = size - 2 * second - error;
    ((REAL *)call->upper)[i] = (REAL)ISA(distance_above)(call, i, call->labels[i], rounding);
    ((REAL *)call->lower)[i] = (REAL)(sqrt(below > 0 ? below : 0) * (1 - 2 * eps));
}

INLINE double ISA(size_of_row)(const kmeans_call *call, int64_t i) {
    double sum = 0;
    if (!call->indptr) {
        const REAL *x = ISA(row_at)(call, i), *origin = call->origin;
        ISA(squares_t) squares = {{0}, 0};
        int64_t f = 0;
        for (; f + DL <= call->d; f += DL) {
            VD value = ISA(less_origin)(x + f, origin + f);
            squares.lanes += value * value;
        }
        for (; f < call->d; f++) {
            double value = (double)(REAL)(x[f] - origin[f]);
            squares.rest += value * value;
        }
        return ISA(total)(squares);
    }
    for (int64_t j = call->indptr[i]; j < call->indptr[i + 1]; j++)
        sum += (double)((const REAL *)call->x)[j] * (double)((const REAL *)call->x)[j];
    return sum;
}

/* Label the rows of at most ROWS_AT_ONCE whose bounds leave their label open; return how many labels changed. */
static int64_t ISA(label_open)(const kmeans_call *call, ISA(scratch_t) * scratch, int64_t start, int64_t stop,
                               int64_t *compared) {
    const double eps = REAL_BITS == 64 ? 0x1p-52 : 0x1p-23, rounding = (double)(call->d + 8) * eps;
    REAL *upper = call->upper, *lower = call->lower;
    int64_t n_open = 0, changed = 0;
    for (int64_t i = start; i < stop; i++) {
        if (!call->first) {
            const int32_t label = call->labels[i];
            double u = ((double)upper[i] + call->moved[label]) * (1 + rounding);
            double l = (double)lower[i] - call->others_moved[label];
            double least = (l > call->apart[label] ? l : call->apart[label]) * (1 - rounding);
            int holds = ISA(holds)(u, least, call->norm, rounding);
            if (!holds) {
                u = ISA(distance_above)(call, i, label, rounding);
                holds = ISA(holds)(u, least, call->norm, rounding);
            }
            if (holds) {
                upper[i] = (REAL)(u * (1 + eps));
                lower[i] = (REAL)((l > 0 ? l : 0) * (1 - 2 * eps));
                continue;
            }
        }
        scratch->open[n_open++] = i;
    }
    *compared += n_open;
    for (int64_t at = 0; at < n_open; at += TILE) {
        int64_t n = n_open - at < TILE ? n_open - at : TILE;
        if (call->indptr) {
            for (int64_t r = 0; r < n; r++) {
                int64_t i = scratch->open[at + r];
                REAL best, second;
                int32_t label = ISA(sparse_nearest)(call, i, scratch->scores, &best, &second);
                changed += label != call->labels[i];
                call->labels[i] = label;
                ISA(new_bounds)(call, i, ISA(size_of_row)(call, i), (double)second, rounding);
            }
            continue;
        }
        ISA(rows_t) rows = {call->x, scratch->open + at, n, call->d};
        ISA(against_all)(scratch->tile, &rows, call->origin, call->packed, call->start, call->k, PRODUCT, BEST_TWO, 0);
        changed += ISA(relabel)(scratch->tile->nearest, call->labels, rows.numbers, n);
        for (int64_t r = 0; r < n; r++) {
            int64_t i = rows.numbers[r];
            ISA(new_bounds)(call, i, ISA(size_of_row)(call, i), (double)scratch->tile->second[r], rounding);
        }
    }
    return changed;
}

/* -- the statistic ------------------------------------------------------------------------------------------------ */

HOT void ISA(add_sparse_rows)(const kmeans_call *call, int64_t start, int64_t stop, double *sums, double *counts) {
    const REAL *values = call->x;
    for (int64_t i = start; i < stop; i++) {
        const double w = call->weights ? call->weights[i] : 1.0;
        double *sum = sums + call->labels[i] * call->d;
        counts[call->labels[i]] += w;
        for (int64_t j = call->indptr[i]; j < call->indptr[i + 1]; j++) sum[call->indices[j]] += w * (double)values[j];
    }
}

INLINE void ISA(add_dense_rows)(const REAL *x, const REAL *origin, const int32_t *labels, const double *weights,
                                int64_t n, int64_t d, double *sums, double *counts, const int weighted) {
    for (int64_t i = 0; i < n; i++, x += d) {
        const int64_t label = labels[i];
        const double w = weighted ? weights[i] : 1.0;
        counts[label] += w;
        ISA(add_row)(x, origin, w, sums + label * d, d, weighted);
    }
}

/* Often few features: then their number is a constant. */
HOT void ISA(add_rows)(const kmeans_call *call, int64_t start, int64_t stop, double *sums, double *counts) {
    const REAL *x = ISA(row_at)(call, start), *origin = call->origin;
    const int32_t *labels = call->labels + start;
    const int64_t n = stop - start, d = call->d;
    if (call->weights) ISA(add_dense_rows)(x, origin, labels, call->weights + start, n, d, sums, counts, 1);
    else if (d == DL) ISA(add_dense_rows)(x, origin, labels, NULL, n, DL, sums, counts, 0);
    else if (d == 2 * DL) ISA(add_dense_rows)(x, origin, labels, NULL, n, 2 * DL, sums, counts, 0);
    else if (d == 4 * DL) ISA(add_dense_rows)(x, origin, labels, NULL, n, 4 * DL, sums, counts, 0);
    else ISA(add_dense_rows)(x, origin, labels, NULL, n, d, sums, counts, 0);
}

static void ISA(add_inertia)(const kmeans_call *call, int64_t start, int64_t stop, ISA(squares_t) * squares) {
    for (int64_t i = start; i < stop; i++) {
        const int64_t j = call->labels[i];
        const double w = call->weights ? call->weights[i] : 1.0;
        if (call->indptr) squares->rest += w * ISA(distance_to)(call, i, j);
        else
            ISA(add_squares)(ISA(row_at)(call, i), call->origin, (const REAL *)call->centers + j * call->d, w,
                             call->d, squares);
    }
}

/* lloyd_step, assign_rows and bounded_step for one shard; nearest_center for a block of rows. */
static void ISA(step_shard)(const void *call_, int64_t start, int64_t stop, double *statistic, void *memory) {
    const kmeans_call *call = call_;
    ISA(scratch_t) *scratch = ISA(scratch_at)(memory);
    double *sums = statistic, *counts = sums + call->k * call->d;
    double *rest = call->with_sums ? counts + call->k : statistic;
    ISA(squares_t) squares = {{0}, 0};
    /* whole tiles, so that the sums find the rows in the cache */
    const int64_t rows = call->upper || call->indptr ? ROWS_AT_ONCE : TILE;
    int64_t changed = 0, compared = 0;
    const passes_t passes = passes_of((double)rows * call->k * call->d);
    for (int64_t i = start; i < stop && go_on(&passes); i += rows) {
        int64_t end = i + rows < stop ? i + rows : stop;
        if (call->upper) changed += ISA(label_open)(call, scratch, i, end, &compared);
        else changed += ISA(label_all)(call, scratch, i, end);
        if (call->with_sums) {
            if (call->indptr) ISA(add_sparse_rows)(call, i, end, sums, counts);
            else ISA(add_rows)(call, i, end, sums, counts);
        }
        if (call->with_inertia) ISA(add_inertia)(call, i, end, &squares);
        if (call->with_members)
            for (int64_t r = i; r < end; r++) rest[2 + call->labels[r]] += 1;
    }
    rest[0] = (double)changed;
    rest[1] = ISA(total)(squares);
    if (call->upper) rest[2] = (double)compared;
}
