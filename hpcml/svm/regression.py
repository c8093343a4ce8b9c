"""Linear support vector regression."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators
from hpcml.linear_model.classifier import margins_of
from hpcml.linear_model.linear_grid import GridRows
from hpcml.svm.base import ALLOWED, LinearModel
from hpcml.training.classes import total_weight
from hpcml.training.inputs import validate_data
from hpcml.training.interior_point import Hinges
from hpcml.training.linear_grid import Folds
from hpcml.validation import UnsupportedError, check_parameters, instance, one_of

__all__ = ["LinearSVR"]

_ALLOWED = {
    "epsilon": (instance(numbers.Real),),
    "loss": (one_of("epsilon_insensitive", "squared_epsilon_insensitive"),),
}


class LinearSVR(RegressorMixin, LinearModel):
    """Linear support vector regression.

    Minimises ``|w|^2 / 2 + C * sum(sample_weight * loss)`` where the loss of a row is how far its prediction
    lies outside a tube of half width `epsilon` about the target, or the square of that. ``w`` includes the
    coefficient of a feature that is always `intercept_scaling`.

    Parameters
    ----------
    epsilon : float, default=0.0
        Half width of the tube in which the loss is 0, at least 0, in units of the target.
    tol : float, default=1e-4
        Under 'epsilon_insensitive' the gap between the primal and the dual objective falls to `tol` /
        100,000, relative to them; under 'squared_epsilon_insensitive' the gradient falls to `tol` / 100 of
        its size where all coefficients are 0.
    C : float, default=1.0
        Weight of the losses beside the penalty.
    loss : {'epsilon_insensitive', 'squared_epsilon_insensitive'}, default='epsilon_insensitive'
        The distance from the tube, or its square.
    fit_intercept : bool, default=True
        Whether to fit an intercept; else it is 0.
    intercept_scaling : float, default=1.0
        The intercept is penalised as ``(intercept_ / intercept_scaling) ** 2 / 2``.
    dual : bool or 'auto', default='auto'
        Accepted as in scikit-learn, also which combinations are refused. It does not change the method: that
        is Newton's for the squared loss, and an interior-point method for the other.
    verbose : int, default=0
        Above 0, every iteration is told on stderr.
    random_state : int, RandomState instance or None, default=None
        Accepted as in scikit-learn; both methods are deterministic and draw nothing.
    max_iter : int, default=1000
        Most iterations.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients of the features.
    intercept_ : ndarray of shape (1,) or float
        The intercept; 0.0 without `fit_intercept`.
    n_iter_ : int
        Iterations that were taken.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    See Also
    --------
    LinearSVC : The classifier.

    Notes
    -----
    'epsilon_insensitive' takes up to 2,000 features. The method is [1]_ with the corrections of [2]_; the
    squared loss is minimised by Newton's method with its generalised Hessian.

    References
    ----------
    .. [1] M. C. Ferris, T. S. Munson, "Interior-point methods for massive support vector machines", SIAM
       Journal on Optimization 13 (2002), 783-804.
    .. [2] S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM Journal on
       Optimization 2 (1992), 575-601.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.svm import LinearSVR
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> model = LinearSVR(C=10.0).fit(X, 2.0 * X[:, 0] + 1.0)
    >>> model.predict([[20.0]]).round(2)
    array([41.])
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.0,
        tol: float = 1e-4,
        C: float = 1.0,
        loss: str = "epsilon_insensitive",
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        dual: Any = "auto",
        verbose: int = 0,
        random_state: Any = None,
        max_iter: int = 1000,
    ) -> None:
        self.epsilon = epsilon
        self.tol = tol
        self.C = C
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.dual = dual
        self.verbose = verbose
        self.random_state = random_state
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearSVR:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; float32 and float64 are kept.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, at least 0; by default all 1.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table, the target or the weights are not allowed.
        """
        with communicators.current() as communicator, blas.one_thread():
            rows, y, weights = self._checked(X, y, sample_weight, _ALLOWED)
            self._check_epsilon()
            n_features = rows.shape[1]
            y = np.ascontiguousarray(y, dtype=np.float64)
            with communicator.put(X=rows, y=y, weights=weights) as table:
                self._check_combination("l2", table.n_rows, n_features)
                self._check_width(n_features)
                total_weight(table, weights is not None)
                if self._is_hinge:
                    self._fit_hinges(table, self._hinges([float(self.C)]), n_features)
                else:
                    found = self._minimised(
                        table, rows, weights is not None, "l2", np.zeros(1), float(self.epsilon)
                    )
                    self._set_fitted(*found)
            self.coef_ = self.coef_.ravel()
        return self

    def _check_epsilon(self) -> None:
        if not 0 <= self.epsilon < np.inf:
            raise UnsupportedError(
                f"The 'epsilon' parameter of LinearSVR must be finite and at least 0. Got {self.epsilon!r} "
                "instead; a tube of such a width has no meaning."
            )

    def _hinges(self, C: Sequence[float]) -> Hinges:
        prices = np.array(C)
        return Hinges(self.loss, prices, prices, np.zeros(len(C)), float(self.epsilon))

    # -- grids -----------------------------------------------------------------------------------------------

    _grid_classes = False

    def _grid_key(self) -> tuple[Any, ...]:
        check_parameters(type(self).__name__, self.get_params(deep=False), {**ALLOWED, **_ALLOWED})
        self._check_epsilon()
        self._check_shared("l2")
        return self.loss, bool(self.fit_intercept), float(self.epsilon)

    def _fit_together(
        self, rows: GridRows, models: Sequence[Any], folds: Folds
    ) -> dict[tuple[int, int], Any]:
        if self._is_hinge:
            fitted = self._hinges_together(rows, models, folds, lambda j, C: self._hinges(C))
        else:
            epsilon = float(self.epsilon)
            fitted = self._minimised_together(rows, models, folds, "l2", np.zeros(1), epsilon=epsilon)
        for model in fitted.values():
            model.coef_ = model.coef_.ravel()
        return fitted

    def _response_of(self, name: str, margins: NDArray[Any]) -> NDArray[Any]:
        return margins

    # -- prediction ------------------------------------------------------------------------------------------

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the target.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        table: Any = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        coef = self.coef_[np.newaxis].astype(np.float64)
        return margins_of(table, coef, self.intercept_, getattr(self, "_origin", None))[:, 0]
