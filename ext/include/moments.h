/* Moments of features, rows on the scale that they give, sums over each shard; hpcml/kernels/reference/moments.py is the definition. */
#ifndef HPCML_MOMENTS_H
#define HPCML_MOMENTS_H

#include "isa.h"
#include "shards.h"

#define NUMBERS_AT_ONCE 65536 /* of a thread's share of rows that are rescaled */
#define SUM_LANES 16          /* sums that are added up side by side, on every instruction set */
#define SHARDS_AT_ONCE 8      /* of a thread's share */

typedef struct {
    int is_double;
    const void *x; /* rows, or the stored values of sparse rows */
    const int32_t *indices;
    const int64_t *indptr; /* NULL for dense rows */
    int64_t d;
    const double *weights; /* NULL for ones */
    const double *centers;
    const int64_t *bounds; /* of shards */
    /* rows on another scale */
    const void *rounded_centers, *rounded_scales;
    int back;
    void *out;
} moments_call;

#define BODY "moments_body.h"
#include "each_real.h"

/* Of sparse rows: the weight of the entries of every feature. */
static size_t moments_scratch(const moments_call *call) {
    return call->indptr ? (size_t)call->d * sizeof(double) : 0;
}
static shard_function moments_shard(int level, const moments_call *call) {
    if (call->indptr) return AT_REAL(level, call->is_double, sparse_moments_shard);
    return AT_REAL(level, call->is_double, moments_shard);
}

static int64_t moments_rows_at_once(const moments_call *call) {
    const int64_t d = call->d ? call->d : 1;
    return d < NUMBERS_AT_ONCE ? NUMBERS_AT_ONCE / d : 1;
}
static shard_function moments_rescale(int level, const moments_call *call) {
    return AT_REAL(level, call->is_double, rescale_rows);
}
static shard_function moments_of_shards(int level, const moments_call *call) {
    return AT_REAL(level, call->is_double, sum_shards);
}

#endif
