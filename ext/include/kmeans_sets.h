/* A Lloyd step for several sets of centers in one pass: a block of rows meets all of them while it lies in the cache.
 * Every set does with it what lloyd_step does, so that its statistic has the same bits. No include guard.
 */

#define SETS_AT_ONCE 4 /* that a row is added to before the next one: sums of one set wait for each other */
#define TILES_AT_ONCE (ROWS_AT_ONCE / TILE)

/* Scratch: calls of the sets, labels of a tile for some sets, then tiles (or the scratch of sparse rows). */
static size_t ISA(sets_bytes)(const kmeans_sets *sets) {
    const kmeans_call *first = sets->calls;
    size_t most = 0;
    for (int64_t s = 0; s < sets->m; s++) {
        size_t bytes = ISA(scratch_bytes)(sets->calls + s);
        most = bytes > most ? bytes : most;
    }
    if (!first->indptr) most += (TILES_AT_ONCE - 1) * ISA(tile_bytes)(1, FEATURES_AT_ONCE, 0);
    return (size_t)sets->m * sizeof(kmeans_call) + SETS_AT_ONCE * TILE * sizeof(int32_t) + 2 * HPCML_ALIGNMENT + most;
}

/* As add_dense_rows, to several sums. */
INLINE void ISA(add_rows_to)(const REAL *x, const REAL *origin, const int32_t *labels, const double *weights, int64_t n,
                             int64_t d, double *const *sums, double *const *counts, const int n_sets,
                             const int weighted) {
    for (int64_t r = 0; r < n; r++, x += d) {
        const double w = weighted ? weights[r] : 1.0;
        double *sum[SETS_AT_ONCE];
#pragma GCC unroll 4
        for (int s = 0; s < n_sets; s++) {
            const int64_t label = labels[s * TILE + r];
            sum[s] = sums[s] + label * d;
            counts[s][label] += w;
        }
        int64_t f = 0;
        for (; f + DL <= d; f += DL) {
            VD value = ISA(less_origin)(x + f, origin + f);
            if (weighted) value *= w;
#pragma GCC unroll 4
            for (int s = 0; s < n_sets; s++) *(VD *)(sum[s] + f) += value;
        }
        for (; f < d; f++) {
            double value = (double)(REAL)(x[f] - origin[f]);
            if (weighted) value = w * value;
#pragma GCC unroll 4
            for (int s = 0; s < n_sets; s++) sum[s][f] += value;
        }
    }
}

#define ADD_TO(n_sets)                                                                                              \
    do {                                                                                                            \
        if (weights) ISA(add_rows_to)(x, origin, labels, weights, n, d, sums, counts, n_sets, 1);                   \
        else if (d == DL) ISA(add_rows_to)(x, origin, labels, NULL, n, DL, sums, counts, n_sets, 0);                \
        else if (d == 2 * DL) ISA(add_rows_to)(x, origin, labels, NULL, n, 2 * DL, sums, counts, n_sets, 0);        \
        else ISA(add_rows_to)(x, origin, labels, NULL, n, d, sums, counts, n_sets, 0);                              \
    } while (0)
HOT void ISA(add_tile)(const kmeans_call *call, int64_t start, int64_t n, const int32_t *labels, double *const *sums,
                       double *const *counts, int n_sets) {
    const REAL *x = ISA(row_at)(call, start), *origin = call->origin;
    const double *weights = call->weights ? call->weights + start : NULL;
    const int64_t d = call->d;
    switch (n_sets) {
        case 4: ADD_TO(4); break;
        case 3: ADD_TO(3); break;
        case 2: ADD_TO(2); break;
        default: ADD_TO(1);
    }
}
#undef ADD_TO

/* Label rows of a tile by a set, whose labels are a column of all; return how many have changed. */
INLINE int64_t ISA(label_column)(const kmeans_sets *sets, kmeans_call *call, ISA(scratch_t) * scratch, int64_t start,
                                 int64_t n, int64_t column, int32_t *labels, const int filled) {
    const int64_t wide = sets->columns_of_labels;
    int32_t *all = sets->labels + start * wide + column, changed = 0;
    call->labels = labels - start; /* whatever they are: the column is compared */
    if (filled) {
        ISA(rows_t) rows = {NULL, NULL, n, call->d};
        ISA(against_all)(scratch->tile, &rows, NULL, call->packed, call->start, call->k, PRODUCT, BEST, 1);
        for (int64_t r = 0; r < TILE; r++) labels[r] = (int32_t)scratch->tile->nearest[r];
    } else {
        ISA(label_all)(call, scratch, start, start + n);
    }
    for (int64_t r = 0; r < n; r++) changed += labels[r] != all[r * wide];
    for (int64_t r = 0; changed && r < n; r++) all[r * wide] = labels[r];
    return changed;
}

/* lloyd_steps for one shard: sums (K, d), counts (K), labels that changed (m). */
static void ISA(sets_shard)(const void *call_, int64_t start, int64_t stop, double *statistic, void *memory) {
    const kmeans_sets *sets = call_;
    const kmeans_call *first = sets->calls;
    const int64_t m = sets->m, d = first->d;
    const int sparse = first->indptr != NULL, filled = !sparse && d <= FEATURES_AT_ONCE;
    const size_t next_tile = filled ? ISA(tile_bytes)(1, FEATURES_AT_ONCE, 0) : 0;
    kmeans_call *calls = memory;
    int32_t *labels = ISA(aligned_at)(calls + m);
    ISA(scratch_t) *scratch = ISA(scratch_at)(ISA(aligned_at)(labels + SETS_AT_ONCE * TILE));
    ISA(scratch_t) own = *scratch;
    double *all_counts = statistic + sets->n_centers * d, *changed = all_counts + sets->n_centers;
    memcpy(calls, sets->calls, (size_t)m * sizeof(kmeans_call));
    const passes_t passes = passes_of((double)ROWS_AT_ONCE * sets->n_centers * d);
    for (int64_t i0 = start; i0 < stop && go_on(&passes); i0 += ROWS_AT_ONCE) {
        const int64_t end = i0 + ROWS_AT_ONCE < stop ? i0 + ROWS_AT_ONCE : stop;
        char *tile = (char *)scratch->tile;
        for (int64_t i = i0; filled && i < end; i += TILE, tile += next_tile) {
            ISA(rows_t) rows = {ISA(row_at)(first, i), NULL, end - i < TILE ? end - i : TILE, d};
            ISA(fill_tile)((ISA(tile_t) *)tile, &rows, first->origin, 0, d);
        }
        int64_t center = 0;
        for (int64_t s0 = 0, n_sets; s0 < m; s0 += n_sets) {
            double *sums[SETS_AT_ONCE], *counts[SETS_AT_ONCE];
            n_sets = m - s0 < SETS_AT_ONCE ? m - s0 : SETS_AT_ONCE;
            for (int64_t s = 0; s < n_sets; s++) {
                sums[s] = statistic + center * d, counts[s] = all_counts + center;
                center += calls[s0 + s].k;
            }
            tile = (char *)scratch->tile;
            for (int64_t i = i0; i < end; i += TILE, tile += next_tile) {
                const int64_t n = end - i < TILE ? end - i : TILE;
                own.tile = (ISA(tile_t) *)tile;
                for (int64_t s = 0; s < n_sets; s++) {
                    kmeans_call *call = calls + s0 + s;
                    int32_t *some = labels + s * TILE;
                    changed[s0 + s] += (double)ISA(label_column)(sets, call, &own, i, n, sets->columns[s0 + s], some, filled);
                    if (sparse) ISA(add_sparse_rows)(call, i, i + n, sums[s], counts[s]);
                }
                if (!sparse) ISA(add_tile)(first, i, n, labels, sums, counts, (int)n_sets);
            }
        }
    }
}

#undef SETS_AT_ONCE
#undef TILES_AT_ONCE
