"""Bins of feature values: equal-frequency bins that no value straddles."""

import numpy as np

from hpcml.kernels.nodes import MAX_CODES
from hpcml.kernels.numba.jit import compiled, in_blocks


def find_bins(X, max_bins, n_threads=1):
    """Find for every feature at most ``max_bins`` bins of about equally many rows."""
    n_features = X.shape[1]
    lower = np.full((n_features, MAX_CODES), np.nan, dtype=np.float32)
    upper = np.full((n_features, MAX_CODES), np.nan, dtype=np.float32)
    n_bins = np.zeros(n_features, dtype=np.int32)
    in_blocks(_find_bins, n_features, n_threads, X, max_bins, lower, upper, n_bins, min_block=1)
    return lower, upper, n_bins


@compiled
def _find_bins(start, stop, X, max_bins, lower, upper, n_bins):
    n_rows = X.shape[0]
    values = np.empty(n_rows, dtype=np.float32)
    for f in range(start, stop):
        n = 0
        for i in range(n_rows):
            x = X[i, f] + np.float32(0)  # -0.0 becomes 0.0
            if not np.isnan(x):
                values[n] = x
                n += 1
        ordered = np.sort(values[:n])
        n_values = 0
        for i in range(n):
            if i == 0 or ordered[i] != ordered[i - 1]:
                n_values += 1
        each = n_values <= max_bins
        code = 0
        i = 0
        while i < n:
            # smallest bin with (rows in the bin) * bins_left >= rows_left, or one value
            bins_left = max_bins - code
            share = 1 if each else (n - i + bins_left - 1) // bins_left
            last = i + share - 1
            while last + 1 < n and ordered[last + 1] == ordered[last]:
                last += 1
            lower[f, code] = ordered[i]
            upper[f, code] = ordered[last]
            code += 1
            i = last + 1
        n_bins[f] = code


def apply_bins(X, upper, n_bins, n_threads=1):
    """Replace every value of the training rows by the number of its bin, NaN by the number of bins."""
    binned = np.empty(X.shape, dtype=np.uint8)
    in_blocks(_apply_bins, X.shape[0], n_threads, X, upper, n_bins, binned)
    return binned


@compiled
def _apply_bins(start, stop, X, upper, n_bins, binned):
    for i in range(start, stop):
        for f in range(X.shape[1]):
            x = X[i, f]
            n = n_bins[f]
            if np.isnan(x):
                binned[i, f] = n
                continue
            # code = number of bins whose upper < x, at most the last bin
            low, high = 0, max(n - 1, 0)
            while low < high:
                middle = (low + high) // 2
                if upper[f, middle] < x:
                    low = middle + 1
                else:
                    high = middle
            binned[i, f] = low
