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

enum { LINEAR_GRADIENT, LINEAR_HESSIAN, LINEAR_PAIRS, LINEAR_DIAGONAL, LINEAR_MARGINS, LINEAR_FOLDS };
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
    const int64_t *each;               /* (F), the folds of LINEAR_FOLDS */
    int64_t F;
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
        case LINEAR_FOLDS: return c->F * (K + K * e);
        default: return K * e;
    }
}

/* Sparse rows by columns too, and the part of them that is at hand; see linear_loss_columns.h. */
typedef struct {
    const linear_t *c;
    const void *values;         /* the stored values column after column: REAL */
    const int32_t *rows;        /* their rows */
    const int64_t *starts;      /* (d + 1) */
    const int64_t *bounds;      /* of the shards */
    const int64_t *pieces;      /* (n_pieces, 2): ranges of shards of this process that are added up */
    int64_t n_pieces, m;
    double *statistics;         /* (n_pieces, m) */
    int64_t first;              /* problem */
    int64_t group, is_last;     /* of the piece */
    int64_t first_shard, n_shards, first_row, n_rows, most_rows;
    double *statistic, *waiting; /* (m), (levels, classes, d + 2, lanes): sums of left halves */
    void *w, *slopes, *lanes;
    double *sums;               /* (shards, 2, columns): losses, gradient by the intercepts */
    uint8_t *shards;            /* (rows): the shard that a row is in */
    int64_t *from;              /* (d): the first entry of every column that is not added up */
    signals_t *signals;
    int stopped; /* all threads at once, because they wait for each other */
} linear_columns_t;

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

static int64_t linear_rows_at_once(int level, int is_double, const linear_t *c) {
    return AT_REAL(level, is_double, block_rows)(c);
}
static shard_function linear_margins_of(int level, int is_double) { return AT_REAL(level, is_double, margins_of_rows); }

#define FEATURES_AT_ONCE 64     /* that a thread takes */
#define SLOPES_BYTES (1 << 20) /* of a class, about: they are read in any order, from the second cache */

/* Shards that are at hand together: a power of 2. */
static int64_t shards_at_once(const linear_columns_t *t, int64_t bytes_of_row) {
    const int64_t stop = t->pieces[2 * t->n_pieces - 1], rows = t->bounds[stop] / stop + 1;
    int64_t most = 1;
    while (2 * most * rows * bytes_of_row <= SLOPES_BYTES && most < stop) most *= 2;
    return most;
}

/* One part of the rows after another: a thread's part of it. */
static void add_by_columns(int level, int is_double, linear_columns_t *t, int64_t at_once, void *scratch,
                           double *sums) {
    const linear_t *c = t->c;
    const int64_t RL = AT_REAL(level, is_double, lanes_at_once)(), e = c->d + 1, P = c->P;
    const int64_t n_chunks = (e + FEATURES_AT_ONCE - 1) / FEATURES_AT_ONCE;
    memset(sums, 0, (size_t)(at_once * RL) * sizeof(double));
    for (int64_t first = 0; first < P; first += RL) {
#pragma omp single
        {
            t->first = first;
            memcpy(t->from, t->starts, (size_t)c->d * sizeof(int64_t));
            AT_REAL(level, is_double, pack_lanes)(t);
        }
#pragma omp for
        for (int64_t i = 0; i < n_chunks; i++) {
            const int64_t stop = (i + 1) * FEATURES_AT_ONCE;
            AT_REAL(level, is_double, pack_coefficients)(t, i * FEATURES_AT_ONCE, stop < e ? stop : e);
        }
        for (int64_t piece = 0; piece < t->n_pieces; piece++)
            for (int64_t shard = t->pieces[2 * piece], end = t->pieces[2 * piece + 1]; shard < end; shard += at_once) {
                const int64_t stop = shard + at_once < end ? shard + at_once : end;
                (void)is_stopped(t->signals); /* by the calling thread too, which alone looks: below it is any one */
#pragma omp single
                {
                    t->stopped = is_stopped(t->signals);
                    t->statistic = t->statistics + piece * t->m;
                    t->group = (shard - t->pieces[2 * piece]) / at_once;
                    t->is_last = stop == end;
                    t->first_shard = shard, t->n_shards = stop - shard;
                    t->first_row = t->bounds[shard], t->n_rows = t->bounds[stop] - t->bounds[shard];
                }
                if (t->stopped) return;
#pragma omp for schedule(dynamic, 1)
                for (int64_t i = shard; i < stop; i++) AT_REAL(level, is_double, slopes_of_shard)(t, i, scratch);
#pragma omp single nowait
                AT_REAL(level, is_double, sums_without_column)(t, sums);
                for (int64_t k = 0; k < c->K / P; k++) {
#pragma omp for schedule(dynamic, 1)
                    for (int64_t i = 0; i < n_chunks; i++)
                        for (int64_t j = i * FEATURES_AT_ONCE; j < (i + 1) * FEATURES_AT_ONCE && j < c->d; j++)
                            AT_REAL(level, is_double, gradient_of_column)(t, k, j, sums);
                }
            }
    }
}

/* Writes the statistics of pieces; returns 0, or why it failed. */
static int linear_by_columns(int level, int is_double, linear_columns_t *t, int n_threads) {
    const linear_t *c = t->c;
    const int64_t RL = AT_REAL(level, is_double, lanes_at_once)(), stop = t->pieces[2 * t->n_pieces - 1];
    const int64_t columns = c->K / c->P * RL, at_once = shards_at_once(t, RL * (is_double ? 8 : 4));
    int64_t levels = 1;
    for (int64_t groups = stop / at_once; groups; groups /= 2) levels++;
    t->stopped = 0;
    t->most_rows = (c->n / stop + 1) * at_once;
    size_t bytes[4];
    AT_REAL(level, is_double, bytes_of_lanes)(t, bytes);
    t->w = aligned_memory(bytes[0]);
    t->slopes = aligned_memory(bytes[1]);
    t->lanes = aligned_memory(bytes[2]);
    t->waiting = aligned_memory((size_t)(levels * columns * (c->d + 2)) * sizeof(double));
    t->sums = aligned_memory((size_t)(at_once * 2 * columns) * sizeof(double));
    t->shards = aligned_memory((size_t)t->most_rows);
    t->from = aligned_memory((size_t)c->d * sizeof(int64_t));
    int failed = t->w && t->slopes && t->lanes && t->waiting && t->sums && t->shards && t->from ? 0 : NO_MEMORY;
#pragma omp parallel num_threads(failed ? 1 : n_threads)
    {
        void *scratch = scratch_memory(bytes[3]);
        double *sums = aligned_memory((size_t)(at_once * RL) * sizeof(double));
        if (!scratch || !sums) {
#pragma omp atomic write
            failed = NO_MEMORY;
        }
#pragma omp barrier
        if (!failed) add_by_columns(level, is_double, t, at_once, scratch, sums);
        free(scratch);
        free(sums);
    }
    free(t->w);
    free(t->slopes);
    free(t->lanes);
    free(t->waiting);
    free(t->sums);
    free(t->shards);
    free(t->from);
    return failed ? failed : t->stopped ? STOPPED : 0;
}

#endif
