"""Mixtures of normal densities in C: shards, or blocks of rows, side by side on threads."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at
from shards cimport over_rows, reduce_shards, shard_function, threads_worth

cdef extern from "mixture.h" nogil:
    ctypedef struct mixture_t:
        int64_t d, k
        int diagonal
        const void *x
        const void *center
        const void *means
        const void *factors
        const void *log_weights
        const void *shifts
        const void *responsibilities
        const int32_t *labels
        void *packed
        void *log_densities
        void *responsibilities_out
        int32_t *labels_out
    ctypedef struct mixtures_t:
        int64_t n, k
        const mixture_t *each
    size_t mixtures_scratch(int level, int is_double, const mixtures_t *all)
    shard_function mixtures_shard(int level, int is_double)
    int64_t mixture_packed(int level, int is_double, int64_t d)
    void mixture_pack(int level, int is_double, const mixture_t *m)
    size_t mixture_scratch(int level, int is_double, const mixture_t *m)
    shard_function mixture_shard(int level, int is_double)
    int64_t mixture_rows_at_once(int level, int is_double)
    shard_function mixture_rows(int level, int is_double)


def gaussian_step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads=1):
    return _step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads)


def gaussian_step_diagonal(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads=1):
    return _step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads)


def gaussian_steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads=1):
    return _steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads)


def gaussian_steps_diagonal(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads=1):
    return _steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads)


def gaussian_moments(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads=1):
    return _moments(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads, 0)


def gaussian_moments_diagonal(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads=1):
    return _moments(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads, 1)


def gaussian_rows(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    return _rows(X, center, means, factors, log_weights, with_responsibilities, n_threads)


def gaussian_rows_diagonal(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    return _rows(X, center, means, factors, log_weights, with_responsibilities, n_threads)


cdef class _Call:
    """The arguments of a call as C reads them."""

    cdef mixture_t m
    cdef int level, is_double
    cdef int64_t n
    cdef object packed

    def __cinit__(self, X, center, int diagonal):
        self.level, self.is_double, self.n = isa_level(), X.dtype == np.float64, X.shape[0]
        self.m.d, self.m.diagonal = X.shape[1], diagonal
        self.m.x, self.m.center = at(X), at(center)

    cdef model(self, means, factors, log_weights):
        self.m.k = means.shape[0]
        self.m.means, self.m.factors, self.m.log_weights = at(means), at(factors), at(log_weights)
        if not self.m.diagonal:
            self.packed = np.empty(self.m.k * mixture_packed(self.level, self.is_double, self.m.d), dtype=means.dtype)
            self.m.packed = at(self.packed)
            with nogil:
                mixture_pack(self.level, self.is_double, &self.m)

    cdef reduce(self, bounds, first_shard, n_shards, n_threads):
        cdef int64_t d = self.m.d, k = self.m.k
        cdef int64_t size = k * (1 + d + (d if self.m.diagonal else d * d)) + (self.m.means != NULL)
        return reduce_shards(bounds, first_shard, n_shards, size,
                             mixture_scratch(self.level, self.is_double, &self.m),
                             mixture_shard(self.level, self.is_double), &self.m,
                             threads_worth(n_threads, <double>self.n * size))


cdef _step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads):
    call = _Call(X, center, factors.ndim == 2)
    call.model(means, factors, log_weights)
    call.m.shifts = at(shifts)
    return call.reduce(bounds, first_shard, n_shards, n_threads)


cdef _steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads):
    cdef mixtures_t all
    cdef int64_t n = len(first) - 1, i, d = X.shape[1], size
    cdef _Call call
    cdef mixture_t *each = <mixture_t *>malloc(<size_t>(n + 1) * sizeof(mixture_t))
    if each == NULL:
        raise MemoryError(f"no memory for {n} mixtures")
    try:
        calls, starts = [], first.tolist()
        for i in range(n):
            call = _Call(X, center, factors.ndim == 2)
            own = slice(starts[i], starts[i + 1])
            call.model(means[own], factors[own], log_weights[own])
            call.m.shifts = call.m.means
            calls.append(call)
            each[i] = call.m
        all.n, all.k, all.each = n, means.shape[0], each
        size = n + all.k * (1 + d + (d if call.m.diagonal else d * d))
        return reduce_shards(bounds, first_shard, n_shards, size, mixtures_scratch(call.level, call.is_double, &all),
                             mixtures_shard(call.level, call.is_double), &all,
                             threads_worth(n_threads, <double>call.n * size))
    finally:
        free(each)


cdef _moments(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads, diagonal):
    call = _Call(X, center, diagonal)
    call.m.k = shifts.shape[0]
    call.m.shifts = at(shifts)
    call.m.responsibilities = at(responsibilities)
    call.m.labels = <const int32_t *>at(labels)
    return call.reduce(bounds, first_shard, n_shards, n_threads)


cdef _rows(X, center, means, factors, log_weights, int with_responsibilities, int n_threads):
    cdef int64_t n = X.shape[0], k = means.shape[0]
    call = _Call(X, center, factors.ndim == 2)
    call.model(means, factors, log_weights)
    log_densities, labels = np.empty(n, dtype=X.dtype), np.empty(n, dtype=np.int32)
    responsibilities = np.empty((n, k if with_responsibilities else 0), dtype=X.dtype)
    call.m.log_densities = at(log_densities)
    call.m.labels_out = <int32_t *>at(labels)
    call.m.responsibilities_out = at(responsibilities if with_responsibilities else None)
    cdef mixture_t *m = &call.m
    cdef int level = call.level, is_double = call.is_double
    over_rows(n, mixture_rows_at_once(level, is_double), 0, mixture_scratch(level, is_double, m),
              mixture_rows(level, is_double), m,
              threads_worth(n_threads, <double>n * k * m.d * (1 if m.diagonal else m.d)))
    return log_densities, labels, responsibilities
