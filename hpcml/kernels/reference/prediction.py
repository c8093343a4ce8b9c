"""Which leaf of every tree a row falls into, and the sum of the leaves' values."""

import numpy as np

from hpcml.kernels.nodes import LEAF


def predict_leaves(X, nodes, offsets, n_threads=1):
    """Return for every row and tree the leaf, counted from the first node of the tree."""
    n_trees = len(offsets) - 1
    leaves = np.zeros((X.shape[0], n_trees), dtype=np.int32)
    for t in range(n_trees):
        tree = nodes[offsets[t] : offsets[t + 1]]
        at = leaves[:, t]
        while True:
            node = tree[at]
            inner = np.flatnonzero(node["left"] != LEAF)
            if len(inner) == 0:
                break
            node = node[inner]
            x = X[inner, node["feature"]]
            go_left = np.where(np.isnan(x), node["missing_go_to_left"] != 0, x <= node["threshold"])
            at[inner] = np.where(go_left, node["left"], node["right"])
    return leaves


def predict_values(X, nodes, values, offsets, n_threads=1):
    """Return the sum of the leaves' values over the trees, added in the order of the trees."""
    leaves = predict_leaves(X, nodes, offsets)
    total = np.zeros((X.shape[0], values.shape[1]))
    for t in range(len(offsets) - 1):
        total += values[offsets[t] + leaves[:, t]]
    return total
