"""Linear support vector classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpcml import blas, communicators
from hpcml.communicators import Table
from hpcml.linear_model.classifier import LinearClassifier
from hpcml.linear_model.linear_grid import GridRows
from hpcml.svm.base import ALLOWED, LinearModel
from hpcml.training.classes import class_factors, encoded, factors_of, total_weight
from hpcml.training.crammer_singer import CrammerSingerPasses
from hpcml.training.grids import hashable
from hpcml.training.interior_point import Hinges, interior_point
from hpcml.training.linear_grid import Folds
from hpcml.validation import NONE, UnsupportedError, check_parameters, instance, one_of

__all__ = ["LinearSVC"]

Floats = NDArray[np.float64]

#: Coefficients up to which all classes at once are solved.
MOST_COEFFICIENTS = 2000

_ALLOWED = {
    "penalty": (one_of("l1", "l2"),),
    "loss": (one_of("hinge", "squared_hinge"),),
    "multi_class": (one_of("ovr", "crammer_singer"),),
    "class_weight": (NONE, instance(dict), one_of("balanced")),
}


def _times_factors(factors: Floats, y: Floats, given: Floats | None = None) -> dict[str, Floats]:
    found = factors[y.astype(np.intp)]
    return {"weights": found if given is None else found * given}


class LinearSVC(LinearClassifier, LinearModel):
    """Linear support vector classification.

    Minimises ``penalty(w) + C * sum(sample_weight * class_weight * loss)`` for every class against the rest,
    where the loss of a row is ``max(0, 1 - margin)`` or its square, and the penalty is ``|w|^2 / 2`` or the
    sum of absolute values. ``w`` includes the coefficient of a feature that is always `intercept_scaling`.

    Parameters
    ----------
    penalty : {'l1', 'l2'}, default='l2'
        The penalty; 'l1', which makes coefficients 0, goes with the squared hinge alone.
    loss : {'hinge', 'squared_hinge'}, default='squared_hinge'
        The loss of a row.
    dual : bool or 'auto', default='auto'
        Accepted as in scikit-learn, also which combinations are refused. It does not change the method: that
        is Newton's for the squared hinge, and an interior-point method for the hinge.
    tol : float, default=1e-4
        Under 'squared_hinge' the gradient falls to `tol` / 100 of its size where all coefficients are 0;
        under 'hinge' the gap between the primal and the dual objective falls to `tol` / 100,000, relative to
        them.
    C : float, default=1.0
        Weight of the losses beside the penalty.
    multi_class : {'ovr', 'crammer_singer'}, default='ovr'
        Each class against the rest; or all at once [4]_, where the loss of a row is by how much the margin of
        its class fails to exceed all others by 1, `penalty`, `loss` and `dual` are ignored, and the method is
        that of the hinge, written in NumPy.
    fit_intercept : bool, default=True
        Whether to fit an intercept; else it is 0.
    intercept_scaling : float, default=1.0
        The intercept is penalised as a coefficient of the size ``intercept_ / intercept_scaling``.
    class_weight : dict or 'balanced', default=None
        Factors of the weights of rows by class; 'balanced' gives all classes the same weight. With more than
        two classes, the rows of a class have its factor where it is fitted against the rest, and those of the
        rest have none, as in scikit-learn.
    verbose : int, default=0
        Above 0, every iteration is told on stderr.
    random_state : int, RandomState instance or None, default=None
        Accepted as in scikit-learn; both methods are deterministic and draw nothing.
    max_iter : int, default=1000
        Most iterations for a class.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the features: one row for two classes, else one for each.
    intercept_ : ndarray of shape (1,) or (n_classes,), or float
        Intercepts; 0.0 without `fit_intercept`.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, sorted.
    n_iter_ : int
        Most iterations that a class took.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    See Also
    --------
    LinearSVR : The regressor.

    Notes
    -----
    'hinge' takes up to 2,000 features, 'crammer_singer' that many coefficients. Their method is [1]_ with the
    corrections of [2]_. The squared hinge is minimised by Newton's method with its generalised Hessian [3]_.

    References
    ----------
    .. [1] M. C. Ferris, T. S. Munson, "Interior-point methods for massive support vector machines", SIAM
       Journal on Optimization 13 (2002), 783-804.
    .. [2] S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM Journal on
       Optimization 2 (1992), 575-601.
    .. [3] S. S. Keerthi, D. DeCoste, "A modified finite Newton method for fast solution of large scale linear
       SVMs", Journal of Machine Learning Research 6 (2005), 341-361.
    .. [4] K. Crammer, Y. Singer, "On the algorithmic implementation of multiclass kernel-based vector
       machines", Journal of Machine Learning Research 2 (2001), 265-292.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from hpcml.svm import LinearSVC
    >>> X, y = make_classification(n_features=4, random_state=0)
    >>> model = LinearSVC().fit(X, y)
    >>> model.predict([[0.0, 0.0, 0.0, 0.0]])
    array([1])
    """

    penalty: str
    multi_class: str
    class_weight: Any

    def __init__(
        self,
        penalty: str = "l2",
        loss: str = "squared_hinge",
        *,
        dual: Any = "auto",
        tol: float = 1e-4,
        C: float = 1.0,
        multi_class: str = "ovr",
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        max_iter: int = 1000,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.dual = dual
        self.tol = tol
        self.C = C
        self.multi_class = multi_class
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.verbose = verbose
        self.random_state = random_state
        self.max_iter = max_iter

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearSVC:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; float32 and float64 are kept.
        y : array-like of shape (n_samples,)
            Labels of the rows, of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, at least 0; by default all 1.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table, the labels or the weights are not allowed.
        """
        with communicators.current() as communicator, blas.one_thread():
            rows, labels, weights = self._checked(X, y, sample_weight, _ALLOWED)
            classes, codes = encoded(communicator, labels)
            if len(classes) < 2:
                raise ValueError(
                    "This solver needs samples of at least 2 classes in the data, but the data contains only "
                    f"one class: {classes[0]!r}"
                )
            n_features = rows.shape[1]
            with communicator.put(X=rows, y=codes, given=weights, weights=weights) as table:
                total_weight(table, weights is not None)
                factors = class_factors(table, self.class_weight, classes)
                if self.multi_class == "crammer_singer":
                    self._check_classes(len(classes), n_features)
                    fit = self._fit_crammer_singer
                else:
                    self._check_combination(self.penalty, table.n_rows, n_features)
                    self._check_width(n_features)
                    fit = self._fit_hinge if self.loss == "hinge" else self._fit_squared_hinge
                fit(table, rows, weights is not None, factors, len(classes))
            self.classes_ = classes
        return self

    # -- grids -----------------------------------------------------------------------------------------------

    _grid_classes = True

    def _grid_key(self) -> tuple[Any, ...]:
        check_parameters(type(self).__name__, self.get_params(deep=False), ALLOWED | _ALLOWED)
        if self.multi_class != "ovr":
            raise UnsupportedError(
                "The 'multi_class' parameter of LinearSVC must be 'ovr' for models to step together. "
                f"Got {self.multi_class!r} instead, of which each model takes all the time of its passes."
            )
        self._check_shared(self.penalty)
        return self.loss, self.penalty, bool(self.fit_intercept), hashable(self.class_weight)

    def _fit_together(
        self, rows: GridRows, models: Sequence[Any], folds: Folds
    ) -> dict[tuple[int, int], Any]:
        assert rows.classes is not None
        K = len(rows.classes)
        positive = np.ones(1) if K == 2 else np.arange(K, dtype=np.float64)
        of_folds = [factors_of(self.class_weight, rows.classes, sums) for sums in folds.sums]
        if self._is_hinge:
            fitted = self._hinges_together(rows, models, folds, lambda j, C: self._hinges(C, of_folds[j], K))
        else:
            factors = None
            if of_folds[0] is not None:  # more than two classes: the rest has weights of 1
                own = np.array(of_folds)[:, np.newaxis]
                factors = own if K == 2 else np.where(np.eye(K, dtype=bool), own, 1.0)
            fitted = self._minimised_together(rows, models, folds, self.penalty, positive, factors)
        for model in fitted.values():
            model.classes_ = rows.classes
        return fitted

    # -- parts of a fit --------------------------------------------------------------------------------------

    def _check_classes(self, n_classes: int, n_features: int) -> None:
        if n_classes * (n_features + 1) > MOST_COEFFICIENTS:
            raise UnsupportedError(
                "The 'multi_class' parameter of LinearSVC must be 'ovr' for more than "
                f"{MOST_COEFFICIENTS} coefficients. Got 'crammer_singer', {n_classes} classes and "
                f"{n_features} features instead, which hpcml does not support; scikit-learn's estimator of "
                "the same name does."
            )

    def _fit_crammer_singer(
        self, table: Table, rows: Any, weighted: bool, factors: Floats | None, n_classes: int
    ) -> None:
        if factors is not None:
            table.map_rows(_times_factors, factors=factors)
        penalty = np.tile(self._penalty(rows.shape[1], np.inf), n_classes)
        passes = CrammerSingerPasses(table, n_classes, float(self.C))
        (found,) = interior_point(passes, penalty[np.newaxis], [self._limit()], verbose=int(self.verbose))
        W = found.coef.reshape(n_classes, -1)
        W = W[1:] - W[:1] if n_classes == 2 else W
        self._set_fitted(W, [found.n_iter], [found.converged])

    def _fit_hinge(
        self, table: Table, rows: Any, weighted: bool, factors: Floats | None, n_classes: int
    ) -> None:
        self._fit_hinges(table, self._hinges([float(self.C)], factors, n_classes), rows.shape[1])

    def _hinges(self, C: Sequence[float], factors: Floats | None, n_classes: int) -> Hinges:
        """Return the hinges of every class against the rest, for one strength after the other."""
        factor = np.ones(n_classes) if factors is None else factors
        own, others = (factor[1:], factor[:1]) if n_classes == 2 else (factor, np.ones(n_classes))
        positive = np.arange(n_classes - len(own), n_classes, dtype=np.float64)
        return Hinges(
            "hinge", np.outer(C, own).ravel(), np.outer(C, others).ravel(), np.tile(positive, len(C))
        )

    def _fit_squared_hinge(
        self, table: Table, rows: Any, weighted: bool, factors: Floats | None, n_classes: int
    ) -> None:
        positive = np.ones(1) if n_classes == 2 else np.arange(n_classes, dtype=np.float64)
        if factors is None:
            self._set_fitted(*self._minimised(table, rows, weighted, self.penalty, positive))
            return
        # more than two classes: each has weights of its own
        parameters, n_iter, converged = [], [], []
        for k in positive:
            own = factors if n_classes == 2 else np.where(np.arange(n_classes) == k, factors, 1.0)
            table.map_rows(_times_factors, factors=own)
            found = self._minimised(table, rows, True, self.penalty, np.array([k]))
            parameters.append(found[0])
            n_iter += found[1]
            converged += found[2]
        self._set_fitted(np.concatenate(parameters), n_iter, converged)
