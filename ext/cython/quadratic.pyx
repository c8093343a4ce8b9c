"""Coordinate descent on quadratic models in C."""

from libc.stdint cimport int64_t

import numpy as np

from hpcml.machine import isa_level

from signals cimport check, signals_here, signals_t

cdef extern from "quadratic.h" nogil:
    ctypedef struct quadratic_t:
        int64_t p
        const double *h
        const double *l1
        double *u
        double *c
        signals_t *signals
    void descend_at(int level, const quadratic_t *q, double tol, int64_t max_sweeps)


def descend_coordinates(const double[:, ::1] H, gradient, start, const double[::1] l1, double tol, int64_t max_sweeps):
    cdef quadratic_t q
    cdef signals_t signals = signals_here()
    cdef int level = isa_level()
    found, slopes = np.array(start), np.array(gradient)
    cdef double[::1] u = found, c = slopes
    q.p, q.signals = H.shape[0], &signals
    if q.p:
        q.h, q.l1, q.u, q.c = &H[0, 0], &l1[0], &u[0], &c[0]
        with nogil:
            descend_at(level, &q, tol, max_sweeps)
        check(0, &signals, "")
    return found
