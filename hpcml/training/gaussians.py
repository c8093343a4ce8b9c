"""Covariances of normal components, one class for each kind: how they follow from moments, their factors.

P, upper triangular, factors the precision: inverse(covariance) = P P^T. So the Mahalanobis distance of x from
m is the length of (x - m) P, and log det P is the half of the precision's.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["KINDS", "Covariances", "NotPositiveDefinite"]

Floats = NDArray[np.float64]


class NotPositiveDefinite(ValueError):
    """A covariance has no inverse."""

    def __init__(self, more: str = "") -> None:
        super().__init__(
            "Fitting the mixture model failed because some components have ill-defined empirical covariance "
            "(for instance caused by singleton or collapsed samples). Try to decrease the number of "
            "components, increase reg_covar, or scale the input data." + more
        )


class Covariances:
    """One kind of covariance.

    Attributes
    ----------
    suffix : str
        Of the names of the kernels that compute with it.
    """

    suffix: ClassVar[str]

    def of_moments(self, squares: Floats, counts: Floats) -> Floats:
        """Return covariances from second moments about the means, before regularisation."""
        raise NotImplementedError

    def plus(self, covariances: Floats, variance: float) -> Floats:
        """Return covariances with a variance added to all features."""
        raise NotImplementedError

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Return the shape of covariances of k components of d features."""
        raise NotImplementedError

    def factors(self, covariances: Floats) -> Floats:
        """Return the factors of the precisions; raise `NotPositiveDefinite` if there are none."""
        raise NotImplementedError

    def factors_of_precisions(self, precisions: Floats) -> Floats:
        """Return the factors of given precisions."""
        raise NotImplementedError

    def precisions(self, factors: Floats) -> Floats:
        """Return the precisions."""
        raise NotImplementedError

    def covariances(self, factors: Floats) -> Floats:
        """Return the covariances that belong to factors."""
        raise NotImplementedError

    def for_kernel(self, factors: Floats, k: int, d: int) -> Floats:
        """Return factors, one for each of k components, as the kernels take them."""
        raise NotImplementedError

    def n_parameters(self, k: int, d: int) -> int:
        """Return the number of free parameters."""
        raise NotImplementedError


class _Matrices(Covariances):
    """Symmetric matrices, the last two axes."""

    suffix = ""

    def plus(self, covariances: Floats, variance: float) -> Floats:
        return covariances + variance * np.eye(covariances.shape[-1])

    def factors(self, covariances: Floats) -> Floats:
        try:
            lower = np.asarray(np.linalg.cholesky(covariances), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise NotPositiveDefinite() from error
        if not np.isfinite(lower).all():
            raise NotPositiveDefinite()
        return _inverses(lower).swapaxes(-1, -2)

    def factors_of_precisions(self, precisions: Floats) -> Floats:
        # J reverses the order of the features: J precision J = L L^T, so precision = (J L J)(J L J)^T,
        # and J L J is upper triangular
        reverse = (..., slice(None, None, -1), slice(None, None, -1))
        return np.array(np.linalg.cholesky(precisions[reverse])[reverse], dtype=np.float64)

    def precisions(self, factors: Floats) -> Floats:
        return factors @ factors.swapaxes(-1, -2)

    def covariances(self, factors: Floats) -> Floats:
        lower = _inverses(factors.swapaxes(-1, -2))  # P^-T
        return lower @ lower.swapaxes(-1, -2)


class Full(_Matrices):
    """A matrix for every component."""

    def of_moments(self, squares: Floats, counts: Floats) -> Floats:
        return squares / counts[:, np.newaxis, np.newaxis]

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return k, d, d

    def for_kernel(self, factors: Floats, k: int, d: int) -> Floats:
        return factors

    def n_parameters(self, k: int, d: int) -> int:
        return k * d * (d + 1) // 2


class Tied(_Matrices):
    """One matrix for all components."""

    def of_moments(self, squares: Floats, counts: Floats) -> Floats:
        return squares.sum(axis=0) / counts.sum()

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return d, d

    def for_kernel(self, factors: Floats, k: int, d: int) -> Floats:
        return np.broadcast_to(factors, (k, d, d))

    def n_parameters(self, k: int, d: int) -> int:
        return d * (d + 1) // 2


class _Variances(Covariances):
    """Variances."""

    suffix = "_diagonal"

    def plus(self, covariances: Floats, variance: float) -> Floats:
        return covariances + variance

    def factors(self, covariances: Floats) -> Floats:
        if not (covariances > 0).all() or not np.isfinite(covariances).all():
            raise NotPositiveDefinite()
        return 1.0 / np.sqrt(covariances)

    def factors_of_precisions(self, precisions: Floats) -> Floats:
        return np.sqrt(precisions)

    def precisions(self, factors: Floats) -> Floats:
        return factors**2

    def covariances(self, factors: Floats) -> Floats:
        return factors**-2.0


class Diagonal(_Variances):
    """A variance for every component and feature."""

    def of_moments(self, squares: Floats, counts: Floats) -> Floats:
        return squares / counts[:, np.newaxis]

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return k, d

    def for_kernel(self, factors: Floats, k: int, d: int) -> Floats:
        return factors

    def n_parameters(self, k: int, d: int) -> int:
        return k * d


class Spherical(_Variances):
    """A variance for every component."""

    def of_moments(self, squares: Floats, counts: Floats) -> Floats:
        return (squares / counts[:, np.newaxis]).mean(axis=1)

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k,)

    def for_kernel(self, factors: Floats, k: int, d: int) -> Floats:
        return np.broadcast_to(factors[:, np.newaxis], (k, d))

    def n_parameters(self, k: int, d: int) -> int:
        return k


#: By the names of ``covariance_type``.
KINDS: dict[str, Covariances] = {
    "full": Full(),
    "tied": Tied(),
    "diag": Diagonal(),
    "spherical": Spherical(),
}


def _inverses(lower: Floats) -> Floats:
    """Return the inverses of lower triangular matrices."""
    flat = lower.reshape(-1, *lower.shape[-2:])
    return np.array([lapack.dtrtri(matrix, lower=1)[0] for matrix in flat]).reshape(lower.shape)
