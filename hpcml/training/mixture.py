"""Maximum likelihood of a mixture of normal densities by expectation maximisation.

Dempster, Laird and Rubin (1977), Maximum Likelihood from Incomplete Data via the EM Algorithm, J. R. Stat.
Soc. B 39. A step is one pass over the rows, which keeps no responsibilities. Second moments are taken about
the means of the step before: nothing cancels where means lie far from the origin, or far from each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.gaussians import KINDS, Covariances, NotPositiveDefinite

__all__ = ["EM", "Mixture", "Run", "in_kernel", "largest_likelihood"]

Floats = NDArray[np.float64]

#: Added to every count: a component that lost all rows keeps a density, in the origin, of weight 2e-15.
COUNT_FLOOR = 10 * float(np.finfo(np.float64).eps)
#: Where a variance is a smaller share than this of the second moment about the old mean, moments are taken
#: once more, about the new mean. So rounding of a block of rows costs less than 1e-4 of a variance, or 1e-9.
LEAST_SHARE = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-6}

#: Values that differ by no more than so many roundings of their mean are equal.
EQUAL_VALUES = 2.0

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Mixture:
    """The model.

    Parameters
    ----------
    weights : ndarray of float64 of shape (k,)
        Shares of the components.
    means : ndarray of float64 of shape (k, d)
        Their means.
    covariances : ndarray of float64
        Their covariances, in the shape of the kind.
    factors : ndarray of float64
        P of their precisions P P^T, in the same shape.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    factors: Floats


@dataclass
class Run:
    """EM from one start.

    Parameters
    ----------
    mixture : Mixture
        After the last step.
    lower_bounds : list of float
        Mean log-likelihood of the rows under the mixture before each step.
    converged : bool
        Whether its last change was below the tolerance.
    """

    mixture: Mixture
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False

    @property
    def lower_bound(self) -> float:
        """The last mean log-likelihood; -inf before any step."""
        return self.lower_bounds[-1] if self.lower_bounds else -math.inf


def largest_likelihood(runs: Sequence[Run]) -> Run:
    """Return the run of the largest likelihood, the first of equals."""
    best = runs[0]
    for run in runs[1:]:
        if best.lower_bound == -math.inf or run.lower_bound > best.lower_bound:
            best = run
    return best


def in_kernel(kind: Covariances, mixture: Mixture, center: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the arguments that describe a mixture to the kernels, in the type of the rows."""
    k, d = mixture.means.shape
    with np.errstate(divide="ignore"):  # a given weight may be 0
        log_weights = np.log(mixture.weights)
    log_weights = log_weights + kind.log_determinants(mixture.factors, k, d) - 0.5 * d * LOG_2PI
    lowest = np.finfo(center.dtype).min / 4
    arguments = {
        "means": mixture.means - center.astype(np.float64),
        "factors": kind.for_kernel(mixture.factors, k, d),
        "log_weights": np.maximum(log_weights, lowest),
    }
    return {"center": center} | {
        name: np.ascontiguousarray(value, dtype=center.dtype) for name, value in arguments.items()
    }


@dataclass
class EM:
    """Expectation maximisation over the rows of a table.

    Parameters
    ----------
    table : Table
        Holds the rows as "X".
    center : ndarray of shape (d,)
        A point among the rows, in their type.
    covariance_type : str
        A key of `hpcml.training.gaussians.KINDS`.
    reg_covar : float
        Added to all variances.
    """

    table: Table
    center: NDArray[Any]
    covariance_type: str
    reg_covar: float

    @property
    def kind(self) -> Covariances:
        """The kind of the covariances."""
        return KINDS[self.covariance_type]

    # -- E ---------------------------------------------------------------------------------------------------

    def step(self, mixture: Mixture) -> tuple[Mixture, float]:
        """Return the mixture that maximises the expected likelihood, and the mean log-likelihood before."""
        arguments = in_kernel(self.kind, mixture, self.center)
        return self.improved(arguments, self._pass("gaussian_step", arguments["means"], **arguments))

    def improved(self, arguments: dict[str, Any], found: dict[str, Floats]) -> tuple[Mixture, float]:
        """Return what `step` returns, from the statistic of a pass about the means of the mixture.

        Parameters
        ----------
        arguments : dict
            What describes the mixture to the kernels.
        found : dict of str to ndarray
            The statistic of ``gaussian_step`` with the means as shifts.
        """
        shifts = arguments["means"]
        lower_bound = float(found["log_likelihood"][0]) / self.table.n_rows
        if self._cancels(found, shifts):
            shifts = self._shifts(self.means(found, shifts)[0])
            found = self._pass("gaussian_step", shifts, **arguments)
        counts, means, covariances = self.estimate(found, shifts)
        return self.mixture(counts / counts.sum(), means, covariances), lower_bound

    def moments(self, k: int) -> tuple[Floats, Floats, Floats]:
        """Return counts, means and covariances under the table's responsibilities, or else its labels.

        Two passes: the second takes moments about the means that the first found.
        """
        return self.moments_about(self.first_means(k))

    def first_means(self, k: int) -> NDArray[Any]:
        """Return the means of `moments`, less the center; they do not depend on the kind of covariances."""
        zeros = np.zeros((k, len(self.center)), dtype=self.center.dtype)
        found = self.table.map_reduce("gaussian_moments_diagonal", shifts=zeros, center=self.center)
        return self._shifts(self.means(found, zeros)[0])

    def moments_about(self, shifts: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Return what `moments` returns, from its first means."""
        return self.estimate(self._pass("gaussian_moments", shifts, center=self.center), shifts)

    def _pass(self, kernel: str, shifts: NDArray[Any], **arguments: Any) -> dict[str, Floats]:
        return self.table.map_reduce(kernel + self.kind.suffix, shifts=shifts, **arguments)

    def _shifts(self, means: Floats) -> NDArray[Any]:
        return (means - self.center).astype(self.center.dtype)

    # -- M ---------------------------------------------------------------------------------------------------

    def means(self, found: dict[str, Floats], shifts: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the means, and counts."""
        origin = self.center.astype(np.float64) + shifts
        counts = found["counts"] + COUNT_FLOOR
        return (found["sums"] + found["counts"][:, np.newaxis] * origin) / counts[:, np.newaxis], counts

    def estimate(self, found: dict[str, Floats], shifts: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Return counts, means and regularised covariances from moments."""
        means, counts = self.means(found, shifts)
        squares = self._squares(found, means - (self.center.astype(np.float64) + shifts))
        squares = self._without_noise(squares, counts, means)
        return counts, means, self.kind.plus(self.kind.of_moments(squares, counts), self.reg_covar)

    @staticmethod
    def _squares(found: dict[str, Floats], moved: Floats) -> Floats:
        """Return second moments about means that have moved by `moved` from the shifts.

        sum r (z - m)(z - m)^T = Q - s m^T - m s^T + N m m^T, with s = sum r z and Q = sum r z z^T
        """
        N, s, Q = found["counts"], found["sums"], found["squares"]
        if Q.ndim == 2:
            return Q - 2 * s * moved + N[:, np.newaxis] * moved**2
        Q = Q + np.triu(Q, 1).swapaxes(1, 2)
        across = s[:, :, np.newaxis] * moved[:, np.newaxis, :]
        about = N[:, np.newaxis, np.newaxis] * moved[:, :, np.newaxis] * moved[:, np.newaxis, :]
        return Q - across - across.swapaxes(1, 2) + about

    def _without_noise(self, squares: Floats, counts: Floats, means: Floats) -> Floats:
        """Return second moments with 0 where a variance is no more than the rounding of equal values."""
        eps = float(np.finfo(self.center.dtype).eps)
        with np.errstate(over="ignore"):
            floor = counts[:, np.newaxis] * (EQUAL_VALUES * eps * means) ** 2
        if not (np.isfinite(squares).all() and np.isfinite(floor).all()):
            raise NotPositiveDefinite(" Squares of the rows overflow.")
        if squares.ndim == 2:
            return np.where(squares > floor, squares, 0.0)
        varies = np.diagonal(squares, axis1=1, axis2=2) > floor
        return np.where(varies[:, :, np.newaxis] & varies[:, np.newaxis, :], squares, 0.0)

    def _cancels(self, found: dict[str, Floats], shifts: NDArray[Any]) -> bool:
        """Return whether a variance is so much smaller than the second moment about the old mean."""
        N, s, Q = found["counts"], found["sums"], found["squares"]
        about_old = Q if Q.ndim == 2 else np.diagonal(Q, axis1=1, axis2=2)
        moved = s / (N + COUNT_FLOOR)[:, np.newaxis]
        left = about_old - s * moved + N[:, np.newaxis] * self.reg_covar
        return bool((left < LEAST_SHARE[self.center.dtype] * about_old).any())

    def mixture(self, weights: Floats, means: Floats, covariances: Floats) -> Mixture:
        """Return the mixture with these parameters; raise if a covariance has no inverse."""
        try:
            return Mixture(weights, means, covariances, self.kind.factors(covariances))
        except NotPositiveDefinite as error:
            if self.center.dtype == np.float32:
                raise NotPositiveDefinite(" Rows in float64 may help, too: these are float32.") from error
            raise

    # -- steps -----------------------------------------------------------------------------------------------

    def run(
        self,
        start: Mixture,
        *,
        tol: float,
        max_iter: int,
        lower_bound: float = -math.inf,
        report: Callable[[int, float, float], None] | None = None,
    ) -> Run:
        """Step until the mean log-likelihood changes by less than `tol`.

        Parameters
        ----------
        start : Mixture
            Where to start.
        tol : float
            The least change that goes on.
        max_iter : int
            Most steps.
        lower_bound : float
            Mean log-likelihood before the first step, where an earlier run left off.
        report : callable, optional
            Called after every step with its number, the mean log-likelihood and its change.
        """
        run = Run(start)
        for step in range(1, max_iter + 1):
            run.mixture, found = self.step(run.mixture)
            run.lower_bounds.append(found)
            change, lower_bound = found - lower_bound, found
            if report is not None:
                report(step, found, change)
            if abs(change) < tol:
                run.converged = True
                break
        return run
