"""Moments of features, rows on the scale that they give, sums over each shard, in C."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at, entries_of, rows_at, rows_t
from shards cimport over_rows, reduce_shards, shard_function, threads_worth

cdef extern from "moments.h" nogil:
    enum: SHARDS_AT_ONCE
    ctypedef struct moments_call:
        int is_double
        const void *x
        const int32_t *indices
        const int64_t *indptr
        int64_t d
        const double *weights
        const double *centers
        const int64_t *bounds
        const void *rounded_centers
        const void *rounded_scales
        int back
        void *out
    size_t moments_scratch(const moments_call *call)
    shard_function moments_shard(int level, const moments_call *call)
    int64_t moments_rows_at_once(const moments_call *call)
    shard_function moments_of_shards(int level, const moments_call *call)
    shard_function moments_rescale(int level, const moments_call *call)


def moments(bounds, first_shard, n_shards, X, weights, centers, n_threads=1):
    cdef moments_call call
    call.is_double, call.d = X.dtype == np.float64, X.shape[1]
    cdef rows_t rows = rows_at(X)
    call.x, call.indices, call.indptr = rows.x, rows.indices, rows.indptr
    call.weights, call.centers = <const double *>at(weights), <const double *>at(centers)
    return reduce_shards(bounds, first_shard, n_shards, 3 * call.d, moments_scratch(&call),
                         moments_shard(isa_level(), &call), &call, threads_worth(n_threads, entries_of(X)))


def shard_sums(values, bounds, n_threads=1):
    cdef moments_call call
    cdef int64_t s = bounds.shape[0] - 1
    sums = np.empty(s)
    call.is_double = values.dtype == np.float64
    call.x, call.bounds, call.out = at(values), <const int64_t *>at(bounds), at(sums)
    over_rows(s, SHARDS_AT_ONCE, 0, 0, moments_of_shards(isa_level(), &call), &call,
              threads_worth(n_threads, values.shape[0]))
    return sums


def rescale(X, centers, scales, way, n_threads=1):
    cdef moments_call call
    out, c, s = np.empty_like(X), centers.astype(X.dtype), scales.astype(X.dtype)
    call.is_double, call.d, call.back = X.dtype == np.float64, X.shape[1], way == "back"
    call.x, call.out, call.rounded_centers, call.rounded_scales = at(X), at(out), at(c), at(s)
    over_rows(X.shape[0], moments_rows_at_once(&call), 0, 0, moments_rescale(isa_level(), &call), &call, n_threads)
    return out
