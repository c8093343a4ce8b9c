/* A Lloyd step for several sets of centers in one pass: a tile of rows meets all of them while it lies in the cache. Every
 * set does with it what lloyd_step does, so that its statistic has the same bits. No include guard.
 */

/* Scratch: calls of the sets, labels of a tile (or of sparse rows), then that of the widest set. */
static size_t ISA(sets_bytes)(const kmeans_sets *sets) {
    size_t most = 0;
    for (int64_t s = 0; s < sets->m; s++) {
        size_t bytes = ISA(scratch_bytes)(sets->calls + s);
        most = bytes > most ? bytes : most;
    }
    return (size_t)sets->m * sizeof(kmeans_call) + TILE * sizeof(int32_t) + 2 * HPCML_ALIGNMENT + most;
}

/* lloyd_steps for one shard: sums (K, d), counts (K), labels that changed (m). */
static void ISA(sets_shard)(const void *call_, int64_t start, int64_t stop, double *statistic, void *memory) {
    const kmeans_sets *sets = call_;
    const kmeans_call *first = sets->calls;
    const int64_t m = sets->m, wide = sets->columns_of_labels, d = first->d;
    const int sparse = first->indptr != NULL, filled = !sparse && d <= FEATURES_AT_ONCE;
    kmeans_call *calls = memory;
    int32_t *labels = ISA(aligned_at)(calls + m);
    ISA(scratch_t) *scratch = ISA(scratch_at)(ISA(aligned_at)(labels + TILE));
    double *counts = statistic + sets->n_centers * d, *changed = counts + sets->n_centers;
    memcpy(calls, sets->calls, (size_t)m * sizeof(kmeans_call));
    for (int64_t i = start; i < stop; i += TILE) {
        const int64_t end = i + TILE < stop ? i + TILE : stop, n = end - i;
        ISA(rows_t) rows = {sparse ? NULL : ISA(row_at)(first, i), NULL, n, d};
        int64_t center = 0;
        if (filled) ISA(fill_tile)(scratch->tile, &rows, first->origin, 0, d);
        for (int64_t s = 0; s < m; s++) {
            kmeans_call *call = calls + s;
            int32_t *column = sets->labels + i * wide + sets->columns[s];
            call->labels = labels - i;
            for (int64_t r = 0; r < n; r++) labels[r] = column[r * wide];
            int64_t moved = filled ? ISA(label_tile)(call, scratch, &rows, i, 1) : ISA(label_all)(call, scratch, i, end);
            changed[s] += (double)moved;
            if (moved)
                for (int64_t r = 0; r < n; r++) column[r * wide] = labels[r];
            if (sparse) ISA(add_sparse_rows)(call, i, end, statistic + center * d, counts + center);
            else ISA(add_rows)(call, i, end, statistic + center * d, counts + center);
            center += call->k;
        }
    }
}
