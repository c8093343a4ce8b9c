"""Passes of the interior-point method in C, over shards."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

from hpcml.machine import isa_level

from shards cimport reduce_shards, shard_function

cdef extern from "interior_point.h" nogil:
    enum:
        GRAM
        CORRECT
        STEP
    ctypedef struct interior_call:
        int pass_ "pass"
        int is_double
        const void *values
        const int32_t *indices
        const int64_t *indptr
        int64_t d
        const double *y
        const double *weights
        double *alpha
        double *lower
        double *upper
        int64_t n_hinges
        const double *vectors
        int64_t n_vectors
        double positive, epsilon, price, other_price, barrier, step
    size_t interior_scratch_bytes(int64_t d, int sparse)
    int64_t interior_statistic(int which, int64_t d)
    shard_function interior_shard(int level)
    void interior_start_of(const interior_call *call, int64_t n, double least)


cdef inline const double *_at(const double[::1] array):
    return &array[0] if array is not None and array.shape[0] else NULL


cdef inline double *_rows_at(array):
    """Return where the numbers of a writable or read-only array begin; who passes it knows which it is."""
    cdef const double[:, ::1] view = array
    return <double *>&view[0, 0] if view.shape[0] and view.shape[1] else NULL


cdef interior_call _hinges(y, weights, loss, double positive, double epsilon, double price, double other_price):
    cdef interior_call call
    call.y, call.weights = _at(y), _at(weights)
    call.n_hinges = 1 if loss == "hinge" else 2
    call.positive, call.epsilon, call.price, call.other_price = positive, epsilon, price, other_price
    return call


cdef _pass(int which, int64_t[::1] bounds, int64_t first_shard, int64_t n_shards, X, y, weights, alpha, lower, upper,
           vectors, loss, double positive, double epsilon, double price, double other_price, double barrier,
           double step, int n_threads):
    cdef interior_call call = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    cdef int sparse = not isinstance(X, np.ndarray)
    cdef const float[::1] singles
    cdef const double[::1] doubles
    cdef const int32_t[::1] indices
    cdef const int64_t[::1] indptr
    cdef int32_t none = 0
    values = X.data if sparse else X.reshape(-1)
    call.pass_, call.d, call.is_double = which, X.shape[1], values.dtype == np.float64
    if call.is_double:
        doubles = values
        call.values = &doubles[0] if doubles.shape[0] else NULL
    else:
        singles = values
        call.values = &singles[0] if singles.shape[0] else NULL
    call.indices, call.indptr = NULL, NULL
    if sparse:
        indices, indptr = X.indices, X.indptr
        call.indices = &indices[0] if indices.shape[0] else &none
        call.indptr = &indptr[0]
    call.alpha, call.lower, call.upper = _rows_at(alpha), _rows_at(lower), _rows_at(upper)
    call.vectors, call.n_vectors = _rows_at(vectors), vectors.shape[0]
    call.barrier, call.step = barrier, step
    return reduce_shards(bounds, first_shard, n_shards, interior_statistic(which, call.d),
                         interior_scratch_bytes(call.d, sparse), interior_shard(isa_level()), &call, n_threads)


def interior_start(y, weights, loss, double positive, double epsilon, double price, double other_price, double least,
                   int n_threads=1):
    cdef interior_call call = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    shape = (len(y), call.n_hinges)
    alpha, lower, upper = np.empty(shape), np.empty(shape), np.empty(shape)
    call.alpha, call.lower, call.upper = _rows_at(alpha), _rows_at(lower), _rows_at(upper)
    cdef int64_t n = len(y)
    with nogil:
        interior_start_of(&call, n, least)
    return alpha, lower, upper


def interior_gram(bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
                  price, other_price, barrier, step, n_threads):
    return _pass(GRAM, bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive,
                 epsilon, price, other_price, barrier, step, n_threads)


def interior_correct(bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive,
                     epsilon, price, other_price, n_threads):
    return _pass(CORRECT, bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive,
                 epsilon, price, other_price, 0.0, 0.0, n_threads)


def interior_step(bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
                  price, other_price, barrier, n_threads):
    return _pass(STEP, bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive,
                 epsilon, price, other_price, barrier, 0.0, n_threads)
