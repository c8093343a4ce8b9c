/* Growth of trees for every instruction set; hpcml/kernels/reference/growth.py is the definition. */
#ifndef HPCML_GROWTH_H
#define HPCML_GROWTH_H

#include "growth_memory.h"

static int bit_length(uint64_t x) {
    int n = 0;
    for (; x; x >>= 1) n++;
    return n;
}

static int exponent_of(double x) {
    int e;
    frexp(x, &e);
    return e;
}

/* Running sums of the words of sorted rows for SUMMED_TOGETHER features. Compiled without vector extensions: loads one
 * by one beat gather instructions here. */
static void sum_sorted(const uint16_t *keys, int64_t width, const uint64_t *pack, int64_t n, uint64_t *words) {
    uint64_t sum[SUMMED_TOGETHER] = {0};
    for (int64_t i = 0; i < n; i++, keys += width, words += SUMMED_TOGETHER)
        for (int j = 0; j < SUMMED_TOGETHER; j++) words[j] = sum[j] += pack[keys[j] & 255];
}

#define BODY "growth_body.h"
#include "each_isa.h"

/* Grow one tree at the level of instruction sets; the caller frees what `out` holds. Returns -1 when memory is short. */
static int grow_tree(int level, tree_t *t, int64_t i_weights, uint64_t seed, grown_t *out) {
    t->i_weights = i_weights;
    return AT_LEVEL(level, grow_tree)(t, seed, out);
}

#endif
