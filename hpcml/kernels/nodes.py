"""The arrays of grown trees, as every ``grow`` and ``predict_*`` kernel reads and writes them."""

import numpy as np

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
