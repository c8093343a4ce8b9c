"""Medians of within-block log ratios and their intervals, over launches and the blocks inside each.

A launch is a fresh start of the processes that are measured: where they lie in memory, and on which cores, is
drawn anew. Blocks of one launch share that draw, so the spread between launches enters every interval, with
the degrees of freedom that so few launches have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["LEVEL", "STARVED", "Estimate", "Ratios", "difference", "estimate_ratios"]

_Array = NDArray[np.float64]

#: Level of every interval.
LEVEL = 0.95
#: Resamples: the ends of a 95 % interval then wander by less than a tenth of its width.
DRAWS = 1000
#: A sample is rejected whose share of the processor's time is below this part of what it usually is: somebody
#: else had the core meanwhile.
STARVED = 0.95
#: Fewer blocks than this have no median worth an interval.
LEAST_BLOCKS = 3


@dataclass(frozen=True)
class Estimate:
    """A number with the interval in which the truth lies, at `LEVEL`.

    Parameters
    ----------
    value, low, high : float
    n : int
        Samples behind it.

    Examples
    --------
    >>> from hpcml.scaling.statistics import Estimate
    >>> print(Estimate(1.934, 1.899, 1.961, 24))
    1.93 (1.90–1.96)
    """

    value: float
    low: float
    high: float
    n: int = 0

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Ratios:
    """Log ratios at every p, estimated together, because a block's T(1) stands in all of them.

    Parameters
    ----------
    p : ndarray of shape (m,)
        Numbers of workers (or sizes).
    logs : ndarray of shape (m,)
        Estimates of the logarithms.
    draws : ndarray of shape (n_draws, m)
        Draws around them, as wide as the intervals say.
    half : ndarray of shape (m,)
        Half-widths of the intervals of the logarithms.
    n : ndarray of shape (m,)
        Samples behind each.
    """

    p: _Array
    logs: _Array
    draws: _Array
    half: _Array
    n: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def at(self, i: int) -> Estimate:
        """Return the ratio at ``p[i]``."""
        log, half = float(self.logs[i]), float(self.half[i])
        n = int(self.n[i]) if len(self.n) else 0
        with np.errstate(over="ignore"):
            return Estimate(float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half)), n)


def _spread(blocks: Sequence[_Array], draws: _Array) -> tuple[float, float]:
    """Return standard error and degrees of freedom of the pooled median of blocks.

    The error within launches is the bootstrap's; what the launches' own medians differ by beyond it is added
    as a second component of variance, and the degrees of freedom follow Satterthwaite (Biometrics Bulletin
    2, 1946).
    """
    n, n_launches = sum(map(len, blocks)), len(blocks)
    within = float(draws.var())
    if n_launches < 2:
        return float(np.sqrt(within)), max(1, n - 1)
    between = float(np.var([np.median(each) for each in blocks], ddof=1)) / n_launches
    extra = max(0.0, between - within / 2)  # half: three launches that agree by chance prove little
    total = within + extra
    if total == 0:
        return 0.0, n - 1
    share = extra / total
    return float(np.sqrt(total)), 1 / (share**2 / (n_launches - 1) + (1 - share) ** 2 / (n - n_launches or 1))


def estimate_ratios(
    p: Sequence[float],
    launches: Sequence[ArrayLike],
    *,
    seed: int = 0,
    n_draws: int = DRAWS,
) -> Ratios:
    """Estimate the median log ratio at every p.

    Parameters
    ----------
    p : sequence of float
        Numbers of workers.
    launches : sequence of array-like of shape (n_blocks, len(p))
        For every launch the log ratios of its blocks; NaN where a sample was rejected or is missing.
    seed : int
        Of the resampling.
    n_draws : int
        Resamples.

    Returns
    -------
    Ratios
        The half-width is infinite where fewer than three blocks are left.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013 (levels of repetition);
    B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.scaling.statistics import estimate_ratios
    >>> rng = np.random.default_rng(0)
    >>> launches = [np.log(1.9) + 0.02 * rng.standard_normal((10, 1)) for _ in range(3)]
    >>> found = estimate_ratios([2], launches).at(0)
    >>> found.low < 1.9 < found.high and found.high - found.low < 0.11
    True
    """
    m = len(p)
    tables = [np.asarray(each, dtype=np.float64).reshape(-1, m) for each in launches] if m else []
    tables = [each for each in tables if len(each)]
    rng = np.random.default_rng(seed)
    logs, half, counts = np.full(m, np.nan), np.full(m, np.inf), np.zeros(m, dtype=np.int64)
    draws = np.full((n_draws, m), np.nan)
    if not tables:
        return Ratios(np.asarray(p, dtype=np.float64), logs, draws, half, counts)
    # one resample serves every p: the blocks of a launch, drawn with replacement
    picked = [rng.integers(len(each), size=(n_draws, len(each))) for each in tables]
    resampled = np.concatenate([each[some] for each, some in zip(tables, picked, strict=True)], axis=1)
    apart = _between(tables, n_draws, rng)
    for j in range(m):
        blocks = [column[~np.isnan(column)] for column in (each[:, j] for each in tables)]
        blocks = [each for each in blocks if len(each)]
        counts[j] = sum(map(len, blocks))
        if counts[j] == 0:
            continue
        logs[j] = np.median(np.concatenate(blocks))
        if counts[j] < LEAST_BLOCKS:
            continue
        middle = _medians(resampled[:, :, j], logs[j])
        error, freedom = _spread(blocks, middle)
        half[j] = special.stdtrit(freedom, (1 + LEVEL) / 2) * error
        # as wide as the interval: a normal spread would reach half at 1.96 deviations
        wide = half[j] / special.ndtri((1 + LEVEL) / 2)
        deviation = middle - middle.mean() + apart[:, j]
        scale = deviation.std()
        draws[:, j] = logs[j] + (deviation * (wide / scale) if scale > 0 else 0.0)
    return Ratios(np.asarray(p, dtype=np.float64), logs, draws, half, counts)


def _between(tables: Sequence[_Array], n_draws: int, rng: np.random.Generator) -> _Array:
    """Return draws of what launches differ by, for all p together: (n_draws, m)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a launch without a sample at some p
        middles = np.stack([np.nanmedian(each, axis=0) for each in tables])
        apart = np.nan_to_num(middles - np.nanmean(middles, axis=0))
    n = len(tables)
    return rng.standard_normal((n_draws, n)) @ apart / np.sqrt(max(1, n * (n - 1)))


def _medians(resampled: _Array, instead: float) -> _Array:
    """Return the median of every row without its NaN, and something else where nothing is left."""
    ordered, rows = np.sort(resampled, axis=1), np.arange(len(resampled))  # NaN is last
    n = np.count_nonzero(~np.isnan(resampled), axis=1)
    middle = (ordered[rows, np.maximum(n - 1, 0) // 2] + ordered[rows, n // 2]) / 2
    return np.where(n > 0, middle, instead)


def difference(old: Sequence[ArrayLike], new: Sequence[ArrayLike], *, seed: int = 0) -> Estimate:
    """Estimate exp(median new - median old) of two independent sets of logarithms, launch by launch.

    Parameters
    ----------
    old, new : sequence of array-like
        Logarithms of times, one array a launch.
    seed : int
        Of the resampling.

    Returns
    -------
    Estimate
        How many times as long the new one takes; Welch's degrees of freedom.

    Raises
    ------
    ValueError
        If one of them holds fewer than three numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.scaling.statistics import difference
    >>> rng = np.random.default_rng(0)
    >>> old = [0.01 * rng.standard_normal(8) for _ in range(3)]
    >>> new = [np.log(1.1) + 0.01 * rng.standard_normal(8) for _ in range(3)]
    >>> difference(old, new).low > 1.05
    True
    """
    middles, errors, freedoms, n = [], [], [], 0
    rng = np.random.default_rng(seed)
    for name, some in (("old", old), ("new", new)):
        blocks = [np.asarray(each, dtype=np.float64).ravel() for each in some]
        blocks = [each[~np.isnan(each)] for each in blocks]
        blocks = [each for each in blocks if len(each)]
        if sum(map(len, blocks)) < LEAST_BLOCKS:
            raise ValueError(f"{name} must hold at least {LEAST_BLOCKS} samples.")
        drawn = [each[rng.integers(len(each), size=(DRAWS, len(each)))] for each in blocks]
        error, freedom = _spread(blocks, np.median(np.concatenate(drawn, axis=1), axis=1))
        middles.append(float(np.median(np.concatenate(blocks))))
        errors.append(error**2)
        freedoms.append(freedom)
        n += sum(map(len, blocks))
    total = sum(errors)
    parts = sum(error**2 / freedom for error, freedom in zip(errors, freedoms, strict=True))
    freedom = total**2 / parts if parts else n - 2
    half = float(special.stdtrit(max(1.0, freedom), (1 + LEVEL) / 2) * np.sqrt(total))
    log = middles[1] - middles[0]
    return Estimate(float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half)), n)
