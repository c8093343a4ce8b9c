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

#define BODY "growth_body.h"
#include "each_isa.h"

/* Grow one tree at the level of instruction sets; the caller frees what `out` holds. Returns -1 when memory is short. */
static int grow_tree(int level, tree_t *t, int64_t i_weights, uint64_t seed, grown_t *out) {
    t->i_weights = i_weights;
    return AT_LEVEL(level, grow_tree)(t, seed, out);
}

#endif
