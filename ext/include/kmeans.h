/* K-means: rows and the centers nearest to them; hpcml/kernels/reference/kmeans.py is the definition. */
#ifndef HPCML_KMEANS_H
#define HPCML_KMEANS_H

#include "isa.h"
#include "shards.h"

#define FEATURES_AT_ONCE 128 /* of a tile: it stays in the first-level cache beside a panel of centers */
#define ROWS_AT_ONCE 480     /* between comparison and sums: whole tiles; they stay in the second-level cache */

/* One call; arrays of the type of X are void. */
typedef struct {
    int is_double;
    const void *x; /* rows, or the stored values of sparse rows */
    const int32_t *indices;
    const int64_t *indptr; /* NULL for dense rows */
    int64_t d, k;
    const double *weights; /* NULL for ones */
    const void *origin;    /* NULL for zeros */
    const void *centers;
    void *packed, *start; /* made of the centers: as pack_centers or pack_columns_of leave them */
    double *sizes;        /* |c|^2, for sparse rows */
    int32_t *labels;
    int with_sums, with_inertia, with_members;
    int64_t *overflown; /* counts rows whose largest score is not finite; may be NULL */
    /* bounds of distances */
    void *upper, *lower;
    const double *moved, *others_moved, *apart;
    int first;
    double norm; /* the largest of the centers */
    /* seeds: the centers are those that are tried */
    void *shares;
    int keep_shares;
    double *distances; /* to the center of the label */
    void *all_distances;
} kmeans_call;

/* Several sets of centers for the same rows. */
typedef struct {
    int64_t m, n_centers; /* sets, and centers of them all */
    const kmeans_call *calls;
    int32_t *labels; /* (n, columns_of_labels): of each set one column */
    int64_t columns_of_labels;
    const int64_t *columns;
} kmeans_sets;

/* Parts of a statistic: sums (k, d), counts (k), labels that changed, inertia, rows compared with all centers, and
 * how many rows every center has (k). */
static int64_t kmeans_statistic(const kmeans_call *call) {
    return (call->with_sums ? call->k * call->d + call->k : 0) + 2 + (call->upper != NULL) +
           (call->with_members ? call->k : 0);
}

#define BODY "kmeans_body.h"
#include "each_real.h"

static size_t kmeans_packed_bytes(int level, const kmeans_call *call) {
    return AT_REAL(level, call->is_double, packed_bytes)(call);
}
static void kmeans_pack(int level, kmeans_call *call) { AT_REAL(level, call->is_double, pack)(call); }
static void kmeans_sizes(int level, kmeans_call *call) { AT_REAL(level, call->is_double, all_sizes)(call); }
static size_t kmeans_scratch_bytes(int level, const kmeans_call *call) {
    return AT_REAL(level, call->is_double, scratch_bytes)(call);
}
static shard_function kmeans_step_shard(int level, const kmeans_call *call) {
    return AT_REAL(level, call->is_double, step_shard);
}
static shard_function kmeans_seeds_shard(int level, const kmeans_call *call) {
    return AT_REAL(level, call->is_double, seeds_shard);
}
static shard_function kmeans_distances_shard(int level, const kmeans_call *call) {
    return AT_REAL(level, call->is_double, distances_shard);
}

static size_t kmeans_sets_bytes(int level, const kmeans_sets *sets) {
    return AT_REAL(level, sets->calls->is_double, sets_bytes)(sets);
}
static shard_function kmeans_sets_shard(int level, const kmeans_sets *sets) {
    return AT_REAL(level, sets->calls->is_double, sets_shard);
}

#define UNWANTED_NUMBERS 2 /* labels that changed, inertia: of a step that only labels rows */

#endif
