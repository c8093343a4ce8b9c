"""What trees and forests have in common: validation, encoding of targets and weights, prediction, grids."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from hpcml.kernels import on_host
from hpcml.training import inputs
from hpcml.training.forest import Sampling, Split
from hpcml.training.inputs import validate_data
from hpcml.training.prediction import decision_path, leaves, values
from hpcml.training.trees import NO_LIMIT, StopRule, Trees
from hpcml.tree.parameters import check
from hpcml.validation import Allowed, UnsupportedError, check_whole_table

__all__ = ["ClassifierPart", "RegressorPart", "TreeModel"]

FLOAT32_MAX = float(np.finfo(np.float32).max)
#: Least weight of a row; the largest is its inverse. Squares of sums of weights then stay in range.
LEAST_WEIGHT = 1e-100


@dataclass(frozen=True)
class Cut:
    """Trees that are cut when they are first read."""

    trees: Trees
    n_trees: int
    rule: StopRule

    def __call__(self) -> Trees:
        """Cut them."""
        return self.trees.prefix(self.n_trees).cut(self.rule)


class TreeModel(BaseEstimator):
    """Base of the estimators whose model is `Trees`."""

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {}
    _grown: Trees | Cut
    n_features_in_: int
    n_outputs_: int

    # -- state -----------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return "_grown" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        if self.__sklearn_is_fitted__():
            _ = self._trees  # cut now: a pickle holds no more trees than its own
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_read", None)
        return state

    @property
    def _trees(self) -> Trees:
        if isinstance(self._grown, Cut):
            self._grown = self._grown()
        return self._grown

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

    # -- validation ------------------------------------------------------------------------------------------

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._allowed}

    def _check_parameters(self, values: dict[str, Any] | None = None) -> None:
        check(type(self).__name__, self._parameters() if values is None else values, self._allowed)

    def _check_together(self, params: Mapping[str, Any]) -> None:
        """Raise if parameters that are each allowed do not go together."""

    def _validated(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, NDArray[np.float64] | None]:
        """Return the training table, a 1-D target, and the weights.

        A numeric array stays as it is, and is read by blocks; any other table becomes a float32 array or CSR.
        """
        check_whole_table(type(self).__name__)
        X, y = on_host(X), on_host(y)
        if sparse.issparse(y):
            raise UnsupportedError("sparse multilabel-indicator for y is not supported.")
        _check_one_output(y)
        reading = _table(X)
        if isinstance(X, np.ndarray) and X.dtype.kind in "fiu":
            reading |= {"dtype": X.dtype, "order": None}
        X, y = validate_data(self, X, y, y_numeric=self._numeric_target, **reading)
        _check_fits_float32(X)
        if not self._numeric_target:
            check_classification_targets(y)
        return X, y, checked_weights(sample_weight, X.shape[0])

    def _validated_rows(self, X: Any) -> Any:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_table(X))
        if X.shape[1] != self._trees.n_features:
            raise ValueError(
                f"X must have {self._trees.n_features} features, as the trees have. Got {X.shape[1]}, as the "
                "last fit had, which failed: fit again."
            )
        return X

    # -- what growth needs -----------------------------------------------------------------------------------

    _numeric_target: ClassVar[bool]

    def _encoded(self, y: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Return the target as growth takes it, and the fitted attributes that describe it."""
        raise NotImplementedError

    def _class_weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return the weights of the rows by class, None if there are none."""
        return None

    def _split(self, n_samples: int, n_features: int, n_classes: int) -> Split:
        """Resolve the parameters of nodes for a training table."""
        params = self._parameters()
        return Split(
            criterion=params["criterion"],
            n_classes=n_classes,
            max_features=_number_of_features(params["max_features"], n_features),
            min_samples_leaf=_number_of_rows(params["min_samples_leaf"], n_samples),
            min_weight_fraction_leaf=float(params["min_weight_fraction_leaf"]),
            rule=stop_rule(params, n_samples),
        )

    # -- prediction ------------------------------------------------------------------------------------------

    def _n_threads(self) -> int:
        raise NotImplementedError

    def _mean_values(self, X: Any) -> NDArray[np.float64]:
        return values(self._trees, X, self._n_threads()) / len(self._trees)

    def _leaves(self, X: Any) -> NDArray[np.int64]:
        return leaves(self._trees, self._validated_rows(X), self._n_threads()).astype(np.int64)

    def _decision_path(self, X: Any) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
        return decision_path(self._trees, self._validated_rows(X), self._n_threads())

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """Impurity decrease that each feature brings, as shares of 1; zeros if no node was split."""
        check_is_fitted(self)
        return self._trees.mean_importances()


class ClassifierPart:
    """Targets, class weights and predictions of classifiers."""

    _numeric_target: ClassVar[bool] = False
    classes_: NDArray[Any]
    n_classes_: int
    class_weight: Any

    def _encoded(self, y: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
        classes, codes = np.unique(y, return_inverse=True)
        return codes.astype(np.float64), {"classes_": classes, "n_classes_": len(classes), "n_outputs_": 1}

    def _class_weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, dict):
            _check_class_weights(self.class_weight)
            return compute_sample_weight(self.class_weight, y)
        classes = np.unique(y)
        with np.errstate(divide="ignore"):  # of classes whose rows all have weight 0
            weights = compute_class_weight("balanced", classes=classes, y=y, sample_weight=sample_weight)
        weights[~np.isfinite(weights)] = 0.0
        return weights[np.searchsorted(classes, y)]

    def _response(self, name: str, mean: NDArray[np.float64]) -> Any:
        """Return what the method `name` returns for rows whose values have this mean over the trees."""
        if name == "predict_proba":
            return mean
        return self.classes_.take(np.argmax(mean, axis=1), axis=0)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the class of largest probability.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._response("predict", self.predict_proba(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict class probabilities: the shares of the classes in the leaves, averaged over the trees.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._mean_values(self._validated_rows(X))  # type: ignore[attr-defined]

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return np.log(self.predict_proba(X))


class RegressorPart:
    """Targets and predictions of regressors."""

    _numeric_target: ClassVar[bool] = True

    def _encoded(self, y: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
        return np.ascontiguousarray(y, dtype=np.float64), {"n_outputs_": 1}

    def _response(self, name: str, mean: NDArray[np.float64]) -> Any:
        """Return what the method `name` returns for rows whose values have this mean over the trees."""
        return mean[:, 0]

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the target: the mean of the leaves, averaged over the trees.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._response("predict", self._mean_values(self._validated_rows(X)))  # type: ignore[attr-defined]


# -- resolving parameters ------------------------------------------------------------------------------------


def stop_rule(params: dict[str, Any], n_samples: int) -> StopRule:
    """Return when nodes are leaves, of a training table of so many rows."""
    split = _number_of_rows(params["min_samples_split"], n_samples)
    leaf = _number_of_rows(params["min_samples_leaf"], n_samples)
    return StopRule(
        max_depth=NO_LIMIT if params["max_depth"] is None else min(int(params["max_depth"]), NO_LIMIT),
        min_samples_split=max(2, split, 2 * leaf),
        min_impurity_decrease=float(params["min_impurity_decrease"]),
        max_leaf_nodes=min(int(params["max_leaf_nodes"] or 0), NO_LIMIT),
        ccp_alpha=float(params["ccp_alpha"]),
    )


def _number_of_rows(value: Any, n_samples: int) -> int:
    if isinstance(value, numbers.Integral):
        return min(int(value), NO_LIMIT)
    return math.ceil(value * n_samples)


def _number_of_features(value: Any, n_features: int) -> int:
    if value is None:
        return n_features
    if value == "sqrt":
        return max(1, int(np.sqrt(n_features)))
    if value == "log2":
        return max(1, int(np.log2(n_features)))
    if isinstance(value, numbers.Integral):
        return int(value)
    return max(1, int(value * n_features))


def combined(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Return the product of two weights of rows, either of which may be missing."""
    if a is None or b is None:
        return b if a is None else a
    with np.errstate(over="ignore"):
        return a * b


def sampling(n_samples: int, n_draws: int, weights: NDArray[np.float64] | None, balanced: bool) -> Sampling:
    """Return how rows are drawn, or raise if no row has a weight or their sum is no number."""
    if weights is not None and not weights.any():
        raise ValueError(
            "sample_weight times class_weight must be positive for at least one row. Got only zeros."
        )
    if weights is not None:
        with np.errstate(over="ignore"):
            total = weights.sum()
        if not np.isfinite(total):
            raise ValueError(
                "sample_weight times class_weight must have a sum that float64 can hold. Got "
                f"values up to {weights.max():g} instead; divide them by a constant."
            )
    return Sampling(n_samples, n_draws, weights, balanced)


# -- checking data -------------------------------------------------------------------------------------------


def _table(X: Any) -> dict[str, Any]:
    """Return how `validate_data` is to read a table."""
    finite = True if sparse.issparse(X) else "allow-nan"
    return {"accept_sparse": "csr", "dtype": np.float32, "order": "C", "ensure_all_finite": finite}


def _check_fits_float32(X: Any) -> None:
    if X.dtype.kind == "f" and X.dtype.itemsize > 4:
        largest = max(abs(float(np.fmax.reduce(X, axis=None))), abs(float(np.fmin.reduce(X, axis=None))))
        if largest > FLOAT32_MAX:
            raise ValueError("Input X contains infinity or a value too large for dtype('float32').")


def _check_one_output(y: Any) -> None:
    shape = () if y is None else np.asarray(y).shape
    if len(shape) == 2 and shape[1] > 1:
        raise UnsupportedError(
            f"y must have one column, or be a 1d array. Got an array of shape {shape} instead: hpcml does "
            "not support several outputs; fit an estimator for each, or use scikit-learn's."
        )


def _check_class_weights(class_weight: dict[Any, Any]) -> None:
    for label, weight in class_weight.items():
        if not isinstance(weight, numbers.Real) or not 0 <= float(weight) < math.inf:
            raise ValueError(
                "The values of the 'class_weight' parameter must be finite numbers of at least 0. "
                f"Got {weight!r} for class {label!r} instead."
            )


def checked_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """Return the weights of rows as float64 array, None for None; those of trees are not negative."""
    weights = inputs.checked_weights(sample_weight, n_samples)
    if weights is not None and (weights < 0).any():
        raise ValueError(f"sample_weight must not be negative. Got {weights.min():g} instead.")
    if weights is not None and weights.any():
        least, most = weights[weights > 0].min(), weights.max()
        if least < LEAST_WEIGHT or most > 1.0 / LEAST_WEIGHT:
            raise UnsupportedError(
                f"'sample_weight' must be 0 or in the range [{LEAST_WEIGHT:g}, {1.0 / LEAST_WEIGHT:g}]. Got "
                f"{least if least < LEAST_WEIGHT else most:g} instead; weights of another unit give the same "
                "trees."
            )
    return weights
