/* Mixtures of normal densities; hpcml/kernels/reference/mixture.py is the definition.
 *
 * Rows are taken in blocks that stay in the cache, feature after feature, so that every lane of a vector is a row and
 * any number of features fills all lanes. A block passes through E (log-densities, responsibilities) and M (moments)
 * before the next one is read.
 */
#ifndef HPCML_MIXTURE_H
#define HPCML_MIXTURE_H

#include "isa.h"
#include "shards.h"

#define LOWEST_LOG (-1e30) /* no log-density is lower */
#define LOG_NOTHING (-100) /* responsibilities below e^-100 of the largest are 0: see the definition */

typedef struct {
    int64_t d, k;
    int diagonal;
    const void *x, *center;                         /* (n, d), (d): REAL, as all that follow */
    const void *means, *factors, *log_weights;      /* NULL where responsibilities are given */
    const void *shifts;                             /* (k, d); NULL where no moments are wanted */
    const void *responsibilities;                   /* (n, k), or NULL */
    const int32_t *labels;                          /* (n), or NULL */
    void *packed;                                   /* the factors as pack_factors leaves them */
    void *log_densities, *responsibilities_out;     /* (n), (n, k) or NULL: of the kernel of rows */
    int32_t *labels_out;                            /* (n) */
} mixture_t;

/* Several mixtures for the same rows: their components lie one after the other. */
typedef struct {
    int64_t n, k; /* mixtures, and components of them all */
    const mixture_t *each;
} mixtures_t;

#define BODY "mixture_body.h"
#include "each_real.h"

static int64_t mixture_packed(int level, int is_double, int64_t d) {
    return AT_REAL(level, is_double, packed_length)(d);
}
static void mixture_pack(int level, int is_double, const mixture_t *m) {
    AT_REAL(level, is_double, pack_factors)(m);
}
static size_t mixture_scratch(int level, int is_double, const mixture_t *m) {
    return AT_REAL(level, is_double, scratch_bytes)(m);
}
static shard_function mixture_shard(int level, int is_double) { return AT_REAL(level, is_double, mixture_shard); }

static size_t mixtures_scratch(int level, int is_double, const mixtures_t *all) {
    return AT_REAL(level, is_double, mixtures_bytes)(all);
}
static shard_function mixtures_shard(int level, int is_double) { return AT_REAL(level, is_double, mixtures_shard); }

static int64_t mixture_rows_at_once(int level, int is_double) { return AT_REAL(level, is_double, block_rows)(); }
static shard_function mixture_rows(int level, int is_double) { return AT_REAL(level, is_double, rows_of_mixture); }

#endif
