/* Bins of feature values; hpcml/kernels/reference/binning.py is the definition. */
#ifndef HPCML_BINNING_H
#define HPCML_BINNING_H

#include "isa.h"
#include "shards.h"

#define SORT_TOGETHER 4 /* features: a quarter of a cache line, and keys of five columns of memory a thread */

/* Float bits whose order as unsigned integers is that of the numbers, and back. */
static inline uint32_t ordered_bits(float x) {
    uint32_t u;
    x += 0.0f; /* -0 is 0 */
    memcpy(&u, &x, 4);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static inline float from_ordered_bits(uint32_t u) {
    float x;
    u = u & 0x80000000u ? u & 0x7FFFFFFFu : ~u;
    memcpy(&x, &u, 4);
    return x;
}

/* Sort 32-bit keys by counting, 11 bits at a time; the result is in `keys`. */
static void radix_sort(uint32_t *keys, uint32_t *scratch, int64_t n) {
    enum { DIGITS = 2048, PASSES = 3 };
    static const int shifts[PASSES] = {0, 11, 22};
    uint32_t counts[PASSES][DIGITS];
    memset(counts, 0, sizeof counts);
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < PASSES; p++) counts[p][keys[i] >> shifts[p] & (DIGITS - 1)]++;
    for (int p = 0; p < PASSES; p++) {
        uint32_t sum = 0, *c = counts[p];
        if (n > 0 && c[keys[0] >> shifts[p] & (DIGITS - 1)] == n) continue;
        for (int i = 0; i < DIGITS; i++) {
            const uint32_t count = c[i];
            c[i] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) scratch[c[keys[i] >> shifts[p] & (DIGITS - 1)]++] = keys[i];
        memcpy(keys, scratch, (size_t)n * sizeof *keys);
    }
}

/* Find the bins of one feature from its sorted keys; returns how many. */
static int32_t bins_of_sorted(const uint32_t *keys, int64_t n, int64_t max_bins, float *lower, float *upper) {
    int64_t n_values = 0, bins = 0;
    for (int64_t i = 0; i < n && n_values <= max_bins; i++) n_values += i == 0 || keys[i] != keys[i - 1];
    for (int64_t start = 0; start < n;) {
        /* a bin for each value, or the smallest end with (rows in the bin) * bins_left >= rows_left */
        const int64_t bins_left = max_bins - bins, rows_left = n - start;
        int64_t end = start + (n_values <= max_bins ? 1 : (rows_left + bins_left - 1) / bins_left);
        while (end < n && keys[end] == keys[end - 1]) end++;
        lower[bins] = from_ordered_bits(keys[start]);
        upper[bins] = from_ordered_bits(keys[end - 1]);
        bins++;
        start = end;
    }
    for (int64_t b = bins; b < MAX_CODES; b++) lower[b] = upper[b] = NAN;
    return (int32_t)bins;
}

/* One call; of a matrix of n rows and d features. */
typedef struct {
    const float *x;
    int64_t n, d, max_bins;
    float *lower, *upper; /* (d, MAX_CODES) */
    int32_t *n_bins;
    uint8_t *binned; /* (n, d) */
    signals_t *signals;
    int *failed; /* set where memory is short */
} binning_call;

/* Find the bins of neighbouring features: a cache line of X is read once for all of them. */
static void find_bins_of(const void *argument, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const binning_call *call = argument;
    const int64_t n_rows = call->n;
    uint32_t *keys = malloc((size_t)(n_rows * (stop - start + 1)) * sizeof *keys);
    int64_t n[SORT_TOGETHER] = {0};
    (void)statistic, (void)scratch; /* of which none is asked for: it would be zeroed */
    if (!keys) {
#pragma omp atomic write
        *call->failed = NO_MEMORY;
        return;
    }
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t f = 0; f < stop - start; f++) {
            const float v = call->x[i * call->d + start + f];
            keys[f * n_rows + n[f]] = ordered_bits(v);
            n[f] += v == v;
        }
    for (int64_t f = 0; f < stop - start && !is_stopped(call->signals); f++) {
        float *lower = call->lower + (start + f) * MAX_CODES, *upper = call->upper + (start + f) * MAX_CODES;
        radix_sort(keys + f * n_rows, keys + (stop - start) * n_rows, n[f]);
        call->n_bins[start + f] = bins_of_sorted(keys + f * n_rows, n[f], call->max_bins, lower, upper);
    }
    free(keys);
}

#define BINNED_AT_ONCE 512 /* rows */

#define BODY "binning_body.h"
#include "each_isa.h"

static shard_function apply_bins_of(int level) { return AT_LEVEL(level, apply_bins); }

#endif
