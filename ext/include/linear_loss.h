/* Losses of linear models, their gradients and curvature; hpcml/kernels/reference/linear_loss.py is the definition.
 *
 * Rows are taken in blocks that stay in the cache: margins, then losses with a row in every lane, or with a problem in
 * every lane where there are many, then what is added up. A block of dense rows is copied once, less the origin and
 * with a 1 after the features, so that the intercept is one of them.
 */
#ifndef HPCML_LINEAR_LOSS_H
#define HPCML_LINEAR_LOSS_H

#include "isa.h"
#include "shards.h"

#define LINEAR_ROWS 128          /* of a block: as many as may be added up in single precision */
#define LINEAR_BYTES (256 << 10) /* of a block: it is read again from the second cache */

enum { LINEAR_GRADIENT, LINEAR_HESSIAN, LINEAR_PAIRS, LINEAR_DIAGONAL, LINEAR_MARGINS };
enum { LOSS_LOGISTIC, LOSS_MULTINOMIAL, LOSS_SQUARED_HINGE, LOSS_SQUARED_EPSILON_INSENSITIVE };

typedef struct {
    int what, loss;
    int64_t n, d, K, P;                /* rows of the whole array, features, columns, problems; P divides K */
    const void *x;                     /* (n, d), or the stored values of sparse rows: REAL */
    const int32_t *indices;
    const int64_t *indptr;             /* of sparse rows, else NULL */
    const double *y, *weights;         /* (n); weights may be NULL */
    const int64_t *held;               /* (n), sets of the folds that leave a row out, a bit each; may be NULL */
    const double *origin;              /* (d), subtracted from dense rows; may be NULL */
    const double *W;                   /* (K, d + 1), the first column of every problem, then the second ... */
    const double *positive;            /* (K) */
    const int64_t *folds;              /* (P); NULL: rows count in every problem */
    const double *factors;             /* (P, n_classes) of the weights; may be NULL */
    int64_t n_folds, n_classes;
    double epsilon;
    void *packed;                      /* W as linear_pack leaves it: REAL */
    void *margins;                     /* (n, K), of the kernel of rows: REAL */
} linear_t;

/* Numbers of a statistic: losses, gradient, Hessian; or one matrix like the coefficients. */
static int64_t linear_statistic(const linear_t *c) {
    const int64_t e = c->d + 1, K = c->K;
    switch (c->what) {
        case LINEAR_GRADIENT: return K + K * e;
        case LINEAR_HESSIAN: return K + K * e + K * e * e;
        case LINEAR_PAIRS: return K + K * e + K * K * e * e;
        default: return K * e;
    }
}

#define BODY "linear_loss_body.h"
#include "each_real.h"

static size_t linear_packed(int level, int is_double, const linear_t *c) {
    return AT_REAL(level, is_double, packed_bytes)(c);
}
static void linear_pack(int level, int is_double, const linear_t *c) { AT_REAL(level, is_double, pack_model)(c); }
static size_t linear_scratch(int level, int is_double, const linear_t *c) {
    return AT_REAL(level, is_double, scratch_bytes)(c);
}
static shard_function linear_shard(int level, int is_double) { return AT_REAL(level, is_double, linear_shard); }

/* Returns -1 where memory ran out. */
static int linear_margins_of(int level, int is_double, const linear_t *c, int64_t n, int n_threads) {
    return over_blocks(n, AT_REAL(level, is_double, block_rows)(c), 0, linear_scratch(level, is_double, c),
                       AT_REAL(level, is_double, margins_of_rows), c, n_threads);
}

#endif
