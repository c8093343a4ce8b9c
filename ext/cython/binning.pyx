"""Bins of feature values in C, one feature (find) or block of rows (apply) a thread."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from hpcml.machine import isa_level

cdef extern from "binning.h" nogil:
    enum: MAX_CODES
    enum: SORT_TOGETHER
    int find_bins_of(const float *x, int64_t n_rows, int64_t d, int64_t n_features, int64_t max_bins, float *lower,
                     float *upper, int32_t *n_bins)
    void apply_bins_of(int level, const float *x, int64_t n_rows, int64_t d, int64_t feature, const float *upper,
                       int32_t n_bins, uint8_t *out)


def find_bins(const float[:, ::1] X, int64_t max_bins, int n_threads=1):
    cdef int64_t n = X.shape[0], d = X.shape[1], group, f
    cdef int failed = 0
    lower = np.full((d, MAX_CODES), np.nan, dtype=np.float32)
    upper = np.full((d, MAX_CODES), np.nan, dtype=np.float32)
    n_bins = np.zeros(d, dtype=np.int32)
    cdef float[:, ::1] lower_view = lower, upper_view = upper
    cdef int32_t[::1] n_bins_view = n_bins
    if n > 0:
        for group in prange((d + SORT_TOGETHER - 1) // SORT_TOGETHER, nogil=True, schedule="dynamic", chunksize=1,
                            num_threads=n_threads):
            f = group * SORT_TOGETHER
            failed |= find_bins_of(&X[0, f], n, d, min(SORT_TOGETHER, d - f), max_bins, &lower_view[f, 0],
                                   &upper_view[f, 0], &n_bins_view[f])
    if failed:
        raise MemoryError(f"no memory to sort a column of {n} rows")
    return lower, upper, n_bins


def apply_bins(const float[:, ::1] X, const float[:, ::1] upper, const int32_t[::1] n_bins, int n_threads=1):
    cdef int64_t n = X.shape[0], d = X.shape[1], f, block, n_blocks, rows = 512, count
    cdef int level = isa_level()
    binned = np.empty((n, d), dtype=np.uint8)
    cdef uint8_t[:, ::1] out = binned
    n_blocks = (n + rows - 1) // rows
    if n and d:
        for block in prange(n_blocks, nogil=True, schedule="static", num_threads=n_threads):
            count = min(rows, n - block * rows)
            for f in range(d):
                apply_bins_of(level, &X[block * rows, 0], count, d, f, &upper[f, 0], n_bins[f], &out[block * rows, 0])
    return binned
