"""Leaves and sums of values of rows in C, a block of rows a thread; trees are added in their order."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

import numpy as np

from hpcml.machine import isa_level

cdef extern from "prediction.h" nogil:
    enum: ROWS_AT_ONCE
    ctypedef struct node_t:
        pass
    ctypedef struct step_t:
        pass
    ctypedef struct forest_t:
        int64_t n_trees, n_values
        const int64_t *offsets
        step_t *steps
        int32_t *numbers
        const double *values
    void lay_out(const node_t *nodes, int64_t n, step_t *steps, int32_t *numbers)
    void leaves_of_rows(int level, const forest_t *f, const float *x, int64_t d, int64_t count, int32_t *out)
    void values_of_rows(int level, const forest_t *f, const float *x, int64_t d, int64_t count, double *out)


def predict_leaves(const float[:, ::1] X, nodes, const int64_t[::1] offsets, int n_threads=1):
    leaves = np.zeros((X.shape[0], offsets.shape[0] - 1), dtype=np.int32)
    _run(X, nodes, None, offsets, leaves, None, n_threads)
    return leaves


def predict_values(const float[:, ::1] X, nodes, const double[:, ::1] values, const int64_t[::1] offsets, int n_threads=1):
    total = np.zeros((X.shape[0], values.shape[1]))
    _run(X, nodes, values, offsets, None, total, n_threads)
    return total


cdef _run(
    const float[:, ::1] X, nodes, const double[:, ::1] values, const int64_t[::1] offsets, leaves, total, int n_threads
):
    cdef const uint8_t[::1] raw = nodes.view(np.uint8)
    cdef int64_t n = X.shape[0], d = X.shape[1], n_trees = offsets.shape[0] - 1, size = nodes.dtype.itemsize
    cdef int64_t n_nodes = offsets[n_trees], n_blocks = (n + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE, block, count, t
    cdef int level = isa_level(), with_values = total is not None
    cdef int32_t[:, ::1] leaves_view = leaves
    cdef double[:, ::1] total_view = total
    cdef forest_t f
    if n == 0 or n_trees == 0:
        return
    f.n_trees, f.offsets, f.n_values, f.values = n_trees, &offsets[0], 0, NULL
    if with_values:
        f.n_values, f.values = values.shape[1], &values[0, 0]
    f.steps = <step_t *>malloc(n_nodes * sizeof(step_t))
    f.numbers = <int32_t *>malloc(n_nodes * sizeof(int32_t))
    try:
        if f.steps == NULL or f.numbers == NULL:
            raise MemoryError(f"no memory to lay out {n_nodes} nodes")
        for t in prange(n_trees, nogil=True, schedule="static", num_threads=n_threads):
            lay_out(<const node_t *>&raw[offsets[t] * size], offsets[t + 1] - offsets[t], f.steps + offsets[t],
                    f.numbers + offsets[t])
        for block in prange(n_blocks, nogil=True, schedule="guided", num_threads=n_threads):
            count = min(ROWS_AT_ONCE, n - block * ROWS_AT_ONCE)
            if with_values:
                values_of_rows(level, &f, &X[block * ROWS_AT_ONCE, 0], d, count, &total_view[block * ROWS_AT_ONCE, 0])
            else:
                leaves_of_rows(level, &f, &X[block * ROWS_AT_ONCE, 0], d, count, &leaves_view[block * ROWS_AT_ONCE, 0])
    finally:
        free(f.steps)
        free(f.numbers)
