"""One tree as its readers know it: the arrays and methods of scikit-learn's ``tree_``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml.training.prediction import decision_path, leaves
from hpcml.training.trees import Trees

__all__ = ["Tree"]


class Tree:
    """The structure of one tree.

    Node 0 is the root. Of a leaf, both children are -1, ``feature`` and ``threshold`` -2. A row goes left
    where its value of the feature is at most the threshold, or is missing and ``missing_go_to_left`` is 1.

    Parameters
    ----------
    trees : Trees
        The arrays of one tree.

    Attributes
    ----------
    node_count, max_depth, n_leaves, capacity : int
        Size of the tree; the capacity is the number of nodes.
    n_features, n_outputs, max_n_classes : int
        Of the training table; `n_outputs` is 1. `max_n_classes` is 1 for regression.
    n_classes : ndarray of int, shape (1,)
        Number of classes, 1 for regression.
    children_left, children_right, feature : ndarray of int64, shape (node_count,)
        Structure and split features.
    threshold, impurity, weighted_n_node_samples : ndarray of float64, shape (node_count,)
        Split thresholds; impurity and weight of every node.
    n_node_samples : ndarray of int64, shape (node_count,)
        Distinct training rows of every node.
    missing_go_to_left : ndarray of uint8, shape (node_count,)
        Where missing values go.
    value : ndarray of float64, shape (node_count, 1, max_n_classes)
        Mean of the target, or share of every class.

    Examples
    --------
    >>> from hpcml.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0], [2.0]], [1.0, 1.0, 4.0]).tree_
    >>> tree.feature, tree.threshold
    (array([ 0, -2, -2]), array([ 1.5, -2. , -2. ]))
    """

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        nodes = trees.nodes
        self.node_count = self.capacity = len(nodes)
        self.max_depth = int(nodes["depth"].max())
        self.n_features, self.n_outputs = trees.n_features, 1
        self.max_n_classes = trees.values.shape[1]
        self.n_classes = np.array([self.max_n_classes], dtype=np.intp)
        self.children_left = nodes["left"].astype(np.intp)
        self.children_right = nodes["right"].astype(np.intp)
        self.feature = nodes["feature"].astype(np.intp)
        self.threshold = np.ascontiguousarray(nodes["threshold"])
        self.impurity = np.ascontiguousarray(nodes["impurity"])
        self.n_node_samples = nodes["n_samples"].astype(np.intp)
        self.weighted_n_node_samples = np.ascontiguousarray(nodes["weight"])
        self.missing_go_to_left = np.ascontiguousarray(nodes["missing_go_to_left"])
        self.value = trees.values[:, np.newaxis, :]
        self.n_leaves = int(np.sum(self.children_left < 0))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._trees,)

    def apply(self, X: Any) -> NDArray[np.int64]:
        """Return the leaf of every row of `X`, a float32 array or CSR matrix."""
        return leaves(self._trees, _float32(X))[:, 0].astype(np.intp)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the value of the leaf of every row, shape (n_samples, max_n_classes)."""
        return self._trees.values[self.apply(X)]

    def decision_path(self, X: Any) -> sparse.csr_matrix:
        """Return which nodes every row passes, shape (n_samples, node_count)."""
        return decision_path(self._trees, _float32(X))[0]

    def compute_feature_importances(self, normalize: bool = True) -> NDArray[np.float64]:
        """Return the impurity decrease that each feature brings, as shares of 1 if `normalize`."""
        return self._trees.importances(normalize)[0]

    def compute_node_depths(self) -> NDArray[np.int64]:
        """Return the depth of every node, counted from 1 for the root."""
        return self._trees.nodes["depth"].astype(np.int64) + 1


def _float32(X: Any) -> Any:
    if not (sparse.issparse(X) or isinstance(X, np.ndarray)):
        raise ValueError(f"X must be a float32 array or a CSR matrix. Got {type(X).__name__} instead.")
    if X.dtype != np.float32:
        raise ValueError(f"X.dtype must be float32. Got {X.dtype} instead.")
    return X
