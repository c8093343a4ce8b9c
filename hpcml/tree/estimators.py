"""Decision trees on binned features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from hpcml import config
from hpcml.training.forest import Growth, prepare
from hpcml.training.pruning import pruning_path
from hpcml.training.tree_view import Tree
from hpcml.training.trees import Trees
from hpcml.tree.base import ClassifierPart, Cut, RegressorPart, TreeModel, combined, sampling
from hpcml.tree.grid import Prepared, SharedGrid
from hpcml.tree.parameters import documented
from hpcml.tree.to_sklearn import tree_to_sklearn

__all__ = ["DecisionTreeClassifier", "DecisionTreeRegressor", "replace_deprecated"]

SEED_LIMIT = np.iinfo(np.int32).max


class DecisionTree(SharedGrid, TreeModel):
    """Base of the two decision trees."""

    __metadata_request__fit = {"check_input": UNUSED}
    __metadata_request__predict = {"check_input": UNUSED}

    max_features_: int
    random_state: Any
    max_bins: int
    min_weight_fraction_leaf: float

    def _n_threads(self) -> int:
        return config.n_threads()

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, check_input: bool = True
    ) -> Any:
        """Grow the tree.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table, read as float32; NaN is a missing value.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative; rows of weight 0 have no influence.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table, the target or the weights are not allowed.
        """
        self._check_parameters()
        X, y, weight = self._validated(X, y, sample_weight)
        prepared = self._prepared(X, y, weight)
        self.__dict__.update(prepared.attributes)
        seeds = prepared.draw(1)
        self._set_grown(self._grow(prepared.growth, seeds).cut(prepared.growth.split.rule), seeds)
        return self

    def _grow(self, growth: Growth, seeds: NDArray[np.uint64]) -> Trees:
        return growth.trees(seeds, self._n_threads())

    def _set_grown(self, grown: Trees | Cut, seeds: NDArray[np.uint64]) -> None:
        self._grown = grown
        self.__dict__.pop("_read", None)

    def _prepared(
        self, X: Any, y: Any, weight: NDArray[np.float64] | None, rows: NDArray[Any] | None = None
    ) -> Prepared:
        target, attributes = self._encoded(y)
        split = self._split(len(target), X.shape[1], attributes.get("n_classes_", 0))
        weights = combined(weight, self._class_weights(y, weight))
        growth = prepare(
            X,
            target,
            split,
            sampling(len(target), 0, weights, False),
            max_bins=self.max_bins,
            rows=rows,
            n_threads=self._n_threads(),
        )
        return Prepared(
            growth, {**attributes, "max_features_": split.max_features}, _seed_of(self.random_state)
        )

    @property
    def tree_(self) -> Tree:
        """Structure of the tree, as arrays."""
        check_is_fitted(self)
        if "_read" not in vars(self):
            self._read = Tree(self._trees)
        return self._read

    def get_depth(self) -> int:
        """Return the depth of the deepest leaf; 0 is a tree that is its root alone."""
        return self.tree_.max_depth

    def get_n_leaves(self) -> int:
        """Return the number of leaves."""
        return self.tree_.n_leaves

    def apply(self, X: ArrayLike, check_input: bool = True) -> NDArray[np.int64]:
        """Return the leaf of every row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        ndarray of int64, shape (n_samples,)
            Numbers of nodes of ``tree_``.
        """
        return self._leaves(X)[:, 0]

    def decision_path(self, X: ArrayLike, check_input: bool = True) -> sparse.csr_matrix:
        """Return which nodes every row passes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        csr_matrix of shape (n_samples, n_nodes)
            1 where a row passes a node.
        """
        return self._decision_path(X)[0]

    def cost_complexity_pruning_path(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Bunch:
        """Return the prices of a leaf at which pruning changes the tree.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        Bunch
            ``ccp_alphas`` and ``impurities``, arrays of the prices and of the impurity of the leaves that
            remain.
        """
        whole = clone(self).set_params(ccp_alpha=0.0).fit(X, y, sample_weight=sample_weight)
        alphas, impurities = pruning_path(whole._trees)
        return Bunch(ccp_alphas=alphas, impurities=impurities)

    def to_sklearn(self) -> Any:
        """Return a fitted decision tree of scikit-learn that predicts the same, to the bit.

        Returns
        -------
        sklearn.tree.DecisionTreeClassifier or sklearn.tree.DecisionTreeRegressor
        """
        check_is_fitted(self)
        return tree_to_sklearn(self)


def _seed_of(random_state: Any) -> Any:
    """Return a function that draws the seed of the one tree; an integer is the seed itself."""
    if isinstance(random_state, (int, np.integer)):
        return lambda n: np.array([random_state], dtype=np.uint64)
    source = check_random_state(random_state)
    return lambda n: np.array([source.randint(SEED_LIMIT)], dtype=np.uint64)


def replace_deprecated(criterion: Any) -> Any:
    """Return scikit-learn's present name of a criterion; warn if it was its former one."""
    if isinstance(criterion, str) and criterion == "friedman_mse":
        warnings.warn(
            "criterion='friedman_mse' is deprecated, as in scikit-learn, which drops it in 1.11: it is the "
            "same as 'squared_error'.",
            FutureWarning,
            stacklevel=3,
        )
        return "squared_error"
    return criterion


@documented(
    "classifier",
    attributes=(
        "classes_",
        "n_classes_",
        "max_features_",
        "tree_",
        "feature_importances_",
        "n_features_in_",
        "feature_names_in_",
        "n_outputs_",
    ),
)
class DecisionTreeClassifier(ClassifierMixin, ClassifierPart, DecisionTree):
    """A decision tree for classes, on binned features.

    {parameters}

    See Also
    --------
    hpcml.ensemble.RandomForestClassifier : A forest of such trees.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.tree import DecisionTreeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> tree = DecisionTreeClassifier(max_depth=2).fit(X, y)
    >>> tree.get_n_leaves(), round(tree.score(X, y), 2)
    (3, 0.96)
    """

    __metadata_request__predict_proba = {"check_input": UNUSED}

    def __init__(
        self,
        *,
        criterion: str = "gini",
        splitter: str = "best",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: float | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        ccp_alpha: float = 0.0,
        monotonic_cst: None = None,
        max_bins: int = 255,
    ) -> None:
        self.criterion = criterion
        self.splitter = splitter
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.random_state = random_state
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins

    def predict(self, X: ArrayLike, check_input: bool = True) -> NDArray[Any]:
        """Predict the most frequent class of the leaf; see `predict_proba` for the arguments."""
        return super().predict(X)

    def predict_proba(self, X: ArrayLike, check_input: bool = True) -> NDArray[np.float64]:
        """Predict the shares of the classes in the leaf.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return super().predict_proba(X)


@documented(
    "regressor",
    attributes=(
        "max_features_",
        "tree_",
        "feature_importances_",
        "n_features_in_",
        "feature_names_in_",
        "n_outputs_",
    ),
)
class DecisionTreeRegressor(RegressorMixin, RegressorPart, DecisionTree):
    """A decision tree for numbers, on binned features.

    {parameters}

    See Also
    --------
    hpcml.ensemble.RandomForestRegressor : A forest of such trees.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from hpcml.tree import DecisionTreeRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> DecisionTreeRegressor(max_depth=3).fit(X, y).get_n_leaves()
    8
    """

    def __init__(
        self,
        *,
        criterion: str = "squared_error",
        splitter: str = "best",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: float | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        ccp_alpha: float = 0.0,
        monotonic_cst: None = None,
        max_bins: int = 255,
    ) -> None:
        self.criterion = replace_deprecated(criterion)
        self.splitter = splitter
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.random_state = random_state
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.ccp_alpha = ccp_alpha
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins

    def predict(self, X: ArrayLike, check_input: bool = True) -> NDArray[np.float64]:
        """Predict the mean of the leaf.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return super().predict(X)
