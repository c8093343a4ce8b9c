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

/* Grow one tree for every seed, side by side; the caller frees what `grown` holds, zeros before. Returns 0, or why it
 * failed. */
static int grow_trees(int level, const problem_t *p, const uint64_t *seeds, int64_t n_trees, grown_t *grown,
                      int n_threads, signals_t *signals) {
    team_t team = team_of(n_trees, 1, signals);
#pragma omp parallel num_threads(n_threads < n_trees ? n_threads : (int)n_trees)
    {
        tree_t tree;
        share_t own;
        enter(&team, &own);
        int failed = allocate_tree(&tree, p, &own.watch);
        for (int64_t i; !failed && (i = next_unit(&team, &own)) >= 0;) {
            tree.i_weights = i % p->n_weights;
            failed = AT_LEVEL(level, grow_tree)(&tree, seeds[i], grown + i);
        }
        if (failed) fail(&team, failed);
        leave(&team, &own);
        free_tree(&tree);
    }
    return team.failed;
}

#endif
