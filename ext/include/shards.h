/* A statistic of every shard, added up in the fixed tree of hpcml/kernels/shards.py; any order in which threads
 * finish gives the same bits. At most n_threads + log2(n_shards) statistics exist at a time.
 */
#ifndef HPCML_SHARDS_H
#define HPCML_SHARDS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "signals.h"

#define HPCML_ALIGNMENT 64 /* bytes: a cache line, and the widest vector */

/* Adds the statistic of the rows from start to stop to `statistic`, which is zero before; `scratch` is the
 * thread's own, of the size asked for, aligned, with unknown content. */
typedef void (*shard_function)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch);

typedef struct {
    int64_t first, height; /* covers the shards from first to first + 2^height - 1, as far as they exist */
    double *sum;
} piece_t;

typedef struct {
    int64_t n_shards, m, n_pieces;
    piece_t *pieces;
    double **spare; /* statistics to use again */
    int64_t n_spare;
} tree_sum_t;

/* Multiplications that are worth a thread, some 50 us of them: to wake one, and to wait for it at the end, takes
 * 5 us where a core is free and a slice of the scheduler where there is none. */
#define WORK_OF_A_THREAD 262144.0

static inline int threads_worth(int n_threads, double work) {
    const double most = 1.0 + work / WORK_OF_A_THREAD;
    return most < n_threads ? (int)most : n_threads;
}

static inline void *aligned_memory(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, HPCML_ALIGNMENT, bytes ? bytes : HPCML_ALIGNMENT) ? NULL : memory;
}

/* Zeros: kernels multiply what pads their rows too, and garbage may hold denormal numbers, which are slow. */
static inline void *scratch_memory(size_t bytes) {
    void *memory = aligned_memory(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static double *spare_statistic(tree_sum_t *tree) {
    double *found = NULL;
#pragma omp critical(hpcml_tree_sum)
    if (tree->n_spare) found = tree->spare[--tree->n_spare];
    return found ? found : aligned_memory((size_t)tree->m * sizeof(double));
}

static void climb(tree_sum_t *tree, int64_t first, double *sum) {
    int64_t height = 0;
    for (;;) {
        int64_t width = (int64_t)1 << height, left = first & ~(2 * width - 1);
        int64_t other = first == left ? left + width : left;
        int whole = width >= tree->n_shards;
        if (!whole && other >= tree->n_shards) { /* the right half does not exist */
            height++;
            continue;
        }
        double *found = NULL;
#pragma omp critical(hpcml_tree_sum)
        {
            for (int64_t i = 0; !whole && i < tree->n_pieces; i++)
                if (tree->pieces[i].first == other && tree->pieces[i].height == height) {
                    found = tree->pieces[i].sum;
                    tree->pieces[i] = tree->pieces[--tree->n_pieces];
                    break;
                }
            if (!found) tree->pieces[tree->n_pieces++] = (piece_t){first, height, sum};
        }
        if (!found) return;
        for (int64_t j = 0; j < tree->m; j++) sum[j] += found[j]; /* a + b and b + a have the same bits */
#pragma omp critical(hpcml_tree_sum)
        tree->spare[tree->n_spare++] = found;
        first = left;
        height++;
    }
}

static int by_first_shard(const void *a, const void *b) {
    int64_t x = ((const piece_t *)a)->first, y = ((const piece_t *)b)->first;
    return (x > y) - (x < y);
}

static void free_tree_sum(tree_sum_t *tree) {
    for (int64_t i = 0; i < tree->n_pieces; i++) free(tree->pieces[i].sum);
    for (int64_t i = 0; i < tree->n_spare; i++) free(tree->spare[i]);
    free(tree->pieces);
    free(tree->spare);
}

/* Leaves the pieces in order in `tree`, to be freed; returns 0, or why it failed. */
static int over_shards(tree_sum_t *tree, const int64_t *bounds, int64_t n_local, int64_t first_shard, int64_t n_shards,
                       int64_t m, size_t scratch_bytes, shard_function function, const void *call, int n_threads,
                       signals_t *signals) {
    team_t team = team_of(n_local, 1, signals);
    *tree = (tree_sum_t){.n_shards = n_shards, .m = m};
    tree->pieces = malloc((size_t)(n_local + 1) * sizeof(piece_t));
    tree->spare = malloc((size_t)(n_local + 1) * sizeof(double *));
    if (!tree->pieces || !tree->spare) return NO_MEMORY;
    if (n_threads > n_local) n_threads = n_local ? (int)n_local : 1;
#pragma omp parallel num_threads(n_threads)
    {
        void *scratch = scratch_memory(scratch_bytes);
        share_t own;
        enter(&team, &own);
        for (int64_t i; (i = next_unit(&team, &own)) >= 0;) {
            double *statistic = scratch ? spare_statistic(tree) : NULL;
            if (!statistic) {
                fail(&team, NO_MEMORY);
                break;
            }
            memset(statistic, 0, (size_t)m * sizeof(double));
            function(call, bounds[i], bounds[i + 1], statistic, scratch);
            climb(tree, first_shard + i, statistic);
        }
        leave(&team, &own);
        free(scratch);
    }
    qsort(tree->pieces, (size_t)tree->n_pieces, sizeof(piece_t), by_first_shard);
    return team.failed;
}

#define BLOCKS_AT_ONCE 4 /* that a thread takes where there are many: fewer trips to the counter */

/* Runs a function over rows for what it writes to them; threads take blocks of `rows_at_once`. Its statistic, of m
 * numbers, nobody wants. Returns 0, or why it failed. */
static inline int over_blocks(int64_t n, int64_t rows_at_once, int64_t m, size_t scratch_bytes,
                              shard_function function, const void *call, int n_threads, signals_t *signals) {
    const int64_t n_blocks = (n + rows_at_once - 1) / rows_at_once;
    const size_t padded = (scratch_bytes + HPCML_ALIGNMENT - 1) / HPCML_ALIGNMENT * HPCML_ALIGNMENT;
    const size_t unwanted = (size_t)m * sizeof(double);
    if (n_threads > n_blocks) n_threads = n_blocks ? (int)n_blocks : 1;
    team_t team = team_of(n_blocks, n_blocks >= 2 * BLOCKS_AT_ONCE * (int64_t)n_threads ? BLOCKS_AT_ONCE : 1, signals);
#pragma omp parallel num_threads(n_threads)
    {
        char *scratch = scratch_memory(padded + unwanted);
        share_t own;
        enter(&team, &own);
        if (!scratch) fail(&team, NO_MEMORY);
        for (int64_t i; (i = next_unit(&team, &own)) >= 0;) {
            const int64_t start = i * rows_at_once, stop = start + rows_at_once < n ? start + rows_at_once : n;
            double *statistic = (double *)(scratch + padded);
            memset(statistic, 0, unwanted);
            function(call, start, stop, statistic, scratch);
        }
        leave(&team, &own);
        free(scratch);
    }
    return team.failed;
}

#endif
