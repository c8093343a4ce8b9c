"""GaussianMixture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from hpcml import blas, communicators
from hpcml.communicators import Communicator, Table
from hpcml.mixture.density import NormalMixture
from hpcml.mixture.given import checked
from hpcml.mixture.grid import MixtureGrid
from hpcml.mixture.progress import Progress
from hpcml.training.gaussians import KINDS
from hpcml.training.inputs import FLOATS, unchecked, validate_data
from hpcml.training.mixture import EM, Mixture, Run, largest_likelihood
from hpcml.training.mixture_starts import STARTS, Given, start
from hpcml.training.moments import mean_and_variance
from hpcml.validation import (
    ARRAY_LIKE,
    BOOLEAN,
    NONE,
    RANDOM_STATE,
    VERBOSE,
    check_parameters,
    integer,
    one_of,
    real,
)

__all__ = ["GaussianMixture"]

_ALLOWED = {
    "n_components": (integer(1),),
    "covariance_type": (one_of(*KINDS),),
    "tol": (real(0.0),),
    "reg_covar": (real(0.0),),
    "max_iter": (integer(0),),
    "n_init": (integer(1),),
    "init_params": (one_of(*STARTS),),
    "weights_init": (ARRAY_LIKE, NONE),
    "means_init": (ARRAY_LIKE, NONE),
    "precisions_init": (ARRAY_LIKE, NONE),
    "random_state": (RANDOM_STATE,),
    "warm_start": (BOOLEAN,),
    "verbose": (VERBOSE,),
    "verbose_interval": (integer(1),),
}


class GaussianMixture(MixtureGrid, NormalMixture):
    """Mixture of normal densities, fitted by expectation maximisation.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        What a component's covariance is: a matrix of its own, one matrix that all share, a variance for every
        feature, or one variance.
    tol : float, default=1e-3
        A fit has converged when the mean log-likelihood of the rows changes by less in one step.
    reg_covar : float, default=1e-6
        Added to all variances.
    max_iter : int, default=100
        Most steps; with 0 the start is the model.
    n_init : int, default=1
        Number of starts, of which the one that ends with the largest likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where a fit starts: from clusters of k-means, rows that k-means++ draws, random responsibilities, or
        rows drawn at random.
    weights_init : array-like of shape (n_components,), optional
        Weights to start from, in place of those.
    means_init : array-like of shape (n_components, n_features), optional
        Means to start from, in place of those.
    precisions_init : array-like, optional
        Precisions (inverse covariances) to start from, in place of those; in the shape of ``covariances_``.
    random_state : int, RandomState instance or None, default=None
        Decides the starts, and what `sample` draws. The same numbers are drawn as in scikit-learn.
    warm_start : bool, default=False
        Whether a further `fit` goes on from the last one's mixture.
    verbose : int, default=0
        1 tells on standard output which steps are done; 2 adds likelihoods and times.
    verbose_interval : int, default=10
        Steps from one message to the next.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Shares of the components.
    means_ : ndarray of shape (n_components, n_features)
        Their means.
    covariances_ : ndarray
        Their covariances, of shape (n_components, n_features, n_features) for 'full', (n_features,
        n_features) for 'tied', (n_components, n_features) for 'diag', (n_components,) for 'spherical'.
    precisions_ : ndarray
        Inverses of the covariances, in their shape.
    precisions_cholesky_ : ndarray
        P, upper triangular, of the precisions P P^T, in the same shape.
    converged_ : bool
        Whether the best start converged.
    n_iter_ : int
        Steps of the best start.
    lower_bound_ : float
        Mean log-likelihood of the rows before the last step of the best start.
    lower_bounds_ : list of float
        The same of all its steps.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    float32 rows are read as they are, and responsibilities are computed in their precision; sums over rows
    are added in float64, and second moments are taken about the last step's means, so that variances do not
    suffer from cancellation. Fitted attributes have the type of the rows.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin (1977), Maximum Likelihood from Incomplete Data via the EM
    Algorithm, Journal of the Royal Statistical Society B 39, 1-38.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.mixture import GaussianMixture
    >>> X = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [10.0, 2.0], [10.0, 4.0], [10.0, 0.0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round(6).tolist()
    [1.0, 10.0]
    >>> int(model.predict([[9.0, 3.0]])[0]) == int(np.argmax(model.means_[:, 0]))
    True
    """

    n_features_in_: int

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows; under ``communicator="mpi"`` those of this rank.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters or rows are not allowed, or a covariance has no inverse.

        Warns
        -----
        ConvergenceWarning
            If the best start has not converged after `max_iter` steps.
        """
        self._fit(X)
        return self

    def fit_predict(self, X: ArrayLike, y: Any = None) -> NDArray[np.int64]:
        """Fit the mixture and return the component of each row, as ``fit(X).predict(X)`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows; under ``communicator="mpi"`` those of this rank.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._of_rows(self._fit(X))[1].astype(np.int64)

    def _fit(self, X: ArrayLike) -> NDArray[Any]:
        with communicators.current() as comm, blas.one_thread():
            self._check_parameters()
            least = communicators.least_rows(2)
            rows: NDArray[Any] = validate_data(
                self,
                X,
                dtype=FLOATS,
                order="C",
                ensure_min_samples=least,
                ensure_all_finite=not unchecked(X),  # the first pass over the rows sees it
            )
            d = rows.shape[1]
            given = self._given(d, self.n_components)
            first = self._last(d) if self.warm_start and hasattr(self, "converged_") else None
            rng = comm.random_state(self.random_state)
            with comm.put(X=rows) as table:
                mean, variance = mean_and_variance(table, rows, self)
                self._check_rows(table)
                em = self._em(table, mean.astype(rows.dtype), float(variance.mean()))
                best = self._best_run(em, comm, given, first, rng)
        self._store(best, rows.dtype)
        self._warn(best)
        return rows

    def _check_parameters(self) -> None:
        self._check_values(self.get_params(deep=False))

    def _check_values(self, values: Mapping[str, Any]) -> None:
        """Raise if a parameter among named values is not allowed."""
        check_parameters(type(self).__name__, values, _ALLOWED)

    def _check_rows(self, table: Table) -> None:
        if table.n_rows < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {table.n_rows}"
            )

    def _warn(self, best: Run) -> None:
        """Warn of a run that has not converged."""
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or "
                "increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _em(self, table: Table, center: NDArray[Any], variance: float) -> EM:
        return EM(table, center, self.covariance_type, float(self.reg_covar), variance)

    def _best_run(
        self, em: EM, comm: Communicator, given: Given, first: Mixture | None, rng: np.random.RandomState
    ) -> Run:
        runs = []
        for i in range(1 if first is not None else self.n_init):
            report = (
                Progress(i, self.verbose, self.verbose_interval) if comm.rank == 0 and self.verbose else None
            )
            if first is None:
                lower_bound = -math.inf
                mixture = start(em, comm, self.init_params, self.n_components, given, rng)
            else:
                lower_bound, mixture = float(self.lower_bound_), first
            run = em.run(
                mixture, tol=self.tol, max_iter=self.max_iter, lower_bound=lower_bound, report=report
            )
            if report is not None:
                report.end(run)
            runs.append(run)
        return largest_likelihood(runs)

    def _store(self, run: Run, dtype: np.dtype[Any]) -> None:
        mixture = run.mixture
        self.weights_, self.means_ = mixture.weights.astype(dtype), mixture.means.astype(dtype)
        self.covariances_ = mixture.covariances.astype(dtype)
        self.precisions_cholesky_ = mixture.factors.astype(dtype)
        factors = self.precisions_cholesky_.astype(np.float64)
        self.precisions_ = KINDS[self.covariance_type].precisions(factors).astype(dtype)
        self.converged_ = run.converged
        self.n_iter_ = len(run.lower_bounds)
        self.lower_bound_ = run.lower_bound
        self.lower_bounds_ = run.lower_bounds

    def _last(self, d: int) -> Mixture:
        """Return the last fit's mixture, to go on from."""
        kind, k = KINDS[self.covariance_type], self.n_components
        wanted = (k, d), kind.shape(k, d)
        found = self.means_.shape, self.covariances_.shape
        if found != wanted:
            raise ValueError(
                "With warm_start=True, n_components, covariance_type and the number of features must be "
                f"those of the last fit. Got means of shape {wanted[0]} and covariances of shape {wanted[1]} "
                f"after {found[0]} and {found[1]}."
            )
        return self._mixture()

    def _given(self, d: int, k: int) -> Given:
        return checked(self.weights_init, self.means_init, self.precisions_init, self.covariance_type, k, d)
