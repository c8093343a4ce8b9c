"""K-means in C: shards of rows against centers."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at, entries_of, rows_at, rows_t
from shards cimport over_rows, reduce_shards, shard_function, threads_worth

cdef extern from "kmeans.h" nogil:
    enum:
        ROWS_AT_ONCE
        UNWANTED_NUMBERS
    ctypedef struct kmeans_call:
        int is_double
        const void *x
        const int32_t *indices
        const int64_t *indptr
        int64_t d, k
        const double *weights
        const void *origin
        const void *centers
        void *packed
        void *start
        double *sizes
        int32_t *labels
        int with_sums, with_inertia, with_members
        int64_t *overflown
        void *upper
        void *lower
        const double *moved
        const double *others_moved
        const double *apart
        int first
        double norm
        void *shares
        int keep_shares
        double *distances
        void *all_distances
    ctypedef struct kmeans_sets:
        int64_t m, n_centers
        const kmeans_call *calls
        int32_t *labels
        int64_t columns_of_labels
        const int64_t *columns
    int64_t kmeans_statistic(const kmeans_call *call)
    size_t kmeans_packed_bytes(int level, const kmeans_call *call)
    size_t kmeans_scratch_bytes(int level, const kmeans_call *call)
    void kmeans_pack(int level, kmeans_call *call)
    void kmeans_sizes(int level, kmeans_call *call)
    shard_function kmeans_step_shard(int level, const kmeans_call *call)
    shard_function kmeans_seeds_shard(int level, const kmeans_call *call)
    shard_function kmeans_distances_shard(int level, const kmeans_call *call)
    size_t kmeans_sets_bytes(int level, const kmeans_sets *sets)
    shard_function kmeans_sets_shard(int level, const kmeans_sets *sets)
    void *aligned_memory(size_t size)


cdef class _Call:
    """The arguments of a call; keeps the memory that only it has."""

    cdef kmeans_call c
    cdef int level
    cdef double entries
    cdef object zeros, sizes

    def __cinit__(self, X, centers, origin=None):
        self.level, self.entries = isa_level(), entries_of(X)
        self.c.is_double = centers.dtype == np.float64
        self.c.k, self.c.d = centers.shape[0], centers.shape[1]
        self.c.centers = at(centers)
        cdef rows_t rows = rows_at(X)
        self.c.x, self.c.indices, self.c.indptr = rows.x, rows.indices, rows.indptr
        if rows.indptr == NULL:
            self.zeros = np.zeros(self.c.d, dtype=centers.dtype) if origin is None else origin
            self.c.origin = at(self.zeros)
        else:
            self.sizes = np.empty(self.c.k)
            self.c.sizes = <double *>at(self.sizes)
            kmeans_sizes(self.level, &self.c)

    cdef pack(self):
        cdef size_t size = kmeans_packed_bytes(self.level, &self.c), k = <size_t>self.c.k + 64
        self.c.packed, self.c.start = aligned_memory(size), aligned_memory(k * sizeof(double))
        if self.c.packed == NULL or self.c.start == NULL:
            raise MemoryError(f"no memory for {self.c.k} centers of {self.c.d} features")
        with nogil:
            kmeans_pack(self.level, &self.c)
        return None

    def __dealloc__(self):
        free(self.c.packed)
        free(self.c.start)


def nearest_center(X, centers, origin, int n_threads=1):
    cdef _Call call = _Call(X, centers, origin)
    labels, overflown = np.zeros(X.shape[0], dtype=np.int32), np.zeros(1, dtype=np.int64)
    call.c.labels, call.c.overflown = <int32_t *>at(labels), <int64_t *>at(overflown)
    call.pack()
    _over_rows(call, kmeans_step_shard(call.level, &call.c), X.shape[0], n_threads)
    return labels, overflown


def center_distances(X, centers, int n_threads=1):
    cdef _Call call = _Call(X, centers)
    distances = np.empty((X.shape[0], centers.shape[0]), dtype=centers.dtype)
    call.c.all_distances = at(distances)
    call.pack()
    _no_start(call)
    _over_rows(call, kmeans_distances_shard(call.level, &call.c), X.shape[0], n_threads)
    return distances


def label_distances(X, labels, centers, origin, int n_threads=1):
    cdef _Call call = _Call(X, centers, origin)
    distances = np.empty(X.shape[0])
    call.c.labels, call.c.distances = <int32_t *>at(labels), <double *>at(distances)
    _over_rows(call, kmeans_distances_shard(call.level, &call.c), X.shape[0], n_threads)
    return distances


cdef _no_start(_Call call):
    """Let sums of squared differences start at 0."""
    cdef int64_t j
    for j in range(call.c.k):
        if call.c.is_double:
            (<double *>call.c.start)[j] = 0
        else:
            (<float *>call.c.start)[j] = 0


cdef _over_rows(_Call call, shard_function function, int64_t n, int n_threads):
    over_rows(n, ROWS_AT_ONCE, UNWANTED_NUMBERS, kmeans_scratch_bytes(call.level, &call.c), function, &call.c,
              threads_worth(n_threads, call.entries * call.c.k))


cdef _reduce(_Call call, shard_function function, int64_t m, bounds, first_shard, n_shards, n_threads):
    return reduce_shards(bounds, first_shard, n_shards, m, kmeans_scratch_bytes(call.level, &call.c), function, &call.c,
                         threads_worth(n_threads, call.entries * call.c.k))


cdef _Call _step(X, weights, labels, centers, origin, with_sums, with_inertia):
    cdef _Call call = _Call(X, centers, origin)
    call.c.weights, call.c.labels = <const double *>at(weights), <int32_t *>at(labels)
    call.c.with_sums, call.c.with_inertia = with_sums, with_inertia
    call.pack()
    return call


def assign_rows(bounds, first_shard, n_shards, X, weights, labels, centers, origin, n_threads):
    cdef _Call call = _step(X, weights, labels, centers, origin, False, True)
    call.c.with_members = True
    return _reduce(call, kmeans_step_shard(call.level, &call.c), kmeans_statistic(&call.c), bounds, first_shard,
                   n_shards, n_threads)


def lloyd_step(bounds, first_shard, n_shards, X, weights, labels, centers, origin, with_inertia, n_threads):
    cdef _Call call = _step(X, weights, labels, centers, origin, True, with_inertia)
    return _reduce(call, kmeans_step_shard(call.level, &call.c), kmeans_statistic(&call.c), bounds, first_shard,
                   n_shards, n_threads)


def lloyd_steps(bounds, first_shard, n_shards, X, weights, labels, columns, first, centers, origin, n_threads):
    cdef kmeans_sets sets
    cdef int64_t m = len(first) - 1, s
    cdef _Call call
    calls, starts = [], first.tolist()
    cdef kmeans_call *own = <kmeans_call *>malloc(<size_t>(m + 1) * sizeof(kmeans_call))
    if own == NULL:
        raise MemoryError(f"no memory for {m} sets of centers")
    try:
        for s in range(m):
            call = _Call(X, centers[starts[s]:starts[s + 1]], origin)
            call.c.weights, call.c.with_sums = <const double *>at(weights), True
            call.pack()
            calls.append(call)
            own[s] = call.c
        sets.m, sets.n_centers, sets.calls = m, centers.shape[0], own
        sets.labels, sets.columns_of_labels = <int32_t *>at(labels), labels.shape[1]
        sets.columns = <const int64_t *>at(columns)
        return reduce_shards(bounds, first_shard, n_shards, centers.shape[0] * (centers.shape[1] + 1) + m,
                             kmeans_sets_bytes(call.level, &sets), kmeans_sets_shard(call.level, &sets), &sets,
                             threads_worth(n_threads, call.entries * sets.n_centers))
    finally:
        free(own)


def bounded_step(bounds, first_shard, n_shards, X, weights, labels, upper, lower, centers, origin, moved, others_moved,
                 apart, first, with_inertia, n_threads):
    cdef _Call call = _step(X, weights, labels, centers, origin, True, with_inertia)
    call.c.upper, call.c.lower, call.c.first = at(upper), at(lower), first
    call.c.moved, call.c.others_moved = <const double *>at(moved), <const double *>at(others_moved)
    call.c.apart = <const double *>at(apart)
    call.c.norm = np.linalg.norm(centers.astype(np.float64), axis=1).max()
    return _reduce(call, kmeans_step_shard(call.level, &call.c), kmeans_statistic(&call.c), bounds, first_shard,
                   n_shards, n_threads)


cdef _seeds(bounds, first_shard, n_shards, X, weights, shares, seeds, keep_shares, n_threads):
    cdef _Call call = _Call(X, seeds)
    call.c.weights, call.c.shares, call.c.keep_shares = <const double *>at(weights), at(shares), keep_shares
    call.pack()
    _no_start(call)
    return _reduce(call, kmeans_seeds_shard(call.level, &call.c), call.c.k, bounds, first_shard, n_shards, n_threads)


def try_seeds(bounds, first_shard, n_shards, X, weights, shares, seeds, n_threads):
    return _seeds(bounds, first_shard, n_shards, X, weights, shares, seeds, False, n_threads)


def add_seed(bounds, first_shard, n_shards, X, weights, shares, seed, n_threads):
    return _seeds(bounds, first_shard, n_shards, X, weights, shares, seed, True, n_threads)
