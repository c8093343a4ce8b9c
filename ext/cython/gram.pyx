"""Products of features with each other, with targets and with coefficients, in C."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at, rows_at, rows_t
from shards cimport over_rows, reduce_shards, shard_function

cdef extern from "gram.h" nogil:
    enum: BLOCK_ROWS
    ctypedef struct gram_call:
        int is_double
        const void *x
        const int32_t *indices
        const int64_t *indptr
        int64_t d, t, k
        int64_t first, width
        const int64_t *held
        int64_t mask, value
        int single
        const double *weights
        const double *centers
        const double *y_centers
        const void *y
        const double *W
        const double *offsets
        const void *rounded
        double *at_zero
        void *panels
        void *features
        void *out
    void gram_prepare(int level, gram_call *call)
    int64_t gram_panel_numbers(const gram_call *call)
    int64_t gram_feature_numbers(const gram_call *call)
    size_t gram_scratch(int level, const gram_call *call)
    shard_function gram_shard(int level, const gram_call *call)
    shard_function masked_gram_shard(int level, const gram_call *call)
    shard_function gram_panel_shard(int level, const gram_call *call)
    shard_function projected_gram_shard(int level, const gram_call *call)
    shard_function residual_products_shard(int level, const gram_call *call)
    shard_function gram_project(int level, const gram_call *call)


cdef class _Call:
    """The arguments of a call; keeps the memory that only it has."""

    cdef gram_call c
    cdef int level
    cdef tuple kept

    def __cinit__(self, X, centers, weights=None, y=None, y_centers=None, W=None, offsets=None):
        self.level = isa_level()
        self.c.is_double, self.c.d = X.dtype == np.float64, X.shape[1]
        cdef rows_t rows = rows_at(X)
        self.c.x, self.c.indices, self.c.indptr = rows.x, rows.indices, rows.indptr
        self.c.centers, self.c.weights = <const double *>at(centers), <const double *>at(weights)
        self.c.y, self.c.y_centers = at(y), <const double *>at(y_centers)
        self.c.W, self.c.offsets = <const double *>at(W), <const double *>at(offsets)
        if W is not None:
            self.c.k = W.shape[1]
        elif y is not None:
            self.c.t = y.shape[1]
        rounded = None if W is None else W.astype(X.dtype)
        panels = np.empty(gram_panel_numbers(&self.c), dtype=X.dtype)
        features = np.empty(gram_feature_numbers(&self.c), dtype=X.dtype)
        at_zero = np.empty(self.c.k)
        self.kept = (rounded, panels, features, at_zero)
        self.c.rounded, self.c.at_zero = at(rounded), <double *>at(at_zero)
        self.c.panels, self.c.features = at(panels), at(features)
        with nogil:
            gram_prepare(self.level, &self.c)

    cdef reduce(self, bounds, first_shard, n_shards, int64_t size, shard_function function, n_threads):
        return reduce_shards(bounds, first_shard, n_shards, size, gram_scratch(self.level, &self.c), function, &self.c,
                             n_threads)


def gram(bounds, first_shard, n_shards, X, weights, centers, y, y_centers, n_threads=1):
    cdef _Call call = _Call(X, centers, weights, y, y_centers)
    cdef int64_t d = call.c.d, t = call.c.t
    cdef shard_function function = gram_shard(call.level, &call.c)
    return call.reduce(bounds, first_shard, n_shards, 1 + d + d * d + 2 * t + d * t, function, n_threads)


def masked_gram(bounds, first_shard, n_shards, X, weights, held, mask, value, centers, y, y_centers, n_threads=1):
    cdef _Call call = _Call(X, centers, weights, y, y_centers)
    cdef int64_t d = call.c.d, t = call.c.t
    call.c.held, call.c.mask, call.c.value = <const int64_t *>at(held), mask, value
    if call.c.indptr == NULL:  # products in double, whatever the type of X
        call.c.single, call.c.is_double = not call.c.is_double, 1
    cdef shard_function function = masked_gram_shard(call.level, &call.c)
    return call.reduce(bounds, first_shard, n_shards, 1 + d + d * d + 2 * t + d * t, function, n_threads)


def gram_panel(bounds, first_shard, n_shards, X, weights, centers, first, width, n_threads=1):
    cdef _Call call = _Call(X, centers, weights)
    call.c.first, call.c.width = first, width
    cdef shard_function function = gram_panel_shard(call.level, &call.c)
    return call.reduce(bounds, first_shard, n_shards, call.c.d * call.c.width, function, n_threads)


def projected_gram(bounds, first_shard, n_shards, X, weights, centers, W, n_threads=1):
    cdef _Call call = _Call(X, centers, weights, W=W)
    cdef shard_function function = projected_gram_shard(call.level, &call.c)
    return call.reduce(bounds, first_shard, n_shards, call.c.k * call.c.k, function, n_threads)


def residual_products(bounds, first_shard, n_shards, X, weights, centers, y, W, offsets, n_threads=1):
    cdef _Call call = _Call(X, centers, weights, y, W=W, offsets=offsets)
    cdef shard_function function = residual_products_shard(call.level, &call.c)
    return call.reduce(bounds, first_shard, n_shards, (call.c.d + 2) * call.c.k, function, n_threads)


def project(X, centers, W, offsets, n_threads=1):
    cdef _Call call = _Call(X, centers, W=W, offsets=offsets)
    out = np.empty((X.shape[0], call.c.k), dtype=X.dtype)
    call.c.out = at(out)
    over_rows(X.shape[0], BLOCK_ROWS, 0, gram_scratch(call.level, &call.c), gram_project(call.level, &call.c), &call.c,
              n_threads)
    return out
