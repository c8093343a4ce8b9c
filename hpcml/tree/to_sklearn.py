"""Fitted models of scikit-learn that predict the same as ours, for tools that read scikit-learn's trees."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sklearn.tree

from hpcml.counterparts import counterpart
from hpcml.training.trees import Trees

__all__ = ["forest_to_sklearn", "tree_to_sklearn"]

#: Our fields of a node under scikit-learn's names.
_FIELDS = {
    "left_child": "left",
    "right_child": "right",
    "feature": "feature",
    "threshold": "threshold",
    "impurity": "impurity",
    "n_node_samples": "n_samples",
    "weighted_n_node_samples": "weight",
    "missing_go_to_left": "missing_go_to_left",
}
_ATTRIBUTES = ("n_features_in_", "feature_names_in_", "n_outputs_", "classes_", "n_classes_", "max_features_")
_OOB = ("oob_score_", "oob_prediction_", "oob_decision_function_")


@functools.cache
def _tree_type() -> tuple[type, np.dtype]:
    """Return the class of scikit-learn's ``tree_`` and its type of a node, from a fitted tree."""
    example = sklearn.tree.DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0]).tree_
    return type(example), example.__getstate__()["nodes"].dtype


def _structure(trees: Trees) -> Any:
    kind, dtype = _tree_type()
    nodes = np.zeros(len(trees.nodes), dtype=dtype)
    for theirs, ours in _FIELDS.items():
        nodes[theirs] = trees.nodes[ours]
    n_classes = np.array([trees.values.shape[1]], dtype=np.intp)
    tree = kind(trees.n_features, n_classes, 1)
    tree.__setstate__(
        {
            "max_depth": int(trees.nodes["depth"].max()),
            "node_count": len(nodes),
            "nodes": nodes,
            "values": np.ascontiguousarray(trees.values[:, np.newaxis, :]),
        }
    )
    return tree


def _copy(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if name in vars(ours):
            setattr(theirs, name, vars(ours)[name])


def tree_to_sklearn(ours: Any) -> Any:
    """Return the decision tree as scikit-learn's."""
    theirs = counterpart(ours)
    _copy(ours, theirs, _ATTRIBUTES)
    theirs.tree_ = _structure(ours._trees)
    return theirs


def forest_to_sklearn(ours: Any) -> Any:
    """Return the forest as scikit-learn's, with ``n_jobs=None``, which adds the trees in their order."""
    theirs = counterpart(ours).set_params(n_jobs=None)
    _copy(ours, theirs, _ATTRIBUTES + _OOB)
    theirs.estimator_ = theirs.estimator
    theirs.estimators_ = [tree_to_sklearn(tree) for tree in ours.estimators_]
    return theirs
