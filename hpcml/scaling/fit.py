"""Fits of the laws to measured speed-ups, with intervals; "not identified" where the samples cannot tell.

Every law is linear in its parameters once it is written for 1/S (Amdahl, Universal Scalability Law) or S
(Gustafson), so a fit is weighted least squares, done once for the estimates and once for every draw around
them (`hpcml.scaling.statistics.Ratios`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpcml.scaling import laws
from hpcml.scaling.statistics import LEVEL, Estimate, Ratios

__all__ = ["BEYOND", "Fit", "fit_amdahl", "fit_gustafson", "fit_power", "fit_sun_ni", "fit_usl", "trust"]

_Array = NDArray[np.float64]
# Design, transform of S into what is linear, and the derivative of this by log S.
_Linear = tuple[_Array, Callable[[_Array], _Array], Callable[[_Array], _Array]]

#: A curve ends at this many times the largest p that was measured.
BEYOND = 4.0
#: A curve ends where its band is wider than this, upper / lower.
WIDEST_BAND = 1.5
#: Points of a curve where it is looked at.
CURVE_POINTS = 200
#: Two laws that differ by more than this share leave nothing to believe.
LAWS_APART = 0.2


@dataclass(frozen=True)
class Fit:
    """A fitted law, or the reason why there is none.

    Parameters
    ----------
    law : str
    reason : str or None
        Why the parameters are not identified; None where they are.
    parameters : dict of str to Estimate
        Empty where they are not.
    draws : ndarray of shape (n_draws, n_parameters)
        Draws of the parameters.
    curve : callable
        ``curve(p, *parameters)``.
    measured_to : float
        The largest p (or n) that was fitted to.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.scaling import fit
    >>> from hpcml.scaling.statistics import Ratios
    >>> none = np.zeros((2, 1))
    >>> found = fit.fit_amdahl(Ratios(np.array([2.0]), np.array([0.6]), none, np.array([0.1])), cores=2)
    >>> found.identified, found.reason
    (False, '2 different numbers of workers within 2 cores; it takes 3')
    """

    law: str
    reason: str | None
    parameters: Mapping[str, Estimate] = field(default_factory=dict)
    draws: _Array = field(default_factory=lambda: np.zeros((0, 0)))
    curve: Callable[..., _Array] = laws.amdahl
    measured_to: float = 1.0

    @property
    def identified(self) -> bool:
        """Whether the samples determine the parameters."""
        return self.reason is None

    def predict(self, p: ArrayLike) -> tuple[_Array, _Array, _Array]:
        """Return value, lower and upper end of the law at p.

        Raises
        ------
        ValueError
            If the law is not identified.
        """
        if not self.identified:
            raise ValueError(f"{self.law} is not identified: {self.reason}")
        p = np.atleast_1d(np.asarray(p, dtype=np.float64))
        value = self.curve(p, *(each.value for each in self.parameters.values()))
        drawn = self.curve(p[None, :], *(column[:, None] for column in self.draws.T))
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return value, np.minimum(low, value), np.maximum(high, value)


def _solve(design: _Array, y: _Array, weights: _Array) -> _Array:
    """Return weighted least squares: design (m, k), y and weights (..., m)."""
    A = np.einsum("mk,...m,ml->...kl", design, weights, design)
    b = np.einsum("mk,...m,...m->...k", design, weights, y)
    return np.linalg.solve(A, b[..., None])[..., 0]


def _fitted(
    law: str,
    curve: Callable[..., _Array],
    names: tuple[str, ...],
    ratios: Ratios,
    cores: float,
    linear: Callable[[_Array], _Linear],
    upper: float = np.inf,
) -> Fit:
    """Fit a law to the p within the cores, if there are enough; `linear` tells how it is linear at these."""
    inside = (ratios.p > 1) & (ratios.p <= cores) & np.isfinite(ratios.logs)
    n = int(inside.sum()) + 1  # 1 counts
    if n < len(names) + 2:
        within = f" within {cores:g} cores" if np.isfinite(cores) else ""
        return Fit(law, f"{n} different numbers of workers{within}; it takes {len(names) + 2}")
    if np.any(~np.isfinite(ratios.draws[:, inside])):
        return Fit(law, "too few samples")
    design, transform, slope = linear(ratios.p[inside])
    logs, draws = ratios.logs[inside], ratios.draws[:, inside]
    # The deviation of the transformed value is that of log S times the slope. All log S count alike: widths
    # that three launches tell differ by chance, and weights after them would prefer p that happened to agree.
    weights = 1 / np.maximum(np.abs(slope(np.exp(logs))), 1e-12) ** 2
    value = _solve(design, transform(np.exp(logs)), weights)
    drawn = _solve(design, transform(np.exp(draws)), np.broadcast_to(weights, draws.shape))
    measured_to = float(ratios.p[inside].max())
    at_bound = [name for name, each in zip(names, value, strict=True) if not 0 < each < upper]
    if at_bound:
        reason = f"{' and '.join(at_bound)} lies at its bound"
        return Fit(law, reason, curve=curve, measured_to=measured_to)
    drawn = np.clip(drawn, 0, upper)
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    n = int(ratios.n[inside].sum()) if len(ratios.n) else 0
    parameters = {
        name: Estimate(float(each), float(min(low, each)), float(max(high, each)), n)
        for name, each, low, high in zip(names, value, *ends, strict=True)
    }
    return Fit(law, None, parameters, drawn, curve, measured_to)


def fit_amdahl(ratios: Ratios, cores: float) -> Fit:
    """Fit Amdahl's serial fraction: 1/S - 1/p = s (1 - 1/p).

    Parameters
    ----------
    ratios : Ratios
        Log speed-ups of a fixed problem at p > 1.
    cores : float
        Larger p are left out: they tell of the operating system.

    Returns
    -------
    Fit
        Parameter ``s``.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.scaling import fit, laws
    >>> from hpcml.scaling.statistics import Ratios
    >>> p = np.array([2.0, 4.0, 8.0])
    >>> logs = np.log(laws.amdahl(p, 0.1))
    >>> exact = Ratios(p, logs, np.tile(logs, (10, 1)), np.full(3, 0.01))
    >>> round(fit.fit_amdahl(exact, 8).parameters["s"].value, 6)
    0.1
    """
    return _fitted(
        "Amdahl's law",
        laws.amdahl,
        ("s",),
        ratios,
        cores,
        lambda p: ((1 - 1 / p)[:, None], lambda S: 1 / S - 1 / p, lambda S: 1 / S),
        upper=1.0,
    )


def fit_usl(ratios: Ratios, cores: float) -> Fit:
    """Fit the Universal Scalability Law: p/S - 1 = σ (p - 1) + κ p (p - 1).

    Parameters
    ----------
    ratios, cores
        As for `fit_amdahl`.

    Returns
    -------
    Fit
        Parameters ``sigma`` and ``kappa``.
    """
    return _fitted(
        "the Universal Scalability Law",
        laws.usl,
        ("sigma", "kappa"),
        ratios,
        cores,
        lambda p: (np.stack([p - 1, p * (p - 1)], axis=1), lambda S: p / S - 1, lambda S: p / S),
    )


def fit_gustafson(ratios: Ratios, cores: float) -> Fit:
    """Fit Gustafson's serial fraction of the parallel run: p - S = s (p - 1).

    Parameters
    ----------
    ratios : Ratios
        Logs of the *scaled* speed-ups, p T(1, n) / T(p, p n), at p > 1.
    cores : float
        As for `fit_amdahl`.

    Returns
    -------
    Fit
        Parameter ``s``.
    """
    return _fitted(
        "Gustafson's law",
        laws.gustafson,
        ("s",),
        ratios,
        cores,
        lambda p: ((p - 1)[:, None], lambda S: p - S, lambda S: S),
        upper=1.0,
    )


def fit_sun_ni(ratios: Ratios, cores: float, growth: Callable[[_Array], _Array]) -> Fit:
    """Fit the serial fraction of Sun and Ni's law: (S - 1) s + (S/p - 1) (1 - s) G = 0 for a given G(p).

    Parameters
    ----------
    ratios, cores
        As for `fit_amdahl`.
    growth : callable
        G of an array of p.

    Returns
    -------
    Fit
        Parameter ``s``.
    """
    law = "Sun and Ni's law"

    def linear(p: _Array) -> _Linear:
        # s / (1 - s) = G (1 - S/p) / (S - 1): the odds are linear, so they are what is fitted
        G = growth(p)
        return (
            np.ones((len(p), 1)),
            lambda S: G * (1 - S / p) / (S - 1),
            lambda S: G * S * (1 - 1 / p) / (S - 1) ** 2,
        )

    found = _fitted(law, lambda q, o: laws.sun_ni(q, o / (1 + o), growth(q)), ("s",), ratios, cores, linear)
    if not found.identified:
        return found
    o = found.parameters["s"]
    s = Estimate(o.value / (1 + o.value), o.low / (1 + o.low), o.high / (1 + o.high), o.n)
    drawn = found.draws / (1 + found.draws)
    return Fit(law, None, {"s": s}, drawn, lambda q, f: laws.sun_ni(q, f, growth(q)), found.measured_to)


def fit_power(n: ArrayLike, ratios: Ratios) -> Fit:
    """Fit t = c n^a to times at several sizes: a line through the logarithms.

    Parameters
    ----------
    n : array-like of shape (m,)
        Sizes, ascending.
    ratios : Ratios
        Logs of the times in seconds at each size.

    Returns
    -------
    Fit
        Parameters ``exponent`` and ``log_c``. Not identified with fewer than four sizes, or where the upper
        half of the sizes grows with another exponent than the whole (by more than the intervals say): then
        the small sizes measure a constant cost.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.scaling import fit
    >>> from hpcml.scaling.statistics import Ratios
    >>> n = np.array([1e3, 2e3, 4e3, 8e3])
    >>> logs = np.log(1e-6 * n**1.5)
    >>> found = fit.fit_power(n, Ratios(n, logs, np.tile(logs, (10, 1)), np.full(4, 0.01)))
    >>> round(found.parameters["exponent"].value, 6), round(float(found.predict(1e4)[0][0]), 6)
    (1.5, 1.0)
    """
    law = "a power of the rows"
    n = np.asarray(n, dtype=np.float64)
    if len(np.unique(n)) < 4:
        return Fit(law, f"{len(np.unique(n))} different sizes; it takes 4")
    if np.any(~np.isfinite(ratios.draws)):
        return Fit(law, "too few samples")
    design = np.stack([np.log(n), np.ones(len(n))], axis=1)
    weights = 1 / np.maximum(ratios.half, 1e-9) ** 2

    def line(rows: NDArray[np.bool_]) -> tuple[_Array, _Array]:
        w, y = weights[rows], ratios.draws[:, rows]
        value = _solve(design[rows], ratios.logs[rows], w)
        return value, _solve(design[rows], y, np.broadcast_to(w, y.shape))

    value, drawn = line(np.ones(len(n), dtype=bool))
    if len(n) >= 5:
        upper, upper_draws = line(n >= np.median(n))
        low, high = np.quantile(upper_draws[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if not low - 0.05 <= value[0] <= high + 0.05:  # 0.05: a tenfold size is then off by 12 %
            value, drawn = upper, upper_draws  # the small sizes measure a constant cost
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    parameters = {
        name: Estimate(float(each), float(min(low, each)), float(max(high, each)))
        for name, each, low, high in zip(("exponent", "log_c"), value, *ends, strict=True)
    }

    def curve(q: _Array, a: ArrayLike, log_c: ArrayLike) -> _Array:
        return np.exp(np.asarray(a) * np.log(q) + np.asarray(log_c))

    return Fit(law, None, parameters, drawn, curve, float(n.max()))


def trust(fits: Mapping[str, Fit]) -> float:
    """Return up to which p the curves of identified laws may be drawn.

    A curve ends where its band is wider than 1.5 (upper / lower), where two laws differ by more than 20 %, or
    at four times the largest p that was measured.

    Parameters
    ----------
    fits : mapping of str to Fit

    Returns
    -------
    float
        1 where no law is identified.

    Examples
    --------
    >>> from hpcml.scaling import fit
    >>> fit.trust({"amdahl": fit.Fit("Amdahl's law", "too few samples")})
    1.0
    """
    known = [each for each in fits.values() if each.identified]
    if not known:
        return 1.0
    p = np.geomspace(1.0, BEYOND * min(each.measured_to for each in known), CURVE_POINTS)
    curves = [each.predict(p) for each in known]
    good = np.ones(len(p), dtype=bool)
    for _, low, high in curves:
        good &= high <= WIDEST_BAND * low
    for i, (one, _, _) in enumerate(curves):
        for other, _, _ in curves[i + 1 :]:
            good &= np.maximum(one, other) <= (1 + LAWS_APART) * np.minimum(one, other)
    ends = np.flatnonzero(~good)
    return float(p[ends[0] - 1] if len(ends) and ends[0] > 0 else (1.0 if len(ends) else p[-1]))
