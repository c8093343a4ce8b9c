/* Products of features with each other, with targets and with coefficients; hpcml/kernels/reference/gram.py is the
 * definition. Dense rows are centred a block at a time; sparse rows are never made dense: what their centre changes
 * is added at the end of a shard.
 */
#ifndef HPCML_GRAM_H
#define HPCML_GRAM_H

#include "isa.h"
#include "shards.h"

#define BLOCK_ROWS 128      /* at most so many rows are added up in the type of X, before they go to double */
#define WIDEST_VECTOR 16    /* lanes: rows of blocks are padded to whole vectors of any instruction set */
#define NARROW 4            /* up to so many targets, vectors lie along the features instead of along the targets */

/* One call; X and y are float or double, as all arrays that are void. */
typedef struct {
    int is_double;
    const void *x; /* rows, or the stored values of sparse rows */
    const int32_t *indices;
    const int64_t *indptr; /* NULL for dense rows */
    int64_t d, t, k;       /* columns of X, of y, of W */
    int64_t first, width;  /* columns of a panel */
    const int64_t *held;   /* NULL, or: only rows whose bits under the mask are the value */
    int64_t mask, value;
    int single; /* X and y are float where the body is at double */
    const double *weights; /* NULL for ones */
    const double *centers, *y_centers;
    const void *y; /* NULL for none, or zeros */
    const double *W, *offsets;
    const void *rounded;     /* W in the type of X */
    int centered;            /* whether a center is not 0 */
    double *at_zero;         /* b - W^T c */
    void *panels, *features; /* W in panels of columns; its columns one after another, padded to whole vectors */
    void *out;               /* (n, k) */
} gram_call;

static inline int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* From row to row of a block, in numbers: whole vectors, and an odd number of them, because rows that are a power of
 * two apart meet in the same lines of the cache. */
static inline int64_t block_stride(int64_t columns) {
    int64_t vectors = up_to(columns > 0 ? columns : 1, WIDEST_VECTOR) / WIDEST_VECTOR;
    return (vectors + !(vectors & 1)) * WIDEST_VECTOR;
}

static inline int is_chosen(const gram_call *call, int64_t i) {
    return !call->held || (call->held[i] & call->mask) == call->value;
}

#define BODY "gram_body.h"
#include "each_real.h"

/* Sums that the blocks share: b - W^T c, always in this order. */
static void gram_prepare(int level, gram_call *call) {
    call->centered = 0;
    for (int64_t j = 0; j < call->d; j++) call->centered |= call->centers[j] != 0;
    for (int64_t q = 0; q < call->k; q++) {
        double at = call->offsets ? call->offsets[q] : 0;
        for (int64_t j = 0; j < call->d; j++) at -= call->centers[j] * call->W[j * call->k + q];
        call->at_zero[q] = at;
    }
    if (call->k) AT_REAL(level, call->is_double, pack)(call);
}
/* Numbers of the type of X in `panels`, and in `features`. */
static int64_t gram_panel_numbers(const gram_call *call) { return call->d * up_to(call->k, WIDEST_VECTOR); }
static int64_t gram_feature_numbers(const gram_call *call) { return call->k * up_to(call->d, WIDEST_VECTOR); }
static size_t gram_scratch(int level, const gram_call *call) {
    return AT_REAL(level, call->is_double, scratch_bytes)(call);
}
static shard_function gram_shard(int level, const gram_call *call) {
    if (call->indptr) return AT_REAL(level, call->is_double, sparse_gram_shard);
    return AT_REAL(level, call->is_double, gram_shard);
}
static shard_function masked_gram_shard(int level, const gram_call *call) {
    if (call->indptr) return AT_REAL(level, call->is_double, sparse_gram_shard);
    return AT_REAL(level, call->is_double, masked_gram_shard);
}
static shard_function gram_panel_shard(int level, const gram_call *call) {
    if (call->indptr) return AT_REAL(level, call->is_double, sparse_gram_panel_shard);
    return AT_REAL(level, call->is_double, gram_panel_shard);
}
static shard_function projected_gram_shard(int level, const gram_call *call) {
    return AT_REAL(level, call->is_double, projected_gram_shard);
}
static shard_function residual_products_shard(int level, const gram_call *call) {
    if (call->indptr) return AT_REAL(level, call->is_double, sparse_residual_products_shard);
    if (call->k <= NARROW) return AT_REAL(level, call->is_double, narrow_residual_products_shard);
    return AT_REAL(level, call->is_double, residual_products_shard);
}
static shard_function gram_project(int level, const gram_call *call) {
    return AT_REAL(level, call->is_double, project_rows);
}

#endif
