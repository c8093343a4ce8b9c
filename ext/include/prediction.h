/* Rows through trees; hpcml/kernels/reference/prediction.py is the definition. */
#ifndef HPCML_PREDICTION_H
#define HPCML_PREDICTION_H

#include "growth_types.h"
#include "shards.h"

#define ROWS_AT_ONCE 64

/* A node as prediction reads it, children side by side: 16 bytes, four to a cache line. */
typedef struct {
    float threshold; /* the largest float32 at most the node's threshold: equal answers for float32 values */
    uint32_t left;   /* the right child follows; in a leaf: itself, and no value is above the threshold */
    int32_t feature;
    uint32_t missing_left;
} step_t;

typedef struct {
    int64_t n_trees, n_values;
    const node_t *nodes;
    const int64_t *offsets;
    step_t *steps;
    int32_t *numbers; /* of each step's node in its tree */
    const double *values;
    const float *x; /* rows of d features */
    int64_t d;
    int32_t *leaves; /* what is wanted of each row: the leaf in every tree, or the sums of values */
    double *sums;
} forest_t;

static float round_down(double x) {
    float f = (float)x;
    return (double)f > x ? nextafterf(f, -INFINITY) : f;
}

/* Breadth-first copy of a tree, so that the first levels share cache lines. */
static void lay_out(const node_t *nodes, int64_t n, step_t *steps, int32_t *numbers) {
    int64_t end = 1;
    numbers[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const node_t *node = nodes + numbers[i];
        if (node->left == LEAF) {
            steps[i] = (step_t){INFINITY, (uint32_t)i, 0, 1};
            continue;
        }
        steps[i] = (step_t){round_down(node->threshold), (uint32_t)end, node->feature, node->missing_go_to_left};
        numbers[end++] = node->left;
        numbers[end++] = node->right;
    }
}

static void lay_out_trees(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const forest_t *f = call;
    (void)statistic, (void)scratch;
    for (int64_t t = start; t < stop; t++) {
        const int64_t at = f->offsets[t];
        lay_out(f->nodes + at, f->offsets[t + 1] - at, f->steps + at, f->numbers + at);
    }
}

#define ROWS_AND_TREES 4096 /* rows of a thread's share times trees, at least: some 30 us */

static int64_t rows_of_a_share(const forest_t *f) {
    const int64_t blocks = ROWS_AND_TREES / (ROWS_AT_ONCE * f->n_trees);
    return blocks > 1 ? blocks * ROWS_AT_ONCE : ROWS_AT_ONCE;
}

#define BODY "prediction_body.h"
#include "each_isa.h"

static shard_function rows_through_trees(int level) { return AT_LEVEL(level, rows_through_trees); }

#endif
