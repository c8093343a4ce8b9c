/* Coordinate descent on quadratic models; hpcml/kernels/reference/quadratic.py is the definition. */
#ifndef HPCML_QUADRATIC_H
#define HPCML_QUADRATIC_H

#include "isa.h"
#include "signals.h"

typedef struct {
    int64_t p;
    const double *h, *l1; /* (p, p), (p) */
    double *u, *c;        /* (p): the point, and the gradient of the smooth part there */
    signals_t *signals;
} quadratic_t;

#define BODY "quadratic_body.h"
#include "each_isa.h"

static void descend_at(int level, const quadratic_t *q, double tol, int64_t max_sweeps) {
    AT_LEVEL(level, descend)(q, tol, max_sweeps);
}

#endif
