"""Which leaf of every tree a row falls into, and the sum of the leaves' values."""

import numpy as np

from hpcml.kernels.nodes import LEAF
from hpcml.kernels.numba.jit import compiled, in_blocks

FIELDS = ("left", "right", "feature", "missing_go_to_left", "threshold")


def predict_leaves(X, nodes, offsets, n_threads=1):
    """Return for every row and tree the leaf, counted from the first node of the tree."""
    leaves = np.empty((X.shape[0], len(offsets) - 1), dtype=np.int32)
    fields = [nodes[name] for name in FIELDS]
    in_blocks(_predict_leaves, X.shape[0], n_threads, X, *fields, offsets, leaves)
    return leaves


@compiled
def _leaf(X, i, root, left, right, feature, missing_go_to_left, threshold):
    at = root
    while left[at] != LEAF:
        x = X[i, feature[at]]
        if np.isnan(x):
            go_left = missing_go_to_left[at] != 0
        else:
            go_left = np.float64(x) <= threshold[at]
        at = root + (left[at] if go_left else right[at])
    return at


@compiled
def _predict_leaves(
    start, stop, X, left, right, feature, missing_go_to_left, threshold, offsets, leaves
):  # fmt: skip
    for i in range(start, stop):
        for t in range(len(offsets) - 1):
            root = offsets[t]
            leaves[i, t] = _leaf(X, i, root, left, right, feature, missing_go_to_left, threshold) - root


def predict_values(X, nodes, values, offsets, n_threads=1):
    """Return the sum of the leaves' values over the trees, added in the order of the trees."""
    total = np.zeros((X.shape[0], values.shape[1]))
    fields = [nodes[name] for name in FIELDS]
    in_blocks(_predict_values, X.shape[0], n_threads, X, *fields, values, offsets, total)
    return total


@compiled
def _predict_values(
    start, stop, X, left, right, feature, missing_go_to_left, threshold, values, offsets, total
):  # fmt: skip
    for i in range(start, stop):
        for t in range(len(offsets) - 1):
            at = _leaf(X, i, offsets[t], left, right, feature, missing_go_to_left, threshold)
            for k in range(total.shape[1]):
                total[i, k] += values[at, k]
