/* Rows for moments.h, at one instruction set and type; all sums are in double. No include guard. */

/* One row: NaN counts nowhere. */
INLINE void ISA(add_row)(const REAL *restrict x, const double *restrict centers, int64_t d, double w,
                         double *restrict counts, double *restrict sums, double *restrict squares) {
    for (int64_t j = 0; j < d; j++) {
        const double value = (double)x[j], there = value == value ? w : 0.0;
        const double v = value == value ? value - centers[j] : 0.0;
        counts[j] += there;
        sums[j] += w * v;
        squares[j] += w * v * v;
    }
}

HOT void ISA(add_rows)(const moments_call *call, int64_t start, int64_t stop, double *counts, double *sums,
                       double *squares) {
    const REAL *x = (const REAL *)call->x + start * call->d;
    for (int64_t i = start; i < stop; i++, x += call->d)
        ISA(add_row)(x, call->centers, call->d, call->weights ? call->weights[i] : 1.0, counts, sums, squares);
}

static void ISA(moments_shard)(const void *argument, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const moments_call *call = argument;
    (void)scratch;
    ISA(add_rows)(call, start, stop, statistic, statistic + call->d, statistic + 2 * call->d);
}

/* The entries first; then the zeros, which are -c from the center:
 *
 *     sum w (x - c)^2 = sum over entries of w (x - c)^2 + (weight of the zeros) c^2
 */
static void ISA(sparse_moments_shard)(const void *argument, int64_t start, int64_t stop, double *statistic,
                                      void *scratch) {
    const moments_call *call = argument;
    const REAL *values = call->x;
    const int64_t d = call->d;
    double *counts = statistic, *sums = counts + d, *squares = sums + d, *entries = scratch, weight = 0;
    memset(entries, 0, (size_t)d * sizeof(double));
    for (int64_t i = start; i < stop; i++) {
        const double w = call->weights ? call->weights[i] : 1.0;
        weight += w;
        for (int64_t a = call->indptr[i]; a < call->indptr[i + 1]; a++) {
            const int64_t j = call->indices[a];
            const double value = (double)values[a], v = value - call->centers[j];
            entries[j] += w;
            if (value != value)
                counts[j] -= w;
            else {
                sums[j] += w * v;
                squares[j] += w * v * v;
            }
        }
    }
    for (int64_t j = 0; j < d; j++) {
        const double c = call->centers[j], zeros = weight - entries[j];
        counts[j] += weight;
        sums[j] -= zeros * c;
        squares[j] += zeros * c * c;
    }
}

/* (x - c) / s, or x s + c, as NumPy rounds it. */
HOT void ISA(rescale_rows)(const void *argument, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const moments_call *call = argument;
    (void)statistic, (void)scratch;
    const int64_t d = call->d;
    const REAL *restrict c = call->rounded_centers, *restrict s = call->rounded_scales;
    for (int64_t i = start; i < stop; i++) {
        const REAL *restrict x = (const REAL *)call->x + i * d;
        REAL *restrict out = (REAL *)call->out + i * d;
        if (call->back)
            for (int64_t j = 0; j < d; j++) out[j] = x[j] * s[j] + c[j];
        else
            for (int64_t j = 0; j < d; j++) out[j] = (x[j] - c[j]) / s[j];
    }
}

/* Sums of shards: SUM_LANES side by side, then these by halves. */
HOT void ISA(sum_shards)(const void *argument, int64_t first, int64_t last, double *statistic, void *scratch) {
    (void)statistic, (void)scratch;
    const moments_call *call = argument;
    double *out = call->out;
    for (int64_t shard = first; shard < last; shard++) {
        const REAL *x = (const REAL *)call->x + call->bounds[shard];
        const int64_t n = call->bounds[shard + 1] - call->bounds[shard], whole = n - n % SUM_LANES;
        double lane[SUM_LANES] = {0};
        for (int64_t i = 0; i < whole; i += SUM_LANES)
            for (int j = 0; j < SUM_LANES; j++) lane[j] += (double)x[i + j];
        for (int64_t i = whole; i < n; i++) lane[i - whole] += (double)x[i];
        for (int width = SUM_LANES / 2; width; width /= 2)
            for (int j = 0; j < width; j++) lane[j] += lane[j + width];
        out[shard] = lane[0];
    }
}
