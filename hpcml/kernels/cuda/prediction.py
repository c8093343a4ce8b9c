"""Which leaf of every tree a row falls into, and the sum of the leaves' values."""

import numpy as np

from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run_rows
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import dense


def predict_leaves(X, nodes, offsets, n_threads=1):
    """Return for every row and tree the leaf, counted from the first node of the tree."""
    leaves = np.empty((len(X), len(offsets) - 1), dtype=np.int32)
    _predict(X, nodes, offsets, leaves=leaves)
    return leaves


def predict_values(X, nodes, values, offsets, n_threads=1):
    """Return the sum of the leaves' values over the trees, added in the order of the trees."""
    total = np.zeros((len(X), values.shape[1]))
    _predict(X, nodes, offsets, values=values, total=total)
    return total


def _predict(X, nodes, offsets, *, leaves=None, values=None, total=None):
    dense(X, ("float32",))
    trees = len(offsets) - 1
    if trees == 0:
        return
    K = 0 if values is None else values.shape[1]

    def launch(block):
        block.launch(
            "prediction", "predict_rows", (ceil(block.n_rows, THREADS), 1),
            block["X"], block["nodes"], block["offsets"], block.n_rows, X.shape[1], trees, block["leaves"],
            block["values"], K, block["total"],
        )  # fmt: skip

    out = {"leaves": leaves, "total": total}
    rows = {"X": Rows(X), **{key: Rows(value, reads=False, writes=True) for key, value in out.items()}}
    constants = {"nodes": nodes, "offsets": offsets, "values": values}
    run_rows(current(), len(X), rows=rows, constants=constants, launch=launch)
