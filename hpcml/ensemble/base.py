"""What the two random forests have in common."""

from __future__ import annotations

import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hpcml import config
from hpcml.training.forest import Growth, Sampling, out_of_bag, prepare
from hpcml.training.trees import Trees
from hpcml.tree.base import Cut, TreeModel, combined, sampling
from hpcml.tree.estimators import SEED_LIMIT
from hpcml.tree.grid import Prepared, SharedGrid
from hpcml.tree.to_sklearn import forest_to_sklearn

__all__ = ["Forest"]

#: A bootstrap that a fraction makes smaller than this is suspicious, as in scikit-learn.
FEW_DRAWS = 10
#: More draws for a tree are a slip: rows are counted as int32.
MOST_DRAWS = np.iinfo(np.int32).max


class Forest(SharedGrid, TreeModel):
    """Base of the random forests."""

    #: A larger forest begins with the trees of a smaller one.
    grid_resources = ("n_estimators",)

    _tree_class: Any
    _seeds: NDArray[np.uint64]
    _sampling: Sampling
    n_estimators: int
    bootstrap: bool
    oob_score: Any
    n_jobs: int | None
    random_state: Any
    verbose: int
    warm_start: bool
    max_samples: float | None
    max_bins: int
    min_weight_fraction_leaf: float
    class_weight: Any = None

    def _n_threads(self) -> int:
        return config.n_threads(self.n_jobs)

    # -- fitting ---------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Grow the forest.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table, read as float32; NaN is a missing value.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative; the bootstrap draws rows by them. Rows of weight 0 have no
            influence.

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
        self._check_together(self._parameters())
        kept = self._trees if self.warm_start and self.__sklearn_is_fitted__() else None
        n_kept = 0 if kept is None else len(kept)
        if self.n_estimators < n_kept:
            raise ValueError(
                f"n_estimators={self.n_estimators} must be larger or equal to len(estimators_)={n_kept} when "
                "warm_start==True"
            )
        prepared = self._prepared(X, y, weight)
        n_classes = prepared.growth.split.n_classes
        if kept is not None and n_classes != kept.n_classes:
            raise ValueError(
                f"y must have {kept.n_classes} classes, as in the fits before, under warm_start=True. Got "
                f"{n_classes}."
            )
        if kept is not None and self.n_features_in_ != kept.n_features:
            raise ValueError(
                f"X must have {kept.n_features} features, as in the fits before, under warm_start=True. Got "
                f"{self.n_features_in_}."
            )
        self.__dict__.update(prepared.attributes)
        if self.n_estimators == n_kept:
            warnings.warn(
                "Warm-start fitting without increasing n_estimators does not fit new trees.",
                UserWarning,
                stacklevel=2,
            )
        else:
            seeds = prepared.draw(int(self.n_estimators))
            trees = self._grow(prepared.growth, seeds[n_kept:]).cut(prepared.growth.split.rule)
            if kept is not None:
                trees = Trees.concatenate([kept, trees])
                seeds[:n_kept] = self._seeds
            self._set_grown(trees, seeds)
        if self.oob_score and (self.n_estimators > n_kept or not hasattr(self, "oob_score_")):
            score = self.oob_score if callable(self.oob_score) else None
            self._score_out_of_bag(X, y, score)
        return self

    def _check_together(self, params: Mapping[str, Any]) -> None:
        if not params["bootstrap"] and params["max_samples"] is not None:
            raise ValueError(
                "`max_sample` cannot be set if `bootstrap=False`. Either switch to `bootstrap=True` or set "
                "`max_sample=None`."
            )
        if not params["bootstrap"] and params["oob_score"]:
            raise ValueError("Out of bag estimation only available if bootstrap=True")

    def _grow(self, growth: Growth, seeds: NDArray[np.uint64]) -> Trees:
        def tell(done: int) -> None:
            print(f"{done} of {len(seeds)} trees grown", file=sys.stderr)

        progress = tell if self.verbose else None
        return growth.trees(seeds, self._n_threads(), n_jobs=self.n_jobs, progress=progress)

    def _set_grown(self, grown: Trees | Cut, seeds: NDArray[np.uint64]) -> None:
        self._grown, self._seeds = grown, seeds
        self.__dict__.pop("_read", None)

    def _prepared(
        self, X: Any, y: Any, weight: NDArray[np.float64] | None, rows: NDArray[Any] | None = None
    ) -> Prepared:
        target, attributes = self._encoded(y)
        weights = combined(weight, self._class_weights(y, weight))
        n_samples = len(target)
        n_draws = self._n_draws(n_samples, weights) if self.bootstrap else 0
        drawn = sampling(n_samples, n_draws, weights, self.class_weight == "balanced_subsample")
        growth = prepare(
            X,
            target,
            self._split(n_samples, X.shape[1], attributes.get("n_classes_", 0)),
            drawn,
            max_bins=self.max_bins,
            rows=rows,
            n_threads=self._n_threads(),
        )
        source = check_random_state(self.random_state)
        return Prepared(
            growth,
            {**attributes, "_sampling": drawn},
            lambda n: source.randint(SEED_LIMIT, size=n).astype(np.uint64),
        )

    def _n_draws(self, n_samples: int, weights: NDArray[np.float64] | None) -> int:
        """Return how many rows the bootstrap draws."""
        if self.max_samples is None:
            return n_samples
        words = "number of samples" if weights is None else "total sum of sample weights"
        total = n_samples if weights is None else float(weights.sum())
        whole = isinstance(self.max_samples, numbers.Integral)
        asked = self.max_samples if whole else float(self.max_samples) * total
        if asked > MOST_DRAWS:
            raise ValueError(
                f"The 'max_samples' parameter of {type(self).__name__} must draw at most {MOST_DRAWS} rows "
                f"for a tree. Got {self.max_samples!r} instead, and the {words} is {total:g}."
            )
        n_draws = max(1, int(asked))
        if not whole and n_draws < max(FEW_DRAWS, math.cbrt(n_samples)):
            warnings.warn(
                f"Using the fractional value max_samples={self.max_samples} when the {words} is {total} "
                f"results in a low number ({n_draws}) of bootstrap samples. We recommend passing "
                "`max_samples` as an integer instead.",
                UserWarning,
                stacklevel=4,
            )
        return n_draws

    # -- rows that a tree has not seen -----------------------------------------------------------------------

    def _score_out_of_bag(self, X: Any, y: Any, score: Callable[..., float] | None) -> None:
        """Set the attributes of rows that trees have not seen; `score` is one of the user's."""
        raise NotImplementedError

    def _out_of_bag_means(self, X: Any) -> NDArray[np.float64]:
        sums, counts = out_of_bag(self._trees, X, self._seeds, self._sampling, self._n_threads())
        if not counts.all():
            warnings.warn(
                "Some inputs do not have OOB scores. This probably means too few trees were used to compute "
                "any reliable OOB estimates.",
                UserWarning,
                stacklevel=4,
            )
        return sums / np.maximum(counts, 1)[:, np.newaxis]

    @property
    def estimators_samples_(self) -> list[NDArray[np.int32]]:
        """Rows that each tree was grown on, drawn anew at every access."""
        check_is_fitted(self)
        cumulative = self._sampling.cumulative()
        return [self._sampling.drawn(seed, cumulative) for seed in self._seeds]

    # -- the trees -------------------------------------------------------------------------------------------

    @property
    def estimators_(self) -> list[Any]:
        """The trees, as estimators whose ``random_state`` is their seed."""
        check_is_fitted(self)
        if "_read" not in vars(self):
            self._read = self._read_trees()
        return self._read

    @estimators_.setter
    def estimators_(self, trees: list[Any]) -> None:
        """Replace the trees, such as by a selection of them."""
        if not trees or not all(isinstance(tree, self._tree_class) for tree in trees):
            raise ValueError(f"estimators_ must be a list of fitted {self._tree_class.__name__}, not empty.")
        seeds = np.array([tree.random_state for tree in trees], dtype=np.uint64)
        self._set_grown(Trees.concatenate([tree._trees for tree in trees]), seeds)

    def _read_trees(self) -> list[Any]:
        # the weights of the classes are in the values of the nodes already
        names = set(self._allowed) & set(self._tree_class._allowed) - {"class_weight", "random_state"}
        params = {name: getattr(self, name) for name in names}
        trees = self._trees
        attributes: dict[str, Any] = {"n_features_in_": self.n_features_in_, "n_outputs_": 1}
        attributes["max_features_"] = self._split(1, self.n_features_in_, 0).max_features
        if is_classifier(self):
            # as in scikit-learn, a tree knows the classes by their numbers
            attributes |= {
                "classes_": np.arange(trees.n_classes, dtype=np.float64),
                "n_classes_": trees.n_classes,
            }
        read = []
        for t, seed in enumerate(self._seeds):
            tree = self._tree_class(**params, random_state=int(seed))
            vars(tree).update(attributes)
            tree._set_grown(trees.slice(t, t + 1), self._seeds[t : t + 1])
            read.append(tree)
        return read

    @property
    def estimator(self) -> Any:
        """An unfitted tree of the kind that the forest grows."""
        return self._tree_class()

    @property
    def estimator_(self) -> Any:
        """As `estimator`, of a fitted forest."""
        check_is_fitted(self)
        return clone(self.estimator)

    def __len__(self) -> int:
        return len(self.estimators_)

    def __getitem__(self, index: Any) -> Any:
        return self.estimators_[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.estimators_)

    # -- reading rows ----------------------------------------------------------------------------------------

    def apply(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the leaf of every row in every tree.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        ndarray of int64, shape (n_samples, n_estimators)
            Numbers of nodes of each ``estimators_[t].tree_``.
        """
        return self._leaves(X)

    def decision_path(self, X: ArrayLike) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
        """Return which nodes every row passes in every tree.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, read as float32; NaN is a missing value.

        Returns
        -------
        indicator : csr_matrix of shape (n_samples, n_nodes)
            1 where a row passes a node; the nodes of all trees side by side.
        n_nodes_ptr : ndarray of int64, shape (n_estimators + 1,)
            The columns of tree t are ``n_nodes_ptr[t]`` to ``n_nodes_ptr[t + 1] - 1``.
        """
        return self._decision_path(X)

    def to_sklearn(self) -> Any:
        """Return a fitted forest of scikit-learn that predicts the same, to the bit.

        Returns
        -------
        sklearn.ensemble.RandomForestClassifier or sklearn.ensemble.RandomForestRegressor
            With ``n_jobs=None``, so that it adds the trees in their order; it has no ``estimators_samples_``,
            because scikit-learn would draw other rows.
        """
        check_is_fitted(self)
        return forest_to_sklearn(self)
