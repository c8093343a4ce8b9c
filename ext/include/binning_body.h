/* Number of a value's bin: how many of the `n` upper ends lie below it. Branch-free search over a full table of
 * MAX_CODES ends, the missing ones +inf; the same steps for sixteen values at once hide the latency. */
INLINE void ISA(bins_of)(const float *ends, const float *x, int64_t step, int64_t count, int32_t n, uint8_t *out, int64_t out_step) {
    enum { AT_ONCE = 16 };
    int64_t i = 0;
    for (; i + AT_ONCE <= count; i += AT_ONCE) {
        float v[AT_ONCE];
        int32_t at[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++) {
            v[j] = x[(i + j) * step];
            at[j] = 0;
        }
        for (int32_t half = MAX_CODES / 2; half > 0; half /= 2)
            for (int j = 0; j < AT_ONCE; j++) at[j] += ends[at[j] + half - 1] < v[j] ? half : 0;
        for (int j = 0; j < AT_ONCE; j++) {
            const int32_t bin = at[j] < n ? at[j] : n > 0 ? n - 1 : 0;
            out[(i + j) * out_step] = (uint8_t)(v[j] == v[j] ? bin : n);
        }
    }
    for (; i < count; i++) {
        const float v = x[i * step];
        int32_t at = 0;
        for (int32_t half = MAX_CODES / 2; half > 0; half /= 2) at += ends[at + half - 1] < v ? half : 0;
        const int32_t bin = at < n ? at : n > 0 ? n - 1 : 0;
        out[i * out_step] = (uint8_t)(v == v ? bin : n);
    }
}

static void ISA(apply_bins)(const void *argument, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const binning_call *call = argument;
    const int64_t d = call->d;
    float ends[MAX_CODES], column[BINNED_AT_ONCE];
    (void)statistic, (void)scratch;
    for (int64_t f = 0; f < d; f++) {
        const int32_t n_bins = call->n_bins[f];
        for (int i = 0; i < MAX_CODES; i++) ends[i] = i < n_bins ? call->upper[f * MAX_CODES + i] : INFINITY;
        for (int64_t i = start; i < stop; i++) column[i - start] = call->x[i * d + f];
        ISA(bins_of)(ends, column, 1, stop - start, n_bins, call->binned + start * d + f, d);
    }
}
