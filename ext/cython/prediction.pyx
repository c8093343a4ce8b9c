"""Leaves and sums of values of rows in C, a block of rows a thread; trees are added in their order."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at
from shards cimport over_rows, shard_function

cdef extern from "prediction.h" nogil:
    ctypedef struct node_t:
        pass
    ctypedef struct step_t:
        pass
    ctypedef struct forest_t:
        int64_t n_trees, n_values
        const node_t *nodes
        const int64_t *offsets
        step_t *steps
        int32_t *numbers
        const double *values
        const float *x
        int64_t d
        int32_t *leaves
        double *sums
    void lay_out_trees(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch)
    int64_t rows_of_a_share(const forest_t *f)
    shard_function rows_through_trees(int level)


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
    cdef int64_t n = X.shape[0], n_trees = offsets.shape[0] - 1, n_nodes = offsets[n_trees]
    cdef forest_t f
    if n == 0 or n_trees == 0:
        return
    f.n_trees, f.nodes, f.offsets, f.n_values, f.values = n_trees, <const node_t *>at(nodes), &offsets[0], 0, NULL
    f.x, f.d, f.leaves, f.sums = &X[0, 0], X.shape[1], <int32_t *>at(leaves), <double *>at(total)
    if f.sums != NULL:
        f.n_values, f.values = values.shape[1], &values[0, 0]
    f.steps = <step_t *>malloc(n_nodes * sizeof(step_t))
    f.numbers = <int32_t *>malloc(n_nodes * sizeof(int32_t))
    try:
        if f.steps == NULL or f.numbers == NULL:
            raise MemoryError(f"no memory to lay out {n_nodes} nodes")
        over_rows(n_trees, 1, 0, 0, lay_out_trees, &f, n_threads)
        over_rows(n, rows_of_a_share(&f), 0, 0, rows_through_trees(isa_level()), &f, n_threads)
    finally:
        free(f.steps)
        free(f.numbers)
