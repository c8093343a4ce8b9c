"""Bins of feature values in C, some features (find) or a block of rows (apply) a thread."""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from hpcml.machine import isa_level

from arrays cimport at
from shards cimport over_blocks, over_rows, shard_function
from signals cimport check, signals_here, signals_t

cdef extern from "binning.h" nogil:
    enum:
        MAX_CODES
        SORT_TOGETHER
        BINNED_AT_ONCE
    ctypedef struct binning_call:
        const float *x
        int64_t n, d, max_bins
        float *lower
        float *upper
        int32_t *n_bins
        uint8_t *binned
        signals_t *signals
        int *failed
    void find_bins_of(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch)
    shard_function apply_bins_of(int level)


def find_bins(const float[:, ::1] X, int64_t max_bins, int n_threads=1):
    cdef binning_call call
    cdef signals_t signals = signals_here()
    cdef int failed, short_of_memory = 0
    call.n, call.d, call.max_bins = X.shape[0], X.shape[1], max_bins
    call.signals, call.failed = &signals, &short_of_memory
    lower = np.full((call.d, MAX_CODES), np.nan, dtype=np.float32)
    upper = np.full((call.d, MAX_CODES), np.nan, dtype=np.float32)
    n_bins = np.zeros(call.d, dtype=np.int32)
    call.lower, call.upper, call.n_bins = <float *>at(lower), <float *>at(upper), <int32_t *>at(n_bins)
    if call.n > 0 and call.d > 0:
        call.x = &X[0, 0]
        with nogil:
            failed = over_blocks(call.d, SORT_TOGETHER, 0, 0, find_bins_of, &call, n_threads, &signals)
        check(failed | short_of_memory, &signals, "sorted columns")
    return lower, upper, n_bins


def apply_bins(const float[:, ::1] X, const float[:, ::1] upper, const int32_t[::1] n_bins, int n_threads=1):
    cdef binning_call call
    call.n, call.d = X.shape[0], X.shape[1]
    binned = np.empty((call.n, call.d), dtype=np.uint8)
    call.binned = <uint8_t *>at(binned)
    if call.n and call.d:
        call.x, call.upper, call.n_bins = &X[0, 0], <float *>&upper[0, 0], <int32_t *>&n_bins[0]
        over_rows(call.n, BINNED_AT_ONCE, 0, 0, apply_bins_of(isa_level()), &call, n_threads)
    return binned
