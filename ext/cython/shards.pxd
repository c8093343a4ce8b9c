# What every compiled kernel of the kind "reduce", and most of the kind "rows", end with.
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from signals cimport check, signals_here, signals_t


cdef extern from "shards.h" nogil:
    ctypedef void (*shard_function)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch)
    ctypedef struct piece_t:
        int64_t first, height
        double *sum
    ctypedef struct tree_sum_t:
        int64_t n_pieces
        piece_t *pieces
    int over_shards(tree_sum_t *tree, const int64_t *bounds, int64_t n_local, int64_t first_shard, int64_t n_shards,
                    int64_t m, size_t scratch_bytes, shard_function function, const void *call, int n_threads,
                    signals_t *signals)
    int over_blocks(int64_t n, int64_t rows_at_once, int64_t m, size_t scratch_bytes, shard_function function,
                    const void *call, int n_threads, signals_t *signals)
    int threads_worth(int n_threads, double work)
    void free_tree_sum(tree_sum_t *tree)


cdef inline tuple reduce_shards(const int64_t[::1] bounds, int64_t first_shard, int64_t n_shards, int64_t m,
                                size_t scratch_bytes, shard_function function, const void *call, int n_threads):
    """Return the pieces of shards that were added up, (P, 2), and their statistics of m numbers, (P, m)."""
    import numpy as np  # here, because a .pxd runs no statements of its own

    cdef tree_sum_t tree
    cdef int64_t i, last
    cdef int failed
    cdef signals_t signals = signals_here()
    with nogil:
        failed = over_shards(&tree, &bounds[0], bounds.shape[0] - 1, first_shard, n_shards, m, scratch_bytes, function,
                             call, n_threads, &signals)
    try:
        check(failed, &signals, "the statistics of shards")
        pieces = np.empty((tree.n_pieces, 2), dtype=np.int64)
        statistics = np.empty((tree.n_pieces, m))
        for i in range(tree.n_pieces):
            last = tree.pieces[i].first + (<int64_t>1 << tree.pieces[i].height)
            pieces[i, 0], pieces[i, 1] = tree.pieces[i].first, min(last, n_shards)
            _copy(statistics[i], tree.pieces[i].sum, m)
    finally:
        free_tree_sum(&tree)
    return pieces, statistics


cdef inline void _copy(double[::1] out, const double *values, int64_t m):
    if m:
        memcpy(&out[0], values, <size_t>m * sizeof(double))


cdef inline int over_rows(int64_t n, int64_t rows_at_once, int64_t m, size_t scratch_bytes, shard_function function,
                          const void *call, int n_threads) except -1:
    """Run a function over blocks of rows for what it writes to them; its statistics of m numbers are dropped."""
    cdef int failed
    cdef signals_t signals = signals_here()
    with nogil:
        failed = over_blocks(n, rows_at_once, m, scratch_bytes, function, call, n_threads, &signals)
    return check(failed, &signals, "blocks of rows")
