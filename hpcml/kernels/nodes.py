"""The arrays of grown trees, as every ``grow`` and ``predict_*`` kernel reads and writes them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Nodes, values and offsets of some trees.
Grown = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]

#: One node of a tree. ``left`` and ``right`` count from the first node of the same tree; -1 marks a leaf.
#: ``improvement`` is the weighted impurity decrease of the node's split (0 in a leaf).
NODE_DTYPE = np.dtype(
    [
        ("left", np.int32),
        ("right", np.int32),
        ("feature", np.int32),
        ("missing_go_to_left", np.uint8),
        ("threshold", np.float64),
        ("impurity", np.float64),
        ("n_samples", np.int64),
        ("weight", np.float64),
        ("improvement", np.float64),
        ("depth", np.int32),
    ],
    align=True,
)

LEAF = -1  # child of a leaf
UNDEFINED = -2  # feature and threshold of a leaf, as in scikit-learn

MAX_CODES = 256  # uint8 codes of a feature: at most 255 bins and one for missing values

EPSILON = np.finfo(np.float64).eps  # scikit-learn's: an impurity at most this counts as 0


def joined(parts: Iterable[Grown]) -> Grown:
    """Return nodes, values and offsets of the trees of several parts, one part after the other."""
    nodes, values, offsets = zip(*parts, strict=True)
    starts = np.cumsum([0, *map(len, nodes)])
    moved = [own[:-1] + start for own, start in zip(offsets, starts[:-1], strict=True)]
    joined_offsets = np.concatenate([*moved, starts[-1:]]).astype(np.int64)
    return np.concatenate(nodes), np.concatenate(values), joined_offsets
