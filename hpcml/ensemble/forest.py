"""Random forests on binned features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from hpcml.ensemble.base import Forest
from hpcml.tree.base import ClassifierPart, RegressorPart
from hpcml.tree.estimators import DecisionTreeClassifier, DecisionTreeRegressor, replace_deprecated
from hpcml.tree.parameters import documented

__all__ = ["RandomForestClassifier", "RandomForestRegressor"]

_ATTRIBUTES = (
    "estimators_",
    "feature_importances_",
    "estimators_samples_",
    "oob_score_",
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
)


@documented(
    "forest", "classifier", attributes=("classes_", "n_classes_", *_ATTRIBUTES, "oob_decision_function_")
)
class RandomForestClassifier(ClassifierMixin, ClassifierPart, Forest):
    """A random forest for classes, on binned features.

    A drop-in for scikit-learn's class of the same name. Features are binned once (`max_bins`); trees are the
    same to the bit for every `n_jobs`, and those of a smaller forest, or one that stops earlier, are part of
    a larger one, which lets `hpcml.model_selection.GridSearchCV` grow the trees of a whole grid once.

    {parameters}

    See Also
    --------
    hpcml.tree.DecisionTreeClassifier : One tree.

    References
    ----------
    Breiman (2001), Random Forests, Machine Learning 45.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.ensemble import RandomForestClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(X, y)
    >>> forest.predict(X[:3]), forest.score(X, y) > 0.98
    (array([0, 0, 0]), True)
    """

    _tree_class = DecisionTreeClassifier
    oob_score_: float
    oob_decision_function_: NDArray[np.float64]

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: float | str | None = "sqrt",
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        oob_score: Any = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        class_weight: dict[Any, float] | str | None = None,
        ccp_alpha: float = 0.0,
        max_samples: float | None = None,
        monotonic_cst: None = None,
        max_bins: int = 255,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins

    def _class_weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if isinstance(self.class_weight, str) and self.warm_start:
            warnings.warn(
                f'class_weight="{self.class_weight}" is not recommended for warm_start if the fitted data '
                "differs from the full data set: pass the weights of the classes of the full data set as a "
                "dict, as sklearn.utils.class_weight.compute_class_weight computes them.",
                UserWarning,
                stacklevel=4,
            )
        if self.class_weight == "balanced_subsample" and self.bootstrap:
            return None  # each tree weighs the classes that it has drawn
        return super()._class_weights(y, sample_weight)

    def _score_out_of_bag(self, X: Any, y: Any, score: Callable[..., float] | None) -> None:
        self.oob_decision_function_ = self._out_of_bag_means(X)
        codes = np.searchsorted(self.classes_, y)
        self.oob_score_ = (score or accuracy_score)(codes, np.argmax(self.oob_decision_function_, axis=1))


@documented("forest", "regressor", attributes=(*_ATTRIBUTES, "oob_prediction_"))
class RandomForestRegressor(RegressorMixin, RegressorPart, Forest):
    """A random forest for numbers, on binned features.

    A drop-in for scikit-learn's class of the same name. Features are binned once (`max_bins`); trees are the
    same to the bit for every `n_jobs`, and those of a smaller forest, or one that stops earlier, are part of
    a larger one, which lets `hpcml.model_selection.GridSearchCV` grow the trees of a whole grid once.

    {parameters}

    See Also
    --------
    hpcml.tree.DecisionTreeRegressor : One tree.

    References
    ----------
    Breiman (2001), Random Forests, Machine Learning 45.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from hpcml.ensemble import RandomForestRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = RandomForestRegressor(n_estimators=50, oob_score=True, random_state=0).fit(X, y)
    >>> forest.score(X, y) > 0.9, 0.3 < forest.oob_score_ < 0.5
    (True, True)
    """

    _tree_class = DecisionTreeRegressor
    oob_score_: float
    oob_prediction_: NDArray[np.float64]

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "squared_error",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: float | str | None = 1.0,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        oob_score: Any = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        ccp_alpha: float = 0.0,
        max_samples: float | None = None,
        monotonic_cst: None = None,
        max_bins: int = 255,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = replace_deprecated(criterion)
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins

    def _score_out_of_bag(self, X: Any, y: Any, score: Callable[..., float] | None) -> None:
        self.oob_prediction_ = self._out_of_bag_means(X)[:, 0]
        self.oob_score_ = (score or r2_score)(y, self.oob_prediction_)
