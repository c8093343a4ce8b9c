"""Losses of linear models in C: shards, or blocks of rows, side by side on threads."""

from libc.stdint cimport int32_t, int64_t

import numpy as np

from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import pieces_of
from hpcml.machine import isa_level

from arrays cimport at, rows_at, rows_t
from shards cimport over_rows, reduce_shards, shard_function
from signals cimport check, signals_here, signals_t

cdef extern from "linear_loss.h" nogil:
    enum:
        LINEAR_GRADIENT
        LINEAR_HESSIAN
        LINEAR_PAIRS
        LINEAR_DIAGONAL
        LINEAR_MARGINS
        LINEAR_FOLDS
        LOSS_LOGISTIC
        LOSS_MULTINOMIAL
        LOSS_SQUARED_HINGE
        LOSS_SQUARED_EPSILON_INSENSITIVE
    ctypedef struct linear_t:
        int what, loss
        int64_t n, d, K, P
        const void *x
        const int32_t *indices
        const int64_t *indptr
        const double *y
        const double *weights
        const int64_t *held
        const double *origin
        const double *W
        const double *positive
        const int64_t *folds
        const double *factors
        int64_t n_folds, n_classes
        const int64_t *each
        int64_t F
        double epsilon
        void *packed
        void *margins
    ctypedef struct linear_columns_t:
        const linear_t *c
        const void *values
        const int32_t *rows
        const int64_t *starts
        const int64_t *bounds
        const int64_t *pieces
        int64_t n_pieces, m
        double *statistics
        signals_t *signals
    int linear_by_columns(int level, int is_double, linear_columns_t *t, int n_threads)
    int64_t linear_statistic(const linear_t *c)
    size_t linear_packed(int level, int is_double, const linear_t *c)
    void linear_pack(int level, int is_double, const linear_t *c)
    size_t linear_scratch(int level, int is_double, const linear_t *c)
    shard_function linear_shard(int level, int is_double)
    int64_t linear_rows_at_once(int level, int is_double, const linear_t *c)
    shard_function linear_margins_of(int level, int is_double)

_LOSSES = {
    "logistic": LOSS_LOGISTIC,
    "multinomial": LOSS_MULTINOMIAL,
    "squared_hinge": LOSS_SQUARED_HINGE,
    "squared_epsilon_insensitive": LOSS_SQUARED_EPSILON_INSENSITIVE,
}


def linear_gradient(bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems,
                    loss, epsilon, n_threads=1):
    call = _Call(LINEAR_GRADIENT, X, origin, W, problems, folds, factors)
    call.of_rows(y, weights, held, loss, positive, epsilon)
    if isinstance(X, CSR) and problems > 1:
        return call.by_columns(X.by_columns(), bounds, first_shard, n_shards, n_threads)
    return call.reduce(bounds, first_shard, n_shards, n_threads)


def linear_gradient_of_folds(bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, each, problems,
                             loss, epsilon, n_threads=1):
    call = _Call(LINEAR_FOLDS, X, origin, W, problems, None, None).of_folds(each)
    return call.of_rows(y, weights, held, loss, positive, epsilon).reduce(bounds, first_shard, n_shards, n_threads)


def linear_hessian(bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems,
                   loss, epsilon, n_threads=1):
    call = _Call(LINEAR_HESSIAN, X, origin, W, problems, folds, factors)
    return call.of_rows(y, weights, held, loss, positive, epsilon).reduce(bounds, first_shard, n_shards, n_threads)


def multinomial_hessian(bounds, first_shard, n_shards, X, y, weights, held, origin, W, folds, factors, n_threads=1):
    call = _Call(LINEAR_PAIRS, X, origin, W, 1, folds, factors)
    return call.of_rows(y, weights, held, "multinomial", None, 0.0).reduce(bounds, first_shard, n_shards, n_threads)


def linear_diagonal(bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems,
                    loss, epsilon, n_threads=1):
    call = _Call(LINEAR_DIAGONAL, X, origin, W, problems, folds, factors)
    return call.of_rows(y, weights, held, loss, positive, epsilon).reduce(bounds, first_shard, n_shards, n_threads)


def linear_margins(X, origin, W, n_threads=1):
    return _Call(LINEAR_MARGINS, X, origin, W, len(W), None, None).margins(n_threads)


cdef class _Call:
    """The arguments of a call as C reads them."""

    cdef linear_t c
    cdef int level, is_double
    cdef object dtype, packed

    def __init__(self, int what, X, origin, W, int64_t problems, folds, factors):
        cdef rows_t rows = rows_at(X)
        self.dtype = X.dtype
        self.level, self.is_double = isa_level(), X.dtype == np.float64
        self.c.what, self.c.n, self.c.d, self.c.K, self.c.P = what, X.shape[0], X.shape[1], W.shape[0], problems
        self.c.x, self.c.indices, self.c.indptr = rows.x, rows.indices, rows.indptr
        self.c.W, self.c.origin = <const double *>at(W), <const double *>at(origin)
        self.c.folds, self.c.factors = <const int64_t *>at(folds), <const double *>at(factors)
        self.c.n_folds = 0 if folds is None else folds.max() + 1
        self.c.n_classes = 0 if factors is None else factors.shape[1]

    def of_folds(self, each):
        self.c.each, self.c.F = <const int64_t *>at(each), len(each)
        return self

    def of_rows(self, y, weights, held, loss, positive, double epsilon):
        self.c.y, self.c.weights = <const double *>at(y), <const double *>at(weights)
        self.c.held = <const int64_t *>at(held)
        self.c.positive, self.c.epsilon = <const double *>at(positive), epsilon
        self.c.loss = _LOSSES[loss]
        return self

    cdef pack(self):
        self.packed = np.empty(linear_packed(self.level, self.is_double, &self.c) + 64, dtype=np.uint8)
        self.c.packed = at(self.packed[-self.packed.ctypes.data % 64 :])
        linear_pack(self.level, self.is_double, &self.c)

    def reduce(self, bounds, int64_t first_shard, int64_t n_shards, int n_threads):
        self.pack()
        return reduce_shards(bounds, first_shard, n_shards, linear_statistic(&self.c),
                             linear_scratch(self.level, self.is_double, &self.c),
                             linear_shard(self.level, self.is_double), &self.c, n_threads)

    def by_columns(self, columns, const int64_t[::1] bounds, int64_t first_shard, int64_t n_shards, int n_threads):
        cdef linear_columns_t t
        cdef signals_t signals = signals_here()
        cdef int64_t n_local = bounds.shape[0] - 1
        cdef int failed = 0
        pieces = pieces_of(first_shard, first_shard + n_local, n_shards)
        local = pieces - first_shard
        statistics = np.empty((len(pieces), linear_statistic(&self.c)))
        t.c, t.bounds, t.signals = &self.c, &bounds[0], &signals
        t.values, t.rows = at(columns.data), <const int32_t *>at(columns.indices)
        t.starts = <const int64_t *>at(columns.indptr)
        t.pieces, t.n_pieces = <const int64_t *>at(local), len(pieces)
        t.statistics, t.m = <double *>at(statistics), statistics.shape[1]
        with nogil:
            failed = linear_by_columns(self.level, self.is_double, &t, n_threads)
        check(failed, &signals, "the slopes of rows")
        return pieces, statistics

    def margins(self, int n_threads):
        self.pack()
        found = np.empty((self.c.n, self.c.K), dtype=self.dtype)
        self.c.margins = at(found)
        if found.size:
            over_rows(self.c.n, linear_rows_at_once(self.level, self.is_double, &self.c), 0,
                      linear_scratch(self.level, self.is_double, &self.c),
                      linear_margins_of(self.level, self.is_double), &self.c, n_threads)
        return found
