"""Maximum likelihood of a mixture of normal densities by expectation maximisation.

Dempster, Laird and Rubin (1977), Maximum Likelihood from Incomplete Data via the EM Algorithm, J. R. Stat.
Soc. B 39. A step is one pass over the rows, which keeps no responsibilities. Second moments are taken about
the means of the step before: nothing cancels where means lie far from the origin, or far from each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.gaussians import KINDS, Covariances, NotPositiveDefinite
from hpcml.training.mixture_moments import cancels, means_of, squares_about_means

__all__ = ["EM", "Mixture", "Run", "in_kernel", "largest_likelihood", "steps"]

Floats = NDArray[np.float64]

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


def in_kernel(
    kinds: Sequence[Covariances], mixtures: Sequence[Mixture], center: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Return the arguments that describe mixtures to the kernels, in the type of the rows.

    Parameters
    ----------
    kinds : sequence of Covariances
        Of the mixtures, all of one ``suffix``.
    mixtures : sequence of Mixture
        Their components lie one after the other in what is returned.
    center : ndarray of shape (d,)
        In the type of the rows.
    """
    d = len(center)
    pairs = zip(kinds, mixtures, strict=True)
    factors = np.concatenate([kind.for_kernel(own.factors, len(own.means), d) for kind, own in pairs])
    diagonals = factors if factors.ndim == 2 else np.diagonal(factors, axis1=1, axis2=2)
    with np.errstate(divide="ignore"):  # a given weight may be 0
        log_weights = np.log(np.concatenate([own.weights for own in mixtures]))
    log_weights = log_weights + np.log(diagonals).sum(axis=1) - 0.5 * d * LOG_2PI
    lowest = np.finfo(center.dtype).min / 4
    arguments = {
        "means": np.concatenate([own.means for own in mixtures]) - center.astype(np.float64),
        "factors": factors,
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
    variance : float
        Mean variance of the features.
    """

    table: Table
    center: NDArray[Any]
    covariance_type: str
    reg_covar: float
    variance: float

    @property
    def kind(self) -> Covariances:
        """The kind of the covariances."""
        return KINDS[self.covariance_type]

    # -- E ---------------------------------------------------------------------------------------------------

    def step(self, mixture: Mixture) -> tuple[Mixture, float]:
        """Return the mixture that maximises the expected likelihood, and the mean log-likelihood before."""
        (improved,) = steps([self], [mixture])
        if isinstance(improved, NotPositiveDefinite):
            raise improved
        return improved

    def moments(self, k: int) -> tuple[Floats, Floats, Floats]:
        """Return counts, means and covariances under the table's responsibilities, or else its labels.

        Two passes: the second takes moments about the means that the first found.
        """
        return self.moments_about(self.first_means(k))

    def first_means(self, k: int) -> NDArray[Any]:
        """Return the means of `moments`, less the center; they do not depend on the kind of covariances."""
        zeros = np.zeros((k, len(self.center)), dtype=self.center.dtype)
        found = self.table.map_reduce("gaussian_moments_diagonal", shifts=zeros, center=self.center)
        return self.less_center(means_of(found, self.origins(zeros))[1])

    def moments_about(self, shifts: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Return what `moments` returns, from its first means."""
        found = self.table.map_reduce(
            "gaussian_moments" + self.kind.suffix, shifts=shifts, center=self.center
        )
        return self.estimate(found, shifts)

    def less_center(self, means: Floats) -> NDArray[Any]:
        """Return points relative to the center, in the type of the rows."""
        return (means - self.center).astype(self.center.dtype)

    def origins(self, shifts: NDArray[Any]) -> Floats:
        """Return the points that kernels take moments about."""
        return self.center.astype(np.float64) + shifts

    # -- M ---------------------------------------------------------------------------------------------------

    def estimate(self, found: dict[str, Floats], shifts: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Return counts, means and regularised covariances from moments."""
        origins = self.origins(shifts)
        counts, means = means_of(found, origins)
        squares, finite = squares_about_means(found, means - origins, counts, means, self.center.dtype)
        return counts, means, self.covariances(squares, counts, finite)

    def covariances(self, squares: Floats, counts: Floats, finite: NDArray[np.bool_]) -> Floats:
        """Return regularised covariances from second moments about the means."""
        if not finite.all():
            raise NotPositiveDefinite(" Squares of the rows overflow.")
        return self.kind.plus(self.kind.of_moments(squares, counts), self.reg_covar)

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


# -- several mixtures ----------------------------------------------------------------------------------------


def steps(
    ems: Sequence[EM], mixtures: Sequence[Mixture]
) -> list[tuple[Mixture, float] | NotPositiveDefinite]:
    """Step several mixtures over the rows of one table: one pass for matrices, one for variances.

    Parameters
    ----------
    ems : sequence of EM
        All of the same table and center.
    mixtures : sequence of Mixture

    Returns
    -------
    list of (Mixture, float) or NotPositiveDefinite
        For every mixture the next one, and the mean log-likelihood before.
    """
    improved: dict[int, tuple[Mixture, float] | NotPositiveDefinite] = {}
    for suffix in sorted({em.kind.suffix for em in ems}):  # every rank in the same order
        same = [at for at, em in enumerate(ems) if em.kind.suffix == suffix]
        found = _pass([ems[at] for at in same], [mixtures[at] for at in same])
        improved |= dict(zip(same, found, strict=True))
    return [improved[at] for at in range(len(ems))]


def _pass(
    ems: Sequence[EM], mixtures: Sequence[Mixture]
) -> Iterator[tuple[Mixture, float] | NotPositiveDefinite]:
    """Yield what `steps` returns for mixtures whose covariances have one shape."""
    em, sizes = ems[0], [len(mixture.means) for mixture in mixtures]
    table, dtype = em.table, em.center.dtype
    arguments = in_kernel([own.kind for own in ems], mixtures, em.center)
    first = np.cumsum([0, *sizes])
    found = table.map_reduce("gaussian_steps" + em.kind.suffix, first=first, **arguments)
    shifts = arguments["means"]
    reg_covar = np.repeat([own.reg_covar for own in ems], sizes)[:, np.newaxis]
    again = cancels(found, reg_covar, dtype)
    origins = em.origins(shifts)
    counts, means = means_of(found, origins)
    squares, finite = squares_about_means(found, means - origins, counts, means, dtype)
    for number, own in enumerate(ems):
        part = slice(first[number], first[number + 1])
        try:
            if again[part].any():
                model = {name: value[part] for name, value in arguments.items() if name != "center"}
                better = own.less_center(means[part])
                more = table.map_reduce(
                    "gaussian_step" + own.kind.suffix, shifts=better, center=em.center, **model
                )
                N, m, covariances = own.estimate(more, better)
            else:
                N, m = counts[part], means[part]
                covariances = own.covariances(squares[part], N, finite[part])
            lower_bound = float(found["log_likelihood"][number]) / table.n_rows
            yield own.mixture(N / N.sum(), m, covariances), lower_bound
        except NotPositiveDefinite as error:
            yield error
