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

#define VL 2
#define SUFFIX baseline
#include "growth_body.h"
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX

#if HPCML_X86
HPCML_TARGET_AVX2
#define VL 4
#define SUFFIX avx2
#include "growth_body.h"
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX
HPCML_TARGET_END

HPCML_TARGET_AVX512
#define VL 8
#define SUFFIX avx512
#include "growth_body.h"
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX
HPCML_TARGET_END
#endif

/* Grow one tree at the level of instruction sets; the caller frees what `out` holds. Returns -1 when memory is short. */
static int grow_tree(int level, tree_t *t, int64_t i_weights, uint64_t seed, grown_t *out) {
    t->i_weights = i_weights;
#if HPCML_X86
    if (level == 2) return grow_tree_avx512(t, seed, out);
    if (level == 1) return grow_tree_avx2(t, seed, out);
#endif
    (void)level;
    return grow_tree_baseline(t, seed, out);
}

#endif
