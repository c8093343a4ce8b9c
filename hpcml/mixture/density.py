"""A fitted mixture of normal densities: what it says of rows, and what it draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hpcml import config
from hpcml.counterparts import ToSklearnMixin
from hpcml.kernels import lookup
from hpcml.training.gaussians import KINDS
from hpcml.training.inputs import FLOATS, validate_data
from hpcml.training.mixture import Mixture, in_kernel

__all__ = ["NormalMixture"]


class NormalMixture(ToSklearnMixin, DensityMixin, BaseEstimator):
    """Methods of a fitted mixture."""

    covariance_type: str
    random_state: Any
    n_features_in_: int
    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]

    def _mixture(self) -> Mixture:
        fitted = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        return Mixture(*(array.astype(np.float64) for array in fitted))

    def _of_rows(self, X: NDArray[Any], with_responsibilities: bool = False) -> tuple[NDArray[Any], ...]:
        """Return log-densities, labels and, where asked for, responsibilities of rows."""
        kind = KINDS[self.covariance_type]
        mixture = self._mixture()
        X = X.astype(np.result_type(X, self.means_), copy=False)
        center = (mixture.weights @ mixture.means).astype(X.dtype)
        found: tuple[NDArray[Any], ...] = lookup("gaussian_rows" + kind.suffix)(
            X=X,
            **in_kernel([kind], [mixture], center),
            with_responsibilities=int(with_responsibilities),
            n_threads=config.n_threads(),
        )
        return found

    def _validated(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self)
        if type(X) is np.ndarray and self._is_plain(X):  # of few rows, the checks take longer than the kernel
            return X
        rows: NDArray[Any] = validate_data(self, X, dtype=FLOATS, order="C", reset=False)
        return rows

    def _is_plain(self, X: NDArray[Any]) -> bool:
        """Return whether scikit-learn's checks would hand back just this array, without a warning."""
        if X.dtype not in FLOATS or X.ndim != 2 or not X.flags.c_contiguous:
            return False
        if hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return len(X) > 0 and X.shape[1] == self.means_.shape[1] and bool(np.isfinite(X.sum()))

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
            raise ValueError(
                f"Invalid value for 'n_samples': it must be at least 1. Got {n_samples} instead."
            )
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
