"""Bins of feature values: equal-frequency bins that no value straddles."""

import numpy as np

from hpcml.kernels.nodes import MAX_CODES


def find_bins(X, max_bins, n_threads=1):
    """Find for every feature at most ``max_bins`` bins of about equally many rows.

    A feature of at most ``max_bins`` distinct values has a bin for each. Otherwise bins are closed from the
    lowest value on, each as soon as it holds its share of the rows that remain; so a frequent value takes one
    bin and the rest is shared among the others.
    """
    n_features = X.shape[1]
    lower = np.full((n_features, MAX_CODES), np.nan, dtype=np.float32)
    upper = np.full((n_features, MAX_CODES), np.nan, dtype=np.float32)
    n_bins = np.zeros(n_features, dtype=np.int32)
    for f in range(n_features):
        column = X[:, f]
        values, counts = np.unique(column[~np.isnan(column)] + np.float32(0), return_counts=True)
        first, last = _bin_ends(counts, max_bins)
        n_bins[f] = len(first)
        lower[f, : len(first)] = values[first]
        upper[f, : len(first)] = values[last]
    return lower, upper, n_bins


def _bin_ends(counts, max_bins):
    """Return the first and the last distinct value of every bin."""
    n_values = len(counts)
    if n_values <= max_bins:
        return np.arange(n_values), np.arange(n_values)
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    first, last = [], []
    start = 0
    while start < n_values:
        bins_left = max_bins - len(first)
        rows_left = cumulative[-1] - cumulative[start]
        # smallest end with (rows in the bin) * bins_left >= rows_left
        share = -(-rows_left // bins_left)
        end = int(np.searchsorted(cumulative, cumulative[start] + share, side="left"))
        first.append(start)
        last.append(end - 1)
        start = end
    return np.array(first), np.array(last)


def apply_bins(X, upper, n_bins, n_threads=1):
    """Replace every value of the training rows by the number of its bin, NaN by the number of bins."""
    binned = np.empty(X.shape, dtype=np.uint8)
    for f in range(X.shape[1]):
        column = X[:, f]
        codes = np.searchsorted(upper[f, : n_bins[f]], column, side="left")
        binned[:, f] = np.where(np.isnan(column), n_bins[f], np.minimum(codes, max(n_bins[f] - 1, 0)))
    return binned
