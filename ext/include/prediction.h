/* Rows through trees; hpcml/kernels/reference/prediction.py is the definition. */
#ifndef HPCML_PREDICTION_H
#define HPCML_PREDICTION_H

#include "growth_types.h"

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
    const int64_t *offsets;
    step_t *steps;
    int32_t *numbers; /* of each step's node in its tree */
    const double *values;
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

#define BODY "prediction_body.h"
#include "each_isa.h"

static void leaves_of_rows(int level, const forest_t *f, const float *x, int64_t d, int64_t count, int32_t *out) {
    AT_LEVEL(level, leaves_of_block)(f, x, d, count, out);
}

static void values_of_rows(int level, const forest_t *f, const float *x, int64_t d, int64_t count, double *out) {
    AT_LEVEL(level, values_of_block)(f, x, d, count, out);
}

#endif
