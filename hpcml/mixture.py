"""Mixtures of densities, under scikit-learn's names."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from hpcml import blas, communicators, config
from hpcml.communicators import Communicator
from hpcml.counterparts import counterpart
from hpcml.kernels import lookup
from hpcml.training.gaussians import KINDS
from hpcml.training.mixture import EM, Mixture, Run, in_kernel
from hpcml.training.mixture_starts import STARTS, Given, start
from hpcml.validation import (
    BOOLEAN,
    NONE,
    RANDOM_STATE,
    VERBOSE,
    Allowed,
    check_parameters,
    integer,
    one_of,
    real,
)

__all__ = ["GaussianMixture"]

_ARRAY_LIKE = Allowed(
    lambda value: (
        (hasattr(value, "__len__") or hasattr(value, "__array__")) and not isinstance(value, (str, bytes, dict))
    ),
    "an array-like",
)
_ALLOWED = {
    "n_components": (integer(1),),
    "covariance_type": (one_of(*KINDS),),
    "tol": (real(0.0),),
    "reg_covar": (real(0.0),),
    "max_iter": (integer(0),),
    "n_init": (integer(1),),
    "init_params": (one_of(*STARTS),),
    "weights_init": (_ARRAY_LIKE, NONE),
    "means_init": (_ARRAY_LIKE, NONE),
    "precisions_init": (_ARRAY_LIKE, NONE),
    "random_state": (RANDOM_STATE,),
    "warm_start": (BOOLEAN,),
    "verbose": (VERBOSE,),
    "verbose_interval": (integer(1),),
}
_DTYPES = [np.float64, np.float32]
#: How far given weights may sum up beside 1, and a given matrix may differ from its transpose, by precision.
_SUM_TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-8}
_SYMMETRY_TOLERANCE = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-8}
_ATTRIBUTES = (
    "weights_ means_ covariances_ precisions_ precisions_cholesky_ converged_ n_iter_ lower_bound_ "
    "lower_bounds_ n_features_in_ feature_names_in_"
).split()


class GaussianMixture(DensityMixin, BaseEstimator):
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
            check_parameters(type(self).__name__, self.get_params(deep=False), _ALLOWED)
            least = 2 if comm.size == 1 else 0
            X = validate_data(self, X, dtype=_DTYPES, order="C", ensure_min_samples=least)
            n_samples, d = comm.total(len(X)), X.shape[1]
            if n_samples < max(self.n_components, 2):
                raise ValueError(
                    f"Expected n_samples >= n_components and at least 2, but got n_components = "
                    f"{self.n_components}, n_samples = {n_samples}"
                )
            given = self._given(d)
            first = self._last(d) if self.warm_start and hasattr(self, "converged_") else None
            rng = comm.random_state(self.random_state)
            with comm.put(X=X) as table:
                center = EM.central_point(table, d, X.dtype)
                em = EM(table, center, self.covariance_type, float(self.reg_covar))
                best = self._best_run(em, comm, given, first, rng)
        self._store(best, X.dtype)
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or "
                "increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return X

    def _best_run(
        self, em: EM, comm: Communicator, given: Given, first: Mixture | None, rng: np.random.RandomState
    ) -> Run:
        best: Run | None = None
        for i in range(1 if first is not None else self.n_init):
            report = _Report(i, self.verbose, self.verbose_interval) if comm.rank == 0 and self.verbose else None
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
            if best is None or best.lower_bound == -math.inf or run.lower_bound > best.lower_bound:
                best = run
        assert best is not None
        return best

    def _store(self, run: Run, dtype: np.dtype[Any]) -> None:
        mixture, kind = run.mixture, KINDS[self.covariance_type]
        self.weights_ = mixture.weights.astype(dtype)
        self.means_ = mixture.means.astype(dtype)
        self.covariances_ = mixture.covariances.astype(dtype)
        self.precisions_cholesky_ = mixture.factors.astype(dtype)
        self.precisions_ = kind.precisions(mixture.factors).astype(dtype)
        self.converged_ = run.converged
        self.n_iter_ = len(run.lower_bounds)
        self.lower_bound_ = run.lower_bound
        self.lower_bounds_ = run.lower_bounds

    def _mixture(self) -> Mixture:
        fitted = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        return Mixture(*(array.astype(np.float64) for array in fitted))

    # -- given parameters ------------------------------------------------------------------------------------

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

    def _given(self, d: int) -> Given:
        """Return the given parameters of the start; raise if one is none."""
        k = self.n_components
        weights = means = precisions = None
        if self.weights_init is not None:
            weights = _array(self.weights_init, "weights", (k,))
            if weights.min() < 0 or weights.max() > 1:
                raise ValueError(
                    "The parameter 'weights' should be in the range [0, 1], but got max value "
                    f"{weights.min():.5f}, min value {weights.max():.5f}"
                )
            if abs(1.0 - float(weights.sum(dtype=np.float64))) > _SUM_TOLERANCE[weights.dtype]:
                raise ValueError(
                    "The parameter 'weights' should be normalized, but got sum(weights) = "
                    f"{weights.sum():.5f}"
                )
            weights = weights.astype(np.float64)
        if self.means_init is not None:
            means = _array(self.means_init, "means", (k, d)).astype(np.float64)
        if self.precisions_init is not None:
            kind = self.covariance_type
            precisions = _array(self.precisions_init, f"{kind} precision", KINDS[kind].shape(k, d))
            _check_precisions(precisions, kind)
            precisions = precisions.astype(np.float64)
        return Given(weights, means, precisions)

    # -- the fitted mixture ----------------------------------------------------------------------------------

    def _of_rows(self, X: NDArray[Any], with_responsibilities: bool = False) -> tuple[NDArray[Any], ...]:
        """Return log-densities, labels and, where asked for, responsibilities of rows."""
        kind = KINDS[self.covariance_type]
        mixture = self._mixture()
        X = X.astype(np.result_type(X, self.means_), copy=False)
        center = (mixture.weights @ mixture.means).astype(X.dtype)
        found: tuple[NDArray[Any], ...] = lookup("gaussian_rows" + kind.suffix)(
            X=X,
            **in_kernel(kind, mixture, center),
            with_responsibilities=int(with_responsibilities),
            n_threads=config.n_threads(),
        )
        return found

    def _validated(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self)
        rows: NDArray[Any] = validate_data(self, X, dtype=_DTYPES, order="C", reset=False)
        return rows

    def score_samples(self, X: ArrayLike) -> NDArray[Any]:
        """Return the log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._of_rows(self._validated(X))[0]

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return the mean log-density of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._of_rows(self._validated(X))[1].astype(np.int64)

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the probability of every component for each row: its responsibilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return self._of_rows(self._validated(X), with_responsibilities=True)[2]

    def sample(self, n_samples: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw rows from the mixture, component after component.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
            Their components.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': it must be at least 1. Got {n_samples} instead.")
        k, d = self.means_.shape
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_)
        means = self.means_.astype(np.float64)
        covariances = self.covariances_.astype(np.float64)
        if self.covariance_type == "tied":
            covariances = np.broadcast_to(covariances, (k, d, d))
        parts = []
        for mean, covariance, count in zip(means, covariances, counts.tolist(), strict=True):
            if self.covariance_type in ("full", "tied"):
                parts.append(rng.multivariate_normal(mean, covariance, count))
            else:
                parts.append(mean + rng.standard_normal(size=(count, d)) * np.sqrt(covariance))
        return np.vstack(parts), np.repeat(np.arange(k), counts)

    def _n_parameters(self) -> int:
        k, d = self.means_.shape
        return KINDS[self.covariance_type].n_parameters(k, d) + k * d + k - 1

    def bic(self, X: ArrayLike) -> float:
        """Return the Bayesian information criterion of the mixture on rows; the lower, the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        float
        """
        log_densities = self.score_samples(X)
        return -2.0 * float(log_densities.sum(dtype=np.float64)) + self._n_parameters() * math.log(
            len(log_densities)
        )

    def aic(self, X: ArrayLike) -> float:
        """Return Akaike's information criterion of the mixture on rows; the lower, the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        float
        """
        return -2.0 * float(self.score_samples(X).sum(dtype=np.float64)) + 2.0 * self._n_parameters()

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator with the same parameters, fitted to the same mixture.

        Returns
        -------
        sklearn.mixture.GaussianMixture

        Examples
        --------
        >>> from hpcml.mixture import GaussianMixture
        >>> GaussianMixture().fit([[0.0], [2.0]]).to_sklearn().means_.tolist()
        [[1.0]]
        """
        check_is_fitted(self)
        theirs = counterpart(self)
        for name in _ATTRIBUTES:
            if hasattr(self, name):
                setattr(theirs, name, getattr(self, name))
        return theirs


class _Report:
    """Tells on standard output how a start goes on."""

    def __init__(self, number: int, verbose: int, interval: int) -> None:
        self.verbose, self.interval = int(verbose), interval
        self.begin = self.last = time.perf_counter()
        print(f"Initialization {number}")

    def __call__(self, step: int, lower_bound: float, change: float) -> None:
        if step % self.interval:
            return
        now = time.perf_counter()
        more = f"\tlog-likelihood {lower_bound:.6g}, change {change:.2e}, {now - self.last:.3f} s"
        print(f"  Iteration {step}" + (more if self.verbose > 1 else ""))
        self.last = now

    def end(self, run: Run) -> None:
        end = "converged" if run.converged else "did not converge"
        more = f" after {len(run.lower_bounds)} steps, log-likelihood {run.lower_bound:.6g}"
        took = f", {time.perf_counter() - self.begin:.3f} s"
        print(f"Initialization {end}" + (more + took if self.verbose > 1 else ""))


def _array(value: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = check_array(value, dtype=_DTYPES, ensure_2d=False, allow_nd=True, input_name=name)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    return array


def _check_precisions(precisions: NDArray[Any], kind: str) -> None:
    if kind in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"'{kind} precision' should be positive")
        return
    turned = precisions.swapaxes(-1, -2)
    tolerance = _SYMMETRY_TOLERANCE[precisions.dtype]
    symmetric = np.allclose(precisions, turned, rtol=1e-5, atol=tolerance)
    if not symmetric or not (np.linalg.eigvalsh(precisions.astype(np.float64)) > 0).all():
        raise ValueError(f"'{kind} precision' should be symmetric, positive-definite")
