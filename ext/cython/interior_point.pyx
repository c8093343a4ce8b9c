"""Passes of the interior-point method in C, over shards."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at, rows_at, rows_t
from shards cimport reduce_shards, shard_function, threads_worth

# Multiplications that the conditions of a hinge take, about; divisions count as several.
cdef double WORK_OF_A_HINGE = 64.0

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
        int64_t n_models, n_hinges
        const double *vectors
        int64_t n_vectors
        const double *positive
        const double *price
        const double *other_price
        const double *barrier
        const double *step
        double epsilon
    size_t interior_scratch_bytes(const interior_call *call)
    int64_t interior_statistic(const interior_call *call)
    shard_function interior_shard(int level)
    void interior_start_of(const interior_call *call, int64_t n, double least)


cdef interior_call _hinges(y, weights, loss, positive, double epsilon, price, other_price):
    cdef interior_call call
    call.y, call.weights = <const double *>at(y), <const double *>at(weights)
    call.n_models, call.n_hinges = len(price), 1 if loss == "hinge" else 2
    call.positive, call.price = <const double *>at(positive), <const double *>at(price)
    call.other_price, call.epsilon = <const double *>at(other_price), epsilon
    return call


cdef _pass(int which, int64_t[::1] bounds, int64_t first_shard, int64_t n_shards, X, y, weights, alpha, lower, upper,
           vectors, loss, positive, double epsilon, price, other_price, barrier, step, int n_threads):
    cdef interior_call call = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    cdef rows_t rows = rows_at(X)
    call.pass_, call.d, call.is_double = which, X.shape[1], X.dtype == np.float64
    call.values, call.indices, call.indptr = rows.x, rows.indices, rows.indptr
    call.alpha, call.lower, call.upper = <double *>at(alpha), <double *>at(lower), <double *>at(upper)
    call.vectors, call.n_vectors = <const double *>at(vectors), vectors.shape[0]
    call.barrier, call.step = <const double *>at(barrier), <const double *>at(step)
    cdef double e = call.d + 1, work = call.n_hinges * WORK_OF_A_HINGE + call.n_vectors * e
    if which == GRAM:
        work += e * e / 2
    return reduce_shards(bounds, first_shard, n_shards, interior_statistic(&call), interior_scratch_bytes(&call),
                         interior_shard(isa_level()), &call,
                         threads_worth(n_threads, work * call.n_models * <double>X.shape[0]))


def interior_start(y, weights, loss, positive, double epsilon, price, other_price, double least, int n_threads=1):
    cdef interior_call call = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    shape = (len(y), call.n_models * call.n_hinges)
    alpha, lower, upper = np.empty(shape), np.empty(shape), np.empty(shape)
    call.alpha, call.lower, call.upper = <double *>at(alpha), <double *>at(lower), <double *>at(upper)
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
                 epsilon, price, other_price, None, None, n_threads)


def interior_step(bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
                  price, other_price, barrier, n_threads):
    return _pass(STEP, bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive,
                 epsilon, price, other_price, barrier, None, n_threads)
