#include "vectors.h"

/* Take BLOCK rows through a tree, one level at a time: the rows' loads overlap. Stops when all are in leaves. */
INLINE void ISA(descend)(const step_t *steps, const float *x, int64_t d, int64_t count, int32_t *at) {
    for (int64_t i = 0; i < count; i++) at[i] = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (int64_t i = 0; i < count; i++) {
            const step_t step = steps[at[i]];
            const float v = x[i * d + step.feature];
            const int32_t left = (v <= step.threshold) | ((v != v) & step.missing_left);
            const int32_t next = step.left + (step.width & (left - 1)); /* leaf: left is itself, width 0 */
            moved |= next ^ at[i];
            at[i] = next;
        }
    }
}

static void ISA(leaves_of_block)(const forest_t *f, const float *x, int64_t d, int64_t count, int32_t *out) {
    int32_t at[ROWS_AT_ONCE];
    for (int64_t t = 0; t < f->n_trees; t++) {
        const int64_t start = f->offsets[t];
        ISA(descend)(f->steps + start, x, d, count, at);
        for (int64_t i = 0; i < count; i++) out[i * f->n_trees + t] = f->numbers[start + at[i]];
    }
}

static void ISA(values_of_block)(const forest_t *f, const float *x, int64_t d, int64_t count, double *out) {
    int32_t at[ROWS_AT_ONCE];
    const int64_t k = f->n_values;
    for (int64_t t = 0; t < f->n_trees; t++) {
        const int64_t start = f->offsets[t];
        ISA(descend)(f->steps + start, x, d, count, at);
        for (int64_t i = 0; i < count; i++) {
            const double *value = f->values + (start + f->numbers[start + at[i]]) * k;
            for (int64_t j = 0; j < k; j++) out[i * k + j] += value[j];
        }
    }
}
