"""Growth of binned decision trees in C, one tree a thread; see hpcml/kernels/contract.py for the arguments."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import numpy as np

from hpcml.kernels.nodes import NODE_DTYPE
from hpcml.machine import isa_level

from signals cimport check, signals_here, signals_t

cdef extern from "growth.h" nogil:
    enum: RECORD_FEATURES
    ctypedef struct node_t:
        pass
    ctypedef struct problem_t:
        const uint8_t *binned
        const uint8_t *columns
        int64_t n, d
        const float *lower
        const float *upper
        const int32_t *n_bins
        const double *y
        const double *weights
        int64_t n_weights
        const double *cumulative_weights
        int64_t n_draws
        int entropy
        int64_t n_classes, max_features, max_depth, min_samples_split, min_samples_leaf, max_leaf_nodes
        double min_weight_leaf, min_impurity_decrease
        int64_t target_bits
    ctypedef struct grown_t:
        node_t *nodes
        double *values
        int64_t n_nodes
    int grow_trees(int level, const problem_t *p, const uint64_t *seeds, int64_t n_trees, grown_t *grown, int n_threads,
                   signals_t *signals)


def grow(
    const uint8_t[:, ::1] binned, const float[:, ::1] lower, const float[:, ::1] upper, const int32_t[::1] n_bins,
    const double[::1] y, weights, cumulative_weights, const uint64_t[::1] seeds, int64_t n_draws,
    *, criterion, int64_t n_classes, int64_t max_features, int64_t max_depth, int64_t min_samples_split,
    int64_t min_samples_leaf, double min_weight_leaf, int64_t max_leaf_nodes, double min_impurity_decrease,
    int64_t target_bits, int n_threads=1,
):
    cdef problem_t p
    cdef const double[:, ::1] weights_view
    cdef const double[::1] cumulative_view
    cdef const uint8_t[:, ::1] columns_view
    cdef signals_t signals
    cdef int level = isa_level(), failed = 0
    cdef int64_t n_trees = seeds.shape[0], n_values = n_classes if n_classes else 1, i, at
    p.binned = &binned[0, 0]
    p.columns = NULL
    p.n, p.d = binned.shape[0], binned.shape[1]
    if p.n > 0xFFFFFFFF:
        raise ValueError(f"grow takes at most 4,294,967,295 rows. Got {p.n} instead.")
    p.lower, p.upper, p.n_bins, p.y = &lower[0, 0], &upper[0, 0], &n_bins[0], &y[0]
    p.weights = NULL
    p.n_weights = 1
    p.cumulative_weights = NULL
    if weights is not None:
        weights_view = weights
        p.weights, p.n_weights = &weights_view[0, 0], weights_view.shape[0]
    if cumulative_weights is not None:
        cumulative_view = cumulative_weights
        p.cumulative_weights = &cumulative_view[0]
    if p.d > RECORD_FEATURES:
        columns_view = np.ascontiguousarray(np.asarray(binned).T)
        p.columns = &columns_view[0, 0]
    p.n_draws, p.entropy, p.n_classes = n_draws, criterion in ("entropy", "log_loss"), n_classes
    p.max_features, p.max_depth, p.max_leaf_nodes = min(max_features, p.d), max_depth, max_leaf_nodes
    p.min_samples_split, p.min_samples_leaf = min_samples_split, min_samples_leaf
    p.min_weight_leaf, p.min_impurity_decrease, p.target_bits = min_weight_leaf, min_impurity_decrease, target_bits

    cdef grown_t *grown = <grown_t *>calloc(max(1, n_trees), sizeof(grown_t))
    try:
        if grown == NULL:
            raise MemoryError(f"no memory for {n_trees} trees")
        if n_trees:
            signals = signals_here()
            with nogil:
                failed = grow_trees(level, &p, &seeds[0], n_trees, grown, n_threads, &signals)
            check(failed, &signals, "the trees that grow")
        offsets = np.zeros(n_trees + 1, dtype=np.int64)
        for i in range(n_trees):
            offsets[i + 1] = offsets[i] + grown[i].n_nodes
        nodes = np.empty(offsets[n_trees], dtype=NODE_DTYPE)
        values = np.empty((offsets[n_trees], n_values))
        _copy_out(nodes.view(np.uint8), values, grown, n_trees, n_values, NODE_DTYPE.itemsize)
        return nodes, values, offsets
    finally:
        for i in range(n_trees if grown != NULL else 0):
            free(grown[i].nodes)
            free(grown[i].values)
        free(grown)


cdef void _copy_out(
    uint8_t[::1] nodes, double[:, ::1] values, grown_t *grown, int64_t n_trees, int64_t n_values, int64_t size
) noexcept:
    cdef int64_t i, at = 0
    for i in range(n_trees):
        memcpy(&nodes[at * size], grown[i].nodes, grown[i].n_nodes * size)
        memcpy(&values[at, 0], grown[i].values, grown[i].n_nodes * n_values * sizeof(double))
        at += grown[i].n_nodes
