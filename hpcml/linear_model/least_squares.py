"""Linear regression, with and without a penalty on the squared coefficients."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators, config
from hpcml.communicators import Table
from hpcml.counterparts import ToSklearnMixin
from hpcml.kernels import lookup
from hpcml.linear_model.least_squares_grid import SPARSE_FORMATS, Rows, SharedLeastSquares
from hpcml.training import least_squares as methods
from hpcml.training.conjugate_gradients import by_conjugate_gradients
from hpcml.training.inputs import FLOATS, as_rows, check_weight, validate_data
from hpcml.training.least_squares import Fit
from hpcml.training.least_squares_grid import GramFit, GramSolver, NotShared
from hpcml.training.nonnegative import by_active_set, by_lbfgs
from hpcml.validation import (
    BOOLEAN,
    NONE,
    RANDOM_STATE,
    Allowed,
    UnsupportedError,
    check_parameters,
    integer,
    one_of,
    real,
)

__all__ = ["LinearRegression", "Ridge"]

#: A sparse table of up to so many features has a Gram matrix, which gives the exact solution in one pass.
SPARSE_GRAM_FEATURES = 1024
#: Iterations of conjugate gradients, where nothing else is asked for: so many for a feature, or so many.
ITERATIONS_OF_A_FEATURE = 10
LEAST_ITERATIONS = 1000


class LeastSquares(SharedLeastSquares, ToSklearnMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the two estimators: validation, intercept, prediction."""

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {}

    fit_intercept: bool
    coef_: NDArray[Any]
    intercept_: Any

    def _accepted_sparse(self) -> Any:
        """Return the sparse formats that `fit` takes."""
        return SPARSE_FORMATS

    def _check_parameters(self) -> None:
        check_parameters(type(self).__name__, self.get_params(deep=False), self._allowed)

    def _solved(self, table: Table, rows: Rows) -> Fit:
        """Return the coefficients; `table` has the rows of all ranks, `rows` are this one's."""
        raise NotImplementedError

    def _threads(self) -> Any:
        """Return the context within which fits use their number of threads."""
        return contextlib.nullcontext()

    def _check_shared(self) -> None:
        """Raise if no grid can share the work of such a fit."""

    def _from_gram(self, solver: GramSolver, n_targets: int, is_sparse: bool) -> GramFit:
        """Return the coefficients of a Gram matrix; raise if the rows must be asked."""
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; sparse ones are never made dense.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the rows, not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table, the targets or the weights are not allowed.
        """
        with communicators.current() as communicator, blas.one_thread():
            self._check_parameters()
            rows = Rows.of(self, X, y, sample_weight, self._accepted_sparse())
            check_weight(communicator, rows.weights)
            with (
                self._threads(),
                communicator.put(X=rows.X, y=rows.columns, weights=rows.weights) as table,
            ):
                found = self._solved(table, rows)
        self._keep(found, rows.y.ndim, rows.X.dtype)
        return self

    def _keep(self, found: Fit, y_ndim: int, dtype: np.dtype) -> None:
        intercept = (found.y_mean - found.mean @ found.W).astype(dtype)
        self.coef_ = np.ascontiguousarray(found.W.T.astype(dtype))
        if y_ndim == 1:
            self.coef_ = self.coef_[0]
        self.intercept_ = (intercept if y_ndim == 2 else intercept[0]) if self.fit_intercept else 0.0

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        rows: Any = validate_data(self, X, accept_sparse=SPARSE_FORMATS, dtype=FLOATS, reset=False)
        W = np.ascontiguousarray(np.atleast_2d(self.coef_).T, dtype=np.float64)
        offsets = np.broadcast_to(np.asarray(self.intercept_, dtype=np.float64), (W.shape[1],))
        found = lookup("project")(
            as_rows(rows), np.zeros(len(W)), W, np.ascontiguousarray(offsets), config.n_threads()
        )
        return found[:, 0] if self.coef_.ndim == 1 else found


class LinearRegression(LeastSquares):
    """Linear regression by least squares; of several solutions the one of least norm.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether the model has an intercept.
    copy_X : bool, default=True
        Accepted as in scikit-learn; the table is never overwritten.
    tol : float, default=1e-6
        Singular values of the centred table up to this fraction of the largest one count as 0. For sparse
        tables of more than 1,024 features, the norm of the gradient at which iterations may end, relative to
        the first one.
    n_jobs : int or None, default=None
        Threads; -1 is all cores. None is the thread budget of `hpcml.config_context`. Results do not depend
        on it.
    positive : bool, default=False
        Whether coefficients must not be negative; dense tables only.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features_in_,) or (n_targets, n_features_in_)
        Coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        Prediction of a row of zeros; 0.0 without `fit_intercept`.
    rank_ : int
        Rank of the centred table; for dense tables without `positive` only.
    singular_ : ndarray of shape (min(n_samples, n_features),)
        Its singular values; for dense tables without `positive` only.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    Dense tables of more rows than features are solved through singular values of their Gram matrix, which
    takes one pass over the rows, or up to three where they are ill-conditioned; residuals of the rows then
    correct the coefficients. Tables of no more rows than features are solved through products of rows with
    each other, of which every process holds a block at a time. Sparse tables of up to 1,024 features are
    solved through their Gram matrix, others by conjugate gradients [1]_. With `positive`, the active-set
    method of Lawson and Hanson [2]_ solves the problem that the Gram matrix stands for.

    References
    ----------
    .. [1] M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of
       Research of the National Bureau of Standards 49 (1952), 409-436.
    .. [2] C. L. Lawson, R. J. Hanson, "Solving least squares problems", Prentice-Hall 1974.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.linear_model import LinearRegression
    >>> X = np.array([[1.0, 1.0], [1.0, 2.0], [2.0, 2.0], [2.0, 3.0]])
    >>> model = LinearRegression().fit(X, X @ [1.0, 2.0] + 3.0)
    >>> model.coef_.round(6), model.intercept_.round(6)
    (array([1., 2.]), np.float64(3.0))
    """

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "fit_intercept": (BOOLEAN,),
        "copy_X": (BOOLEAN,),
        "tol": (real(0.0),),
        "n_jobs": (NONE, integer()),
        "positive": (BOOLEAN,),
    }

    rank_: int | None
    singular_: NDArray[Any]

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        positive: bool = False,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.tol = tol
        self.n_jobs = n_jobs
        self.positive = positive

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.positive
        return tags

    def _accepted_sparse(self) -> Any:
        return False if self.positive else super()._accepted_sparse()

    def _threads(self) -> Any:
        if self.n_jobs is None:
            return contextlib.nullcontext()
        return config.config_context(n_threads=config.n_threads(self.n_jobs))

    def _from_gram(self, solver: GramSolver, n_targets: int, is_sparse: bool) -> GramFit:
        if self.positive:
            if is_sparse:
                raise NotShared("positive=True takes no sparse table")
            return solver.non_negative()
        found = solver.least_squares(self.tol)
        if not is_sparse and found.fit.values is not None:
            self.rank_, self.singular_ = found.fit.rank, found.fit.values.astype(solver.dtype)
        return found

    def _solved(self, table: Table, rows: Rows) -> Fit:
        n, d, t = table.n_rows, rows.X.shape[1], rows.columns.shape[1]
        is_sparse, weighted = rows.is_sparse, rows.weights is not None
        for name in ("rank_", "singular_"):
            self.__dict__.pop(name, None)
        alpha, center, dtype = np.zeros(t), self.fit_intercept, rows.X.dtype
        if self.positive:
            return by_active_set(table, d, t, center=center, weighted=weighted, dtype=dtype)
        if is_sparse and (d > SPARSE_GRAM_FEATURES or n <= d):
            return by_conjugate_gradients(
                table, d, t, alpha, center=center, dtype=dtype, tol=self.tol, max_iter=_iterations(d)
            )[0]
        if n <= d:
            found = methods.by_rows(table, d, t, alpha, center=center, weighted=weighted, tol=self.tol)
        else:
            found = methods.by_singular_values(
                table, d, t, alpha, center=center, weighted=weighted, dtype=dtype, tol=self.tol
            )
        if not is_sparse and found.values is not None:
            self.rank_, self.singular_ = found.rank, found.values.astype(dtype)
        return found


def _iterations(n_features: int) -> int:
    return max(ITERATIONS_OF_A_FEATURE * n_features, LEAST_ITERATIONS)


_PENALTY = Allowed(
    lambda value: (
        isinstance(value, np.ndarray)
        or (not isinstance(value, str) and np.ndim(value) >= 1 and not sparse.issparse(value))
    ),
    "an array-like",
)
_INTERCEPT_SOLVERS = ("auto", "lbfgs", "lsqr", "sag", "sparse_cg")


class Ridge(LeastSquares):
    """Linear regression with a penalty on the squared coefficients.

    Minimises ``||y - X w - b||^2 + alpha ||w||^2``, weighted by `sample_weight`.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Penalty, of every target its own where it is an array. With 0, least squares; `LinearRegression`
        solves that more safely.
    fit_intercept : bool, default=True
        Whether the model has an intercept, which is not penalised.
    copy_X : bool, default=True
        Accepted as in scikit-learn; the table is never overwritten.
    max_iter : int or None, default=None
        Most iterations of 'lsqr', 'sparse_cg', 'sag', 'saga' and 'lbfgs'; None is ten times the number of
        features, 1,000 at least, and 15,000 for 'lbfgs'.
    tol : float, default=1e-4
        Norm of the gradient, relative to the first one, at which conjugate gradients may end; they go on
        while the objective still falls by 1e-8 in ten iterations. For 'lbfgs', the relative decrease of the
        objective and the largest projected gradient.
    solver : {'auto', 'svd', 'cholesky', 'lsqr', 'sparse_cg', 'sag', 'saga', 'lbfgs'}, default='auto'
        * 'cholesky': Cholesky factor of the Gram matrix; 'svd' where it has none.
        * 'svd': singular values, in one to three passes; dense tables only.
        * 'lsqr', 'sparse_cg', 'sag', 'saga': conjugate gradients on the normal equations, each iteration one
          pass; their iterates are those of LSQR, and there are no stochastic gradients.
        * 'lbfgs': L-BFGS-B, for `positive` only.
        * 'auto': 'lbfgs' with `positive`; 'sparse_cg' for sparse tables of more than 1,024 features or of no
          more rows than features; else 'cholesky'.

        Dense tables of no more rows than features are solved through products of rows with each other where
        'cholesky' or 'svd' is asked for.
    positive : bool, default=False
        Whether coefficients must not be negative.
    random_state : int, RandomState instance or None, default=None
        Accepted as in scikit-learn; nothing is drawn.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features_in_,) or (n_targets, n_features_in_)
        Coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        Prediction of a row of zeros; 0.0 without `fit_intercept`.
    n_iter_ : ndarray of int32 of shape (n_targets,) or None
        Iterations of 'lsqr', 'sag' and 'saga'; None for the other solvers.
    solver_ : str
        The solver that was used.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    References
    ----------
    * A. E. Hoerl, R. W. Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
      Technometrics 12 (1970), 55-67.
    * M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of
      Research of the National Bureau of Standards 49 (1952), 409-436.

    Examples
    --------
    >>> from hpcml.linear_model import Ridge
    >>> model = Ridge(alpha=1.0).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> model.coef_.round(4), model.solver_
    (array([1.3333]), 'cholesky')
    """

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "alpha": (real(0.0), _PENALTY),
        "fit_intercept": (BOOLEAN,),
        "copy_X": (BOOLEAN,),
        "max_iter": (integer(1), NONE),
        "tol": (real(0.0),),
        "solver": (one_of("auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"),),
        "positive": (BOOLEAN,),
        "random_state": (RANDOM_STATE,),
    }

    n_iter_: NDArray[np.int32] | None
    solver_: str

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.solver != "svd" and (
            self.solver != "cholesky" or not self.fit_intercept
        )
        return tags

    def _solved(self, table: Table, rows: Rows) -> Fit:
        n, d, t = table.n_rows, rows.X.shape[1], rows.columns.shape[1]
        is_sparse, weighted = rows.is_sparse, rows.weights is not None
        solver = self._solver(is_sparse and (d > SPARSE_GRAM_FEATURES or n <= d), is_sparse)
        alpha, center, dtype = self._penalties(t), self.fit_intercept, rows.X.dtype
        self.n_iter_, self.solver_ = None, solver
        if solver == "lbfgs":
            return by_lbfgs(table, d, t, alpha, center=center, tol=self.tol, max_iter=self.max_iter)
        if solver not in ("cholesky", "svd"):
            max_iter = _iterations(d) if self.max_iter is None else self.max_iter
            found, n_iter = by_conjugate_gradients(
                table, d, t, alpha, center=center, dtype=dtype, tol=self.tol, max_iter=max_iter
            )
            self.n_iter_ = None if solver == "sparse_cg" else n_iter
            return found
        if n <= d:
            return methods.by_rows(table, d, t, alpha, center=center, weighted=weighted, tol=0.0)
        if solver == "cholesky":
            solved = methods.by_normal_equations(table, d, t, alpha, center=center, dtype=dtype)
            if solved is not None:
                return solved
            self.solver_ = "svd"
        return methods.by_singular_values(
            table, d, t, alpha, center=center, weighted=weighted, dtype=dtype, tol=0.0
        )

    def _check_shared(self) -> None:
        if self.solver in ("lsqr", "sparse_cg", "sag", "saga"):
            raise UnsupportedError(
                f"solver must take a Gram matrix for fits to share it. Got {self.solver!r}, which iterates."
            )

    def _from_gram(self, solver: GramSolver, n_targets: int, is_sparse: bool) -> GramFit:
        self.n_iter_, self.solver_ = None, self._solver(False, is_sparse)
        alpha = self._penalties(n_targets)
        if self.solver_ == "lbfgs":
            return solver.penalised_non_negative(alpha, self.tol, self.max_iter)
        found = solver.ridge(alpha)
        if not found.definite:
            self.solver_ = "svd"
        return found

    def _solver(self, iterate: bool, is_sparse: bool) -> str:
        """Return the solver that is used; raise if the one asked for cannot be.

        Parameters
        ----------
        iterate : bool
            Whether 'auto' is to be an iterative solver.
        is_sparse : bool
            Whether the table is sparse.
        """
        solver = self.solver
        if solver == "lbfgs" and not self.positive:
            raise ValueError("'lbfgs' solver can be used only when positive=True. Please use another solver.")
        if self.positive:
            if solver not in ("auto", "lbfgs"):
                raise ValueError(
                    f"solver={solver!r} does not support positive fitting. Please set the solver to 'auto' "
                    "or 'lbfgs', or set `positive=False`"
                )
            return "lbfgs"
        if is_sparse and self.fit_intercept and solver not in _INTERCEPT_SOLVERS:
            raise ValueError(
                f"solver={solver!r} does not support fitting the intercept on sparse data. Please set the "
                "solver to 'auto' or 'lsqr', 'sparse_cg', 'sag', 'lbfgs' or set `fit_intercept=False`"
            )
        if is_sparse and solver == "svd":
            raise TypeError("SVD solver does not support sparse inputs currently")
        if solver == "auto":
            return "sparse_cg" if iterate else "cholesky"
        return solver

    def _penalties(self, n_targets: int) -> NDArray[np.float64]:
        alpha = np.asarray(self.alpha, dtype=np.float64).ravel()
        if len(alpha) not in (1, n_targets):
            raise ValueError(
                f"Number of targets and number of penalties do not correspond: {len(alpha)} != {n_targets}"
            )
        if not np.isfinite(alpha).all() or (alpha < 0).any():
            raise UnsupportedError(
                f"The 'alpha' parameter of Ridge must be finite and not negative. Got {self.alpha!r} instead."
            )
        return np.broadcast_to(alpha, (n_targets,)).copy()

    def _keep(self, found: Fit, y_ndim: int, dtype: np.dtype) -> None:
        super()._keep(found, y_ndim, dtype)
        if self.coef_.shape[:1] == (1,) and self.coef_.ndim == 2:  # as scikit-learn's has it
            self.coef_ = self.coef_[0]
