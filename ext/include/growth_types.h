/* What a growing tree holds. Names follow hpcml/kernels/reference/growth.py, the definition.
 *
 * The rows of a node lie together: every stream (bins, packed increments, targets, row numbers) has two buffers.
 * A split compacts the left rows in place and writes the right rows to the other buffer, so both children and a
 * scratch space for each exist at once and any node may be split next:
 *
 *   node:  data  buffer b  [at, at + n)            scratch  buffer 1-b  [scratch, scratch + n)
 *   left:  data  buffer b  [at, at + n_l)          scratch  buffer 1-b  [scratch + n_r, scratch + n)
 *   right: data  buffer 1-b [scratch, scratch+n_r) scratch  buffer b    [at + n_l, at + n)
 */
#ifndef HPCML_GROWTH_TYPES_H
#define HPCML_GROWTH_TYPES_H

#include "isa.h"
#include "random.h"
#include "signals.h"

/* Rows up to which sorting beats a histogram: fewer where a vector of keys is mostly empty. At most 256: the row is
 * a byte of the key. */
#define SMALL_NODE 128
#define SMALL_NODE_OF_FEW 40
#define FEW_FEATURES 8
#define SUMMED_TOGETHER 8 /* features whose running sums stay in registers */
#define SPARSE_NODE 400 /* rows up to which a histogram is mostly empty, so that its bins are first brought together */
#define RECORD_FEATURES 64 /* features up to which a row's bins travel with the row */
#define FILL_TOGETHER 8   /* features whose places in a histogram stay in registers */
#define HISTOGRAM_WORDS (MAX_CODES + 8)
#define KEPT_NODES 16      /* histograms of nodes to come; when all are in use, a node counts its rows again */
#define WORTH_SUBTRACTING 64 /* rows by which the larger child must exceed the smaller */
#define EXACT_BITS 51
#define WORD_BITS 64
#define MAX_EXPONENT 1000
#define EPSILON 2.220446049250313e-16
#define LEAF (-1)
#define UNDEFINED (-2)

typedef struct {
    int32_t left, right, feature;
    uint8_t missing_go_to_left;
    double threshold, impurity;
    int64_t n_samples;
    double weight, improvement;
    int32_t depth;
} node_t;

typedef struct {
    /* data, IN */
    const uint8_t *binned;  /* n x d, rows contiguous */
    const uint8_t *columns; /* d x n, or NULL: the bins travel with the rows */
    int64_t n, d;
    const float *lower, *upper; /* d x MAX_CODES */
    const int32_t *n_bins;      /* d */
    const double *y;            /* n: class number or target */
    const double *weights;      /* n_weights x n, or NULL */
    int64_t n_weights;
    const double *cumulative_weights; /* n, or NULL */
    int64_t n_draws;                  /* 0: no bootstrap */
    /* parameters, IN */
    int entropy;
    int64_t n_classes; /* 0: regression */
    int64_t max_features, max_depth, min_samples_split, min_samples_leaf, max_leaf_nodes;
    double min_weight_leaf, min_impurity_decrease;
    int64_t target_bits;
} problem_t;

typedef struct {
    int64_t at, scratch;
    uint64_t key;
    int32_t buffer, histogram; /* histogram: where that of the node is kept, -1 if it is not */
    int32_t left, right; /* numbers of the children once the node is expanded */
    int32_t number;      /* in the finished tree */
} place_t;

typedef struct { /* the best split of a node, or of one feature in it */
    double score;
    int64_t feature, rank, code, next_code; /* rank: position in the node's order of features, which decides ties */
    int missing_left, has_missing;
} split_t;

/* Words of a histogram: bins, missing values, and room for whole vectors. */
static inline int64_t words_of(int64_t n_bins) { return (n_bins + 8) & ~7; }

static inline void keep_better(split_t *best, const split_t *found) {
    if (found->score == -INFINITY) return;
    if (found->score > best->score || (found->score == best->score && found->rank < best->rank)) *best = *found;
}

typedef struct {
    const problem_t *p;
    /* fixed point: w = w_int weight_unit, a power of 2; packed word: [row count][weight][target] */
    int packed, counts_rows, weight_shift, count_shift;
    uint64_t sum_mask, weight_mask, min_w_int;
    double weight_unit, total_weight;
    int64_t n_planes; /* sums of a node: (w, s), or one a class */
    /* rows in the bag */
    int64_t m, stride, i_weights;
    uint8_t *bins[2];
    uint64_t *pack[2];
    double *target[2];
    uint32_t *row[2];
    uint64_t *w_of_row, *s_of_row; /* by row number: where the words are not packed */
    double *w;        /* by row number */
    uint32_t *draws;
    uint8_t *go_left;
    /* split search */
    int64_t *order, *swaps, *ranks; /* d: the permutation of the features, undone after each node */
    uint64_t *histogram, *spare; /* of the node, of a child */
    uint64_t *kept;             /* of nodes to come, where every node looks at all features; or NULL */
    int32_t free_slots[KEPT_NODES], n_free;
    int64_t kept_words;
    uint16_t *keys;     /* SMALL_NODE x slots */
    uint64_t *carry, *plane_left, *plane_total;
    /* the tree, numbered as created */
    node_t *nodes;
    place_t *places;
    double *values;
    uint64_t *sums;
    int64_t n_nodes, capacity;
    int64_t *queue;
    watch_t *watch; /* once it is stopped, what is being computed means nothing */
} tree_t;

typedef struct {
    node_t *nodes;
    double *values;
    int64_t n_nodes;
} grown_t;

#endif
