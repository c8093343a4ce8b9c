/* Passes of the interior-point method over hinges; the arithmetic is that of
 * hpcml/kernels/reference/interior_point.py, always in double precision.
 */
#ifndef HPCML_INTERIOR_POINT_H
#define HPCML_INTERIOR_POINT_H

#include "isa.h"

#define BLOCK_ROWS 128  /* rows that are worked on while they lie in the cache */
#define MOST_HINGES 2   /* of a row */
#define WIDTH 8         /* numbers of a row of narrow matrices: whole vectors on every instruction set */
#define GAP_TO_PRICE 0x1p-50
#define LOWEST_OVERSHOOT 0x1p-14
#define CODE_SHIFT 49   /* leaves the exponent and CODE_BITS bits; see hpcml/kernels/overshoot.py */
#define N_CODES 640

enum { GRAM, CORRECT, STEP }; /* which pass */

typedef struct {
    int pass, is_double;
    const void *values;     /* dense: (n, d); sparse: the stored ones */
    const int32_t *indices;
    const int64_t *indptr;  /* NULL where dense */
    int64_t d;
    const double *y, *weights; /* weights may be NULL */
    double *alpha, *lower, *upper;
    int64_t n_hinges; /* of a row: 1 hinge, 2 epsilon_insensitive */
    const double *vectors;
    int64_t n_vectors;
    double positive, epsilon, price, other_price, barrier, step;
} interior_call;

typedef struct {
    double *x, *hx, *packed, *margins; /* rows in double precision, D times rows, the vectors, their margins */
    double *of_rows;                   /* (BLOCK_ROWS, WIDTH): two numbers of every row */
    double *h;                         /* sum of D of every row */
    double *s, *o, *c, *t, *predicted, *corrected, *a, *u, *v; /* of every hinge */
    double *D, *first, *second;
} interior_scratch;

static inline int64_t interior_stride(int64_t d) { return (d + 1 + WIDTH - 1) / WIDTH * WIDTH; }

static size_t interior_scratch_bytes(int64_t d, int sparse) {
    size_t stride = (size_t)interior_stride(d), rows = sparse ? 0 : 2 * BLOCK_ROWS * stride;
    size_t of_rows = 2 * BLOCK_ROWS * WIDTH + BLOCK_ROWS, of_hinges = 12 * MOST_HINGES * BLOCK_ROWS;
    return sizeof(double) * (rows + WIDTH * stride + of_rows + of_hinges);
}

static interior_scratch interior_cut(double *memory, int64_t d, int sparse) {
    size_t stride = (size_t)interior_stride(d), rows = sparse ? 0 : BLOCK_ROWS * stride;
    size_t hinges = MOST_HINGES * BLOCK_ROWS;
    interior_scratch p;
    p.x = memory, memory += rows;
    p.hx = memory, memory += rows;
    p.packed = memory, memory += WIDTH * stride;
    p.margins = memory, memory += BLOCK_ROWS * WIDTH;
    p.of_rows = memory, memory += BLOCK_ROWS * WIDTH;
    p.h = memory, memory += BLOCK_ROWS;
    double **of_hinges[] = {&p.s, &p.o, &p.c, &p.t, &p.predicted, &p.corrected,
                            &p.a, &p.u, &p.v, &p.D, &p.first,     &p.second};
    for (size_t i = 0; i < sizeof of_hinges / sizeof *of_hinges; i++) *of_hinges[i] = memory, memory += hinges;
    return p;
}

static int64_t interior_statistic(int pass, int64_t d) {
    return pass == GRAM ? (d + 1) * (d + 3) + 4 : pass == CORRECT ? 2 * (d + 1) + 1 + N_CODES : N_CODES;
}

static inline double interior_value(const interior_call *call, int64_t at) {
    return call->is_double ? ((const double *)call->values)[at] : (double)((const float *)call->values)[at];
}

static void interior_sparse_margins(const interior_call *call, int64_t first, int64_t n, double *margins) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < call->n_vectors; k++) {
            const double *w = call->vectors + k * (call->d + 1);
            double sum = w[call->d];
            for (int64_t p = call->indptr[first + i]; p < call->indptr[first + i + 1]; p++)
                sum += interior_value(call, p) * w[call->indices[p]];
            margins[i * WIDTH + k] = sum;
        }
}

/* out (2, d + 1) += of_rows^T (X, 1) */
static void interior_sparse_sums(const interior_call *call, int64_t first, int64_t n, const double *of_rows,
                                 double *out) {
    int64_t e = call->d + 1;
    for (int64_t i = 0; i < n; i++) {
        double a = of_rows[i * WIDTH], b = of_rows[i * WIDTH + 1];
        for (int64_t p = call->indptr[first + i]; p < call->indptr[first + i + 1]; p++) {
            double x = interior_value(call, p);
            out[call->indices[p]] += a * x;
            out[e + call->indices[p]] += b * x;
        }
        out[e - 1] += a;
        out[2 * e - 1] += b;
    }
}

/* gram (d + 1, d + 1) += sum h (x, 1)(x, 1)^T, the upper triangle; columns may come in any order, and repeatedly */
static void interior_sparse_gram(const interior_call *call, int64_t first, int64_t n, const double *h, double *gram) {
    int64_t e = call->d + 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t start = call->indptr[first + i], stop = call->indptr[first + i + 1];
        for (int64_t p = start; p < stop; p++) {
            int64_t row = call->indices[p];
            double hx = h[i] * interior_value(call, p);
            for (int64_t q = start; q < stop; q++)
                if (call->indices[q] >= row) gram[row * e + call->indices[q]] += hx * interior_value(call, q);
            gram[row * e + e - 1] += hx;
        }
        gram[e * e - 1] += h[i];
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
    for (int64_t i = 0; i < n; i++) {
        double y = call->y[i], weight = call->weights ? call->weights[i] : 1.0;
        for (int64_t j = 0; j < call->n_hinges; j++) {
            int64_t k = i * call->n_hinges + j;
            double o = 1.0, c = y == call->positive ? call->price : call->other_price;
            if (call->n_hinges == 2) o = (j ? -y : y) - call->epsilon, c = call->price;
            call->alpha[k] = c * weight / 2;
            call->lower[k] = (o < 0 ? -o : 0.0) + least;
            call->upper[k] = (o > 0 ? o : 0.0) + least;
        }
    }
}

#endif
