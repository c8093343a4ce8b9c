"""Logistic regression."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators
from hpcml.communicators import Communicator, Table
from hpcml.counterparts import ToSklearnMixin
from hpcml.linear_model.callbacks import Iterations
from hpcml.linear_model.classifier import LinearClassifier
from hpcml.linear_model.linear_grid import GridRows, SharedPasses
from hpcml.linear_model.penalty import resolved_penalty
from hpcml.training.classes import encoded, factors_of, total_weight, weigh_classes
from hpcml.training.grids import hashable
from hpcml.training.inputs import FLOATS, NO_WEIGHT, as_rows, checked_weights, validate_data
from hpcml.training.linear_grid import Folds, minimise_together, problems_of
from hpcml.training.linear_objective import Objective, origin_of
from hpcml.training.newton import OVERFLOWED, minimise
from hpcml.validation import (
    BOOLEAN,
    NONE,
    RANDOM_STATE,
    VERBOSE,
    Allowed,
    check_parameters,
    has_callbacks,
    instance,
    integer,
    one_of,
    real,
)

__all__ = ["LogisticRegression"]

Floats = NDArray[np.float64]

SOLVERS = ("lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga")
#: Solvers whose code in scikit-learn has 32-bit indices; they refuse sparse tables with longer ones.
_SHORT_INDICES = ("liblinear", "sag", "saga")
#: Largest value that liblinear's users may have in a table.
_LIBLINEAR_MOST = 1e30

_NOT_CONVERGED = {
    "lbfgs": "lbfgs failed to converge after {n_iter} iteration(s). Increase the number of iterations to "
    "improve the convergence (max_iter={max_iter}).",
    "newton-cg": "newton-cg failed to converge after {n_iter} iteration(s). Increase the number of "
    "iterations.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations. Increase their number.",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge",
}
_NOT_CONVERGED["saga"] = _NOT_CONVERGED["sag"]
_ADVICE = (
    " You might also want to scale the data. hpcml computes with the method that "
    "hpcml.linear_model.LogisticRegression documents, whatever `solver` is."
)


def _attributes(
    parameters: NDArray[np.float64], K: int, dtype: np.dtype, origin: NDArray[np.float64] | None
) -> dict[str, NDArray[Any]]:
    """Return ``coef_`` and ``intercept_``; the intercepts make up for the rounding of coefficients."""
    W = parameters.reshape(K, -1)
    coef, intercept = W[:, :-1].astype(dtype), W[:, -1]
    if origin is not None:
        intercept = intercept + (W[:, :-1] - coef) @ origin
    return {"coef_": coef, "intercept_": intercept.astype(dtype)}


def _probabilities(margins: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities of classes."""
    if margins.ndim > 1:
        return np.asarray(softmax(margins, axis=1))
    second = expit(margins)
    return np.stack([1.0 - second, second], axis=1)


class LogisticRegression(SharedPasses, ToSklearnMixin, CallbackSupportMixin, LinearClassifier):
    """Logistic regression: classes by the linear model of their log-odds.

    Minimises ``C * sum_i s_i l(y_i, x_i) + (1 - l1_ratio) / 2 ||w||^2 + l1_ratio ||w||_1``, where l is the
    negative log-likelihood, binary or multinomial, and s the weight of a row. The intercept is not penalised,
    but with ``solver="liblinear"``.

    Parameters
    ----------
    penalty : {'l1', 'l2', 'elasticnet', None}, default='deprecated'
        Deprecated: `l1_ratio` says it, and ``C=np.inf`` is no penalty.
    C : float, default=1.0
        Inverse strength of the penalty; ``np.inf`` is none.
    l1_ratio : float, default=0.0
        Share of the l1 penalty, from 0 (l2 alone) to 1 (l1 alone).
    dual : bool, default=False
        Accepted as scikit-learn does, with ``solver="liblinear"`` and an l2 penalty; the optimum is the same.
    tol : float, default=1e-4
        A fit is done when no entry of the gradient of the objective divided by ``C * sum_i s_i`` is larger.
    fit_intercept : bool, default=True
        Whether the model has an intercept.
    intercept_scaling : float, default=1
        With ``solver="liblinear"``, ``intercept_ / intercept_scaling`` is penalised like a coefficient.
    class_weight : dict, 'balanced' or None, default=None
        Weights of the classes by label; 'balanced' gives all classes the same weight.
    random_state : int, RandomState instance or None, default=None
        Nothing is random here.
    solver : {'lbfgs', 'liblinear', 'newton-cg', 'newton-cholesky', 'sag', 'saga'}, default='lbfgs'
        Decides what scikit-learn lets it decide about the problem, not how it is solved; see Notes.
        'liblinear' is for two classes, penalises the intercept and gives float64 coefficients; an l1 penalty
        needs 'liblinear' or 'saga', a mixed one 'saga'.
    max_iter : int, default=100
        Most iterations; after them a `ConvergenceWarning` is issued.
    verbose : int, default=0
        Above 0, every iteration tells on stderr its largest entry of the gradient.
    warm_start : bool, default=False
        Whether a fit starts from the coefficients of the last one; not with 'liblinear'.
    n_jobs : int or None, default=None
        Deprecated: `hpcml.config_context` has the number of threads.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros without `fit_intercept`.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.
    n_iter_ : ndarray of shape (1,)
        Iterations over all rows.

    Notes
    -----
    Every solver runs the same method, which the size of the problem decides:

    * up to 512 parameters (coefficients and intercepts of all classes), 1,024 for few rows, and rows not many
      times more than that: damped Newton steps with the exact Hessian; under an l1 penalty proximal Newton
      steps [1]_, for any number of rows.
    * more rows: the same on a sample of them, at equal distances in the table; from its optimum L-BFGS steps
      over all rows [2]_, preconditioned with the Hessian of the sample.
    * more parameters: L-BFGS steps, preconditioned with the Hessian of every class or with its diagonal;
      under an l1 penalty orthant-wise ones [3]_.

    Where the gradient is as small as `tol` asks but the minimum is estimated to be further below than some
    1e-8 of the objective (1e-7 for many parameters), up to 20 further iterations are made, 6 where it shows
    that 20 would not get there. Sparse rows stay sparse. The margins of float32 rows are computed in float32,
    all sums in float64.

    References
    ----------
    .. [1] J. D. Lee, Y. Sun, M. A. Saunders, "Proximal Newton-type methods for minimizing composite
       functions", SIAM Journal on Optimization 24 (2014), 1420-1443.
    .. [2] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization",
       Mathematical Programming 45 (1989), 503-528.
    .. [3] G. Andrew, J. Gao, "Scalable training of l1-regularized log-linear models", ICML 2007.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression().fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> round(model.score(X, y), 2)
    0.97
    """

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "penalty": (one_of("l1", "l2", "elasticnet", "deprecated"), NONE),
        "C": (real(0.0, closed="right"),),
        "l1_ratio": (real(0.0, 1.0, closed="both"), NONE),
        "dual": (BOOLEAN,),
        "tol": (real(0.0),),
        "fit_intercept": (BOOLEAN,),
        "intercept_scaling": (real(0.0, closed="neither"),),
        "class_weight": (instance(dict), one_of("balanced"), NONE),
        "random_state": (RANDOM_STATE,),
        "solver": (one_of(*SOLVERS),),
        "max_iter": (integer(0),),
        "verbose": (VERBOSE,),
        "warm_start": (BOOLEAN,),
        "n_jobs": (integer(), NONE),
    }

    n_iter_: NDArray[np.int32]

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
        solver: str = "lbfgs",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.solver == "liblinear":
            tags.classifier_tags.multi_class = False
        return tags

    # -- fitting ---------------------------------------------------------------------------------------------

    def set_callbacks(self, *callbacks: Any) -> LogisticRegression:
        """Set callbacks (`sklearn.callback`) that are told about every iteration, with ``solver="lbfgs"``.

        Parameters
        ----------
        *callbacks : object
            Instances that follow scikit-learn's ``FitCallback`` protocol.

        Returns
        -------
        self

        Warns
        -----
        UserWarning
            If `solver` is another one; then they are told about the fit as a whole.
        """
        if self.solver != "lbfgs":
            warnings.warn(
                f"Callbacks are only supported in {type(self).__name__} for solver='lbfgs'. This estimator "
                f"has solver='{self.solver}', callbacks will be ignored during the solving of the "
                "regression.",
                UserWarning,
                stacklevel=2,
            )
        super().set_callbacks(*callbacks)
        return self

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LogisticRegression:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; float32 stays float32.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table, the labels or the weights are not allowed.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` iterations are not enough.
        """
        with communicators.current() as communicator, blas.one_thread():
            self._fit(communicator, X, y, sample_weight)
        return self

    def _fit(self, communicator: Communicator, X: Any, y: Any, sample_weight: Any) -> None:
        check_parameters(type(self).__name__, self.get_params(deep=False), self._allowed)
        penalty = resolved_penalty(self)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=FLOATS,
            order="C",
            accept_large_sparse=self.solver not in _SHORT_INDICES,
            ensure_min_samples=communicators.least_rows(),
        )
        weights = checked_weights(sample_weight, X.shape[0], negative=False)
        classes, codes = encoded(communicator, y)
        self._check_classes(classes, X)
        self.classes_ = classes
        K = 1 if len(classes) == 2 else len(classes)
        dtype = np.dtype(np.float64 if self.solver == "liblinear" else X.dtype)
        warm = self._start(K, X.shape[1])
        start = np.zeros((K, X.shape[1] + 1)) if warm is None else warm
        # the hook that scikit-learn documents for subclasses of this mixin
        context = self._init_callback_context(max_subtasks=max(self.max_iter, 1) + 1)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        data = {"X": X, "y": y, "metadata": metadata}
        context.call_on_fit_task_begin(estimator=self, **data)
        told = None
        if self.solver == "lbfgs" and has_callbacks(self):
            told = Iterations(context, self, data, lambda P: _attributes(P, K, dtype, None), start)

        def on_step(n_iter: int, parameters: NDArray[np.float64], largest: float) -> None:
            if told is not None:
                told.step(parameters)
            if self.verbose:
                print(f"iteration {n_iter}: largest entry of the gradient {largest:.3g}", file=sys.stderr)

        with communicator.put(X=as_rows(X), y=codes, weights=weights) as table:
            weights = weigh_classes(table, self.class_weight, classes, codes, weights)
            total = total_weight(table, weights is not None)
            l2, l1 = (part.reshape(1, -1) for part in penalty.strengths(K, X.shape[1], total))
            objective = self._objective(table, X, K, l2, l1, total, weighted=weights is not None)
            found = minimise(
                objective,
                start,
                self.tol,
                self.max_iter,
                None if told is None and not self.verbose else on_step,
                warm=warm is not None,
            )
        if told is not None:
            told.end(found.parameters)
        self._set_fitted(found.parameters, K, found.n_iter, dtype, objective.origin)
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **data)
        self._warn_unless(bool(found.converged.all()), bool(found.overflowed.any()), 4)

    def _objective(
        self, table: Table, X: Any, K: int, l2: Floats, l1: Floats, totals: Any, **given: Any
    ) -> Objective:
        """Return the objective of problems with their penalties and weights, and what else is given."""
        return Objective(
            table,
            loss="logistic" if K == 1 else "multinomial",
            scale=1.0 / totals,
            l2=l2,
            l1=l1,
            positive=np.ones(len(l2)),
            total_weight=totals,
            itemsize=X.dtype.itemsize,
            fit_intercept=self.fit_intercept,
            classes=K,
            origin=None if l1[:, X.shape[1]].any() else origin_of(table, X.shape[1]),
            **given,
        )

    def _set_fitted(
        self, parameters: Floats, K: int, n_iter: NDArray[np.int64], dtype: np.dtype, origin: Floats | None
    ) -> None:
        self.__dict__.update(_attributes(parameters, K, dtype, origin))
        self._origin = origin
        self.n_iter_ = n_iter.astype(np.int32)

    def _warn_unless(self, converged: bool, overflowed: bool, stacklevel: int) -> None:
        if converged:
            return
        text = _NOT_CONVERGED[self.solver].format(n_iter=self.n_iter_[0], max_iter=self.max_iter)
        text += OVERFLOWED if overflowed else ""
        warnings.warn(text + _ADVICE, ConvergenceWarning, stacklevel=stacklevel + 1)

    def _check_classes(self, classes: NDArray[Any], X: Any) -> None:
        if self.solver == "liblinear":
            if len(classes) > 2:
                raise ValueError(
                    "The 'liblinear' solver does not support multiclass classification (n_classes >= 3). "
                    "Either use another solver or wrap the estimator in a OneVsRestClassifier to keep "
                    "applying a one-versus-rest scheme. Only binary classification is supported. The type of "
                    "the target is multiclass."
                )
            if X.shape[0] and X.max() > _LIBLINEAR_MOST:
                raise ValueError(
                    "Using the 'liblinear' solver while X contains a maximum value > 1e30 results in a "
                    "frozen fit. Please choose another solver or rescale the input X."
                )
        if len(classes) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data contains only one "
                f"class: {classes[0]!r}"
            )

    # -- grids -----------------------------------------------------------------------------------------------

    _grid_classes = True

    @property
    def _grid_validation(self) -> dict[str, Any]:
        return {"accept_large_sparse": self.solver not in _SHORT_INDICES}

    def _grid_key(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in self._allowed}
        check_parameters(type(self).__name__, values, self._allowed)
        penalty = resolved_penalty(self)
        kind = self.solver == "liblinear", self.solver in _SHORT_INDICES, penalty.l1_ratio > 0
        return *kind, bool(self.fit_intercept), hashable(self.class_weight)

    def _fit_together(
        self, rows: GridRows, models: Sequence[Any], folds: Folds
    ) -> dict[tuple[int, int], Any]:
        assert rows.classes is not None
        self._check_classes(rows.classes, rows.X)
        K, d = 1 if len(rows.classes) == 2 else len(rows.classes), rows.X.shape[1]
        dtype = np.dtype(np.float64 if self.solver == "liblinear" else rows.X.dtype)
        of_folds = [factors_of(self.class_weight, rows.classes, sums) for sums in folds.sums]
        factors = None if of_folds[0] is None else np.array(of_folds)
        ones = np.ones(folds.sums.shape) if factors is None else factors
        totals, whole = (folds.sums * ones).sum(axis=1), ones @ folds.whole
        if not (totals > 0).all():
            raise ValueError(NO_WEIGHT)
        candidate, fold, _ = problems_of(len(models), len(folds.numbers))
        penalties = [resolved_penalty(model) for model in models]
        pairs = list(zip(candidate.tolist(), fold.tolist(), strict=True))
        strengths = [penalties[i].strengths(K, d, totals[j]) for i, j in pairs]
        l2, l1 = (np.array([part[which] for part in strengths]).reshape(len(pairs), -1) for which in (0, 1))
        tol = np.array([float(model.tol) for model in models])[candidate]
        max_iter = np.array([int(model.max_iter) for model in models])[candidate]
        objective = self._objective(
            rows.table,
            rows.X,
            K,
            l2,
            l1,
            totals[fold],
            weighted=rows.weighted,
            folds=folds.bits[fold],
            factors=None if factors is None else factors[fold],
            alike=candidate,
            whole_weight=whole[fold],
            dense=not sparse.issparse(rows.X),
        )
        found = minimise_together(objective, tol, max_iter, candidate)
        fitted = {}
        parameters = [dict(vars(model)) for model in models]  # nothing else yet, and quickly found
        for p, (i, j) in enumerate(pairs):
            model = type(self)(**parameters[i])
            model.classes_ = rows.classes
            model._set_fitted(found.parameters[p], K, found.n_iter[p : p + 1], dtype, objective.origin)
            model._warn_unless(bool(found.converged[p]), bool(found.overflowed[p]), 3)
            fitted[i, j] = model
        return fitted

    def _response_of(self, name: str, margins: NDArray[Any]) -> NDArray[Any]:
        if name == "predict_proba":
            return _probabilities(margins)
        return super()._response_of(name, margins)

    def _start(self, K: int, n_features: int) -> NDArray[np.float64] | None:
        """Return the coefficients of the last fit, where this one starts from them."""
        if not self.warm_start or self.solver == "liblinear" or not hasattr(self, "coef_"):
            return None
        coef = self.coef_.toarray() if sparse.issparse(self.coef_) else self.coef_
        if coef.shape != (K, n_features):
            raise ValueError(
                f"Initialization coef is of shape {coef.shape}, expected shape {(K, n_features)}: under "
                "warm_start=True the classes and features must be those of the last fit."
            )
        intercept = self.intercept_ if self.fit_intercept else np.zeros(K)
        return np.column_stack([coef, intercept]).astype(np.float64)

    # -- prediction ------------------------------------------------------------------------------------------

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return _probabilities(self.decision_function(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return np.log(self.predict_proba(X))
