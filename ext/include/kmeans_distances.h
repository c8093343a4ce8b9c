/* Distances of rows to given rows: to all centers, to the center of the label, to rows that may become seeds.
 * No include guard.
 */

/* center_distances and label_distances for a block of rows. */
static void ISA(distances_shard)(const void *call_, int64_t start, int64_t stop, double *statistic, void *memory) {
    const kmeans_call *call = call_;
    ISA(scratch_t) *scratch = ISA(scratch_at)(memory);
    const int64_t k = call->k;
    REAL *out = call->all_distances;
    (void)statistic;
    if (!out) {
        for (int64_t i = start; i < stop; i++)
            call->distances[i] = ISA(distance_to)(call, i, call->labels[i]);
        return;
    }
    if (call->indptr) {
        for (int64_t i = start; i < stop; i++)
            for (int64_t j = 0; j < k; j++) out[i * k + j] = (REAL)sqrt(ISA(distance_to)(call, i, j));
        return;
    }
    for (int64_t i = start; i < stop; i += TILE) {
        const int64_t n = stop - i < TILE ? stop - i : TILE;
        const REAL *values = scratch->tile->values;
        ISA(rows_t) rows = {ISA(row_at)(call, i), NULL, n, call->d};
        ISA(against_all)(scratch->tile, &rows, call->origin, call->packed, call->start, k, DIFFERENCE, KEEP, 0);
        for (int64_t r = 0; r < n; r++)
            for (int64_t j = 0; j < k; j++) out[(i + r) * k + j] = (REAL)sqrt((double)values[j * TILE + r]);
    }
}

/* try_seeds and add_seed for one shard: the sums of min(share, w |x - s|^2). */
static void ISA(seeds_shard)(const void *call_, int64_t start, int64_t stop, double *statistic, void *memory) {
    const kmeans_call *call = call_;
    ISA(scratch_t) *scratch = ISA(scratch_at)(memory);
    REAL *shares = call->shares;
    const int64_t m = call->k;
    if (call->indptr) {
        for (int64_t i = start; i < stop; i++) {
            const double w = call->weights ? call->weights[i] : 1.0;
            for (int64_t j = 0; j < m; j++) {
                REAL share = (REAL)(w * ISA(distance_to)(call, i, j));
                share = share < shares[i] ? share : shares[i];
                statistic[j] += (double)share;
                if (call->keep_shares) shares[i] = share;
            }
        }
        return;
    }
    for (int64_t i = start; i < stop; i += TILE) {
        const int64_t n = stop - i < TILE ? stop - i : TILE;
        ISA(rows_t) rows = {ISA(row_at)(call, i), NULL, n, call->d};
        REAL w[TILE], old[TILE]; /* beyond the rows: shares of 0 */
        if (n < TILE) memset(old, 0, sizeof old), memset(w, 0, sizeof w);
        memcpy(old, shares + i, (size_t)n * sizeof(REAL));
        if (call->weights)
            for (int64_t r = 0; r < n; r++) w[r] = (REAL)call->weights[i + r];
        ISA(against_all)(scratch->tile, &rows, call->origin, call->packed, call->start, m, DIFFERENCE, KEEP, 0);
        for (int64_t j = 0; j < m; j++) {
            REAL *share = scratch->tile->values + j * TILE;
            ISA(squares_t) sum = {{0}, 0};
            for (int v = 0; v < TILE; v += RL) {
                VR value = ISA(load_r)(share + v);
                if (call->weights) value *= ISA(load_r)(w + v);
                ISA(store_r)(share + v, ISA(min_r)(value, ISA(load_r)(old + v)));
            }
            for (int r = 0; r < TILE; r += DL) sum.lanes += ISA(as_doubles)(share + r);
            statistic[j] += ISA(total)(sum);
            if (call->keep_shares) memcpy(old, share, sizeof old);
        }
        if (call->keep_shares) memcpy(shares + i, old, (size_t)n * sizeof(REAL));
    }
}
