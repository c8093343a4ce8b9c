/* Passes of the interior-point method over hinges; the arithmetic is that of
 * hpcml/kernels/reference/interior_point.py, always in double precision.
 */
#ifndef HPCML_INTERIOR_POINT_H
#define HPCML_INTERIOR_POINT_H

#include "isa.h"
#include "signals.h"

#define BLOCK_ROWS 128  /* rows that are worked on while they lie in the cache */
#define WIDTH 8         /* numbers of a row of narrow matrices: whole vectors on every instruction set */
#define GAP_TO_PRICE 0x1p-50
#define LOWEST_OVERSHOOT 0x1p-14
#define CODE_SHIFT 49   /* leaves the exponent and CODE_BITS bits; see hpcml/kernels/overshoot.py */
#define N_CODES 640

enum { GRAM, CORRECT, STEP }; /* which pass */

/* M models, each with J hinges a row; the hinges of a row lie together, model after model. */
typedef struct {
    int pass, is_double;
    const void *values;     /* dense: (n, d); sparse: the stored ones */
    const int32_t *indices;
    const int64_t *indptr;  /* NULL where dense */
    int64_t d;
    const double *y, *weights; /* weights may be NULL */
    double *alpha, *lower, *upper; /* (n, M * J) */
    int64_t n_models, n_hinges;    /* M, J: 1 hinge, 2 epsilon_insensitive */
    const double *vectors;         /* (n_vectors, M, d + 1) */
    int64_t n_vectors;
    const double *positive, *price, *other_price, *barrier, *step; /* (M,); the last two may be NULL */
    double epsilon;
} interior_call;

typedef struct {
    double *x, *hx, *packed, *margins;   /* rows in double precision, D times rows, the vectors, their margins */
    double *of_rows, *terms;             /* two sums of every row and model; what is summed over all rows */
    double *h;                           /* sum of D of every row and model */
    double *most;                        /* largest overshoot of every model */
    double *barrier, *step;              /* of every hinge of a block */
    double *s, *o, *c, *t, *predicted, *corrected, *a, *u, *v; /* of every hinge */
    double *D, *first, *second;
} interior_scratch;

static inline int64_t interior_padded(int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }
static inline int64_t interior_stride(int64_t d) { return interior_padded(d + 1); }
static inline int64_t interior_columns(const interior_call *call) { return call->n_vectors * call->n_models; }
static inline int64_t interior_n_terms(const interior_call *call) { return (call->pass == GRAM ? 4 : 1) * call->n_models; }

/* Cuts the scratch memory, and returns how many numbers that is. */
static size_t interior_cut(interior_scratch *p, double *memory, const interior_call *call) {
    size_t stride = (size_t)interior_stride(call->d), M = (size_t)call->n_models, block = BLOCK_ROWS;
    size_t columns = (size_t)interior_padded(interior_columns(call)), hinges = block * M * (size_t)call->n_hinges;
    size_t rows = call->indptr ? 0 : block * stride, used = 0;
    struct {
        double **at;
        size_t size;
    } parts[] = {{&p->x, rows}, {&p->hx, rows}, {&p->packed, columns * stride}, {&p->margins, block * columns},
                 {&p->of_rows, block * 2 * M}, {&p->terms, block * (size_t)interior_padded(4 * call->n_models)},
                 {&p->h, block * M}, {&p->most, (size_t)interior_padded(call->n_models)},
                 {&p->barrier, hinges}, {&p->step, hinges},
                 {&p->s, hinges}, {&p->o, hinges}, {&p->c, hinges}, {&p->t, hinges}, {&p->predicted, hinges},
                 {&p->corrected, hinges}, {&p->a, hinges}, {&p->u, hinges}, {&p->v, hinges}, {&p->D, hinges},
                 {&p->first, hinges}, {&p->second, hinges}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; used += parts[i++].size)
        if (memory) *parts[i].at = memory + used;
    return used;
}

static size_t interior_scratch_bytes(const interior_call *call) {
    interior_scratch none;
    return sizeof(double) * interior_cut(&none, NULL, call);
}

static int64_t interior_statistic(const interior_call *call) {
    int64_t e = call->d + 1;
    return call->n_models * (call->pass == GRAM ? e * (e + 2) + 4 : call->pass == CORRECT ? 2 * e + 1 + N_CODES : N_CODES);
}

static inline double interior_value(const interior_call *call, int64_t at) {
    return call->is_double ? ((const double *)call->values)[at] : (double)((const float *)call->values)[at];
}

/* Rows are told by their numbers, of which there are n. */
static void interior_sparse_margins(const interior_call *call, const int64_t *rows, int64_t n, double *margins,
                                    int64_t width) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < interior_columns(call); k++) {
            const double *w = call->vectors + k * (call->d + 1);
            double sum = w[call->d];
            for (int64_t p = call->indptr[rows[i]]; p < call->indptr[rows[i] + 1]; p++)
                sum += interior_value(call, p) * w[call->indices[p]];
            margins[i * width + k] = sum;
        }
}

/* out (2 M, d + 1) += of_rows^T (X, 1) */
static void interior_sparse_sums(const interior_call *call, const int64_t *rows, int64_t n, const double *of_rows,
                                 double *out) {
    int64_t e = call->d + 1, columns = 2 * call->n_models;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < columns; k++) {
            double a = of_rows[i * columns + k], *sums = out + k * e;
            for (int64_t p = call->indptr[rows[i]]; p < call->indptr[rows[i] + 1]; p++)
                sums[call->indices[p]] += a * interior_value(call, p);
            sums[e - 1] += a;
        }
}

/* gram (M, d + 1, d + 1) += sum h (x, 1)(x, 1)^T, the upper triangles; columns may come in any order, and
 * repeatedly */
static void interior_sparse_gram(const interior_call *call, const int64_t *rows, int64_t n, const double *h,
                                 double *gram) {
    int64_t e = call->d + 1, M = call->n_models;
    for (int64_t i = 0; i < n; i++) {
        int64_t start = call->indptr[rows[i]], stop = call->indptr[rows[i] + 1];
        for (int64_t m = 0; m < M; m++) {
            double *g = gram + m * e * e, weight = h[i * M + m];
            for (int64_t p = start; p < stop; p++) {
                int64_t row = call->indices[p];
                double hx = weight * interior_value(call, p);
                for (int64_t q = start; q < stop; q++)
                    if (call->indices[q] >= row) g[row * e + call->indices[q]] += hx * interior_value(call, q);
                g[row * e + e - 1] += hx;
            }
            g[e * e - 1] += weight;
        }
    }
}

static inline int interior_code(double ratio) {
    double beyond = ratio - 1.0 > LOWEST_OVERSHOOT ? ratio - 1.0 : LOWEST_OVERSHOOT, lowest = LOWEST_OVERSHOOT;
    int64_t bits, low;
    memcpy(&bits, &beyond, sizeof bits);
    memcpy(&low, &lowest, sizeof low);
    int64_t code = (bits >> CODE_SHIFT) - (low >> CODE_SHIFT);
    return code < N_CODES - 1 ? (int)code : N_CODES - 1;
}

#define BODY "interior_point_body.h"
#include "each_real.h"

static void (*interior_shard(int level))(const void *, int64_t, int64_t, double *, void *) {
    return AT_LEVEL(level, interior_rows_f64);
}

static void interior_start_of(const interior_call *call, int64_t n, double least) {
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        double y = call->y[i], weight = call->weights ? call->weights[i] : 1.0;
        for (int64_t m = 0; m < call->n_models; m++)
            for (int64_t j = 0; j < call->n_hinges; j++, k++) {
                double o = 1.0, c = y == call->positive[m] ? call->price[m] : call->other_price[m];
                if (call->n_hinges == 2) o = (j ? -y : y) - call->epsilon, c = call->price[m];
                call->alpha[k] = c * weight / 2;
                call->lower[k] = (o < 0 ? -o : 0.0) + least;
                call->upper[k] = (o > 0 ? o : 0.0) + least;
            }
    }
}

#endif
