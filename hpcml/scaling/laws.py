"""The laws of scaling, as functions of numbers or arrays: nothing here measures, fits or guesses.

``p`` is the number of workers, ``S`` a speed-up, T(1)/T(p), ``s`` a serial fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "allreduce_doubling",
    "allreduce_ring",
    "amdahl",
    "efficiency",
    "farm_bounds",
    "farm_with_dispatch",
    "gustafson",
    "karp_flatt",
    "pop_efficiencies",
    "roofline",
    "sun_ni",
    "usl",
    "usl_peak",
    "weak_efficiency",
]

_Array = NDArray[np.float64]


def _workers(p: ArrayLike) -> _Array:
    found = np.asarray(p, dtype=np.float64)
    if np.any(~(found >= 1)):
        raise ValueError(f"p must be at least 1. Got {p!r} instead.")
    return found


def _fraction(value: ArrayLike, name: str) -> _Array:
    found = np.asarray(value, dtype=np.float64)
    if np.any(~((found >= 0) & (found <= 1))):
        raise ValueError(f"{name} must lie between 0 and 1. Got {value!r} instead.")
    return found


def _at_least_0(value: ArrayLike, name: str) -> _Array:
    found = np.asarray(value, dtype=np.float64)
    if np.any(~(found >= 0)):
        raise ValueError(f"{name} must be at least 0. Got {value!r} instead.")
    return found


def efficiency(speedup: ArrayLike, p: ArrayLike) -> _Array:
    """Return E = S / p.

    Parameters
    ----------
    speedup, p : array-like

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or a speed-up below 0.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.efficiency(3.0, 4))
    0.75
    """
    return _at_least_0(speedup, "speedup") / _workers(p)


def weak_efficiency(time_one: ArrayLike, time_p: ArrayLike) -> _Array:
    """Return T(1, n) / T(p, p n): the efficiency where rows grow with workers.

    It means something only where the work is linear in the rows.

    Parameters
    ----------
    time_one, time_p : array-like
        Times on one worker with n rows, on p workers with p n rows.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If a time is below 0.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.weak_efficiency(1.0, 1.25))
    0.8
    """
    return _at_least_0(time_one, "time_one") / _at_least_0(time_p, "time_p")


def amdahl(p: ArrayLike, s: ArrayLike) -> _Array:
    """Return the speed-up of a fixed problem, S = 1 / (s + (1 - s) / p).

    Parameters
    ----------
    p : array-like
        Workers.
    s : array-like
        Serial fraction of the time on one worker.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or `s` not between 0 and 1.

    References
    ----------
    G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities",
    AFIPS Conference Proceedings 30, 1967.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.amdahl(4, 0.2))
    2.5
    """
    p, s = _workers(p), _fraction(s, "s")
    return 1 / (s + (1 - s) / p)


def gustafson(p: ArrayLike, s: ArrayLike) -> _Array:
    """Return the scaled speed-up, S = p - s (p - 1), of a problem that grows with p.

    Parameters
    ----------
    p : array-like
        Workers.
    s : array-like
        Serial fraction of the time of the *parallel* run.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or `s` not between 0 and 1.

    References
    ----------
    J. L. Gustafson, "Reevaluating Amdahl's law", Communications of the ACM 31(5), 1988.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.gustafson(4, 0.5))
    2.5
    """
    p, s = _workers(p), _fraction(s, "s")
    return p - s * (p - 1)


def karp_flatt(speedup: ArrayLike, p: ArrayLike) -> _Array:
    """Return the serial fraction that a measured speed-up amounts to, e = (1/S - 1/p) / (1 - 1/p).

    It falls as S rises, so that the ends of an interval of S map to the ends of that of e. Where e rises
    with p there is overhead, where it stays there is serial work. S > p gives e < 0.

    Parameters
    ----------
    speedup : array-like
        Above 0.
    p : array-like
        Above 1.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is not above 1 or a speed-up not above 0.

    References
    ----------
    A. H. Karp and H. P. Flatt, "Measuring parallel processor performance", Communications of the ACM 33(5),
    1990.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> round(float(laws.karp_flatt(2.5, 4)), 12)
    0.2
    """
    speedup, p = np.asarray(speedup, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if np.any(~(p > 1)):
        raise ValueError(f"p must be above 1. Got {p.tolist()} instead.")
    if np.any(~(speedup > 0)):
        raise ValueError(f"speedup must be above 0. Got {speedup.tolist()} instead.")
    return (1 / speedup - 1 / p) / (1 - 1 / p)


def sun_ni(p: ArrayLike, s: ArrayLike, growth: ArrayLike) -> _Array:
    """Return the memory-bounded speed-up, (s + (1 - s) G) / (s + (1 - s) G / p).

    G = 1 is Amdahl's law and G = p Gustafson's, in the fraction of the time on one worker.

    Parameters
    ----------
    p : array-like
        Workers.
    s : array-like
        Serial fraction.
    growth : array-like
        G, by how much the parallel work grows where memory grows p times.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1, `s` not between 0 and 1, or `growth` below 0.

    References
    ----------
    X.-H. Sun and L. M. Ni, "Another view on parallel speedup", Supercomputing 1990.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.sun_ni(4, 0.2, 1.0)), float(laws.sun_ni(4, 0.5, 4.0))
    (2.5, 2.5)
    """
    p, s, growth = _workers(p), _fraction(s, "s"), _at_least_0(growth, "growth")
    return (s + (1 - s) * growth) / (s + (1 - s) * growth / p)


def usl(p: ArrayLike, sigma: ArrayLike, kappa: ArrayLike) -> _Array:
    """Return the speed-up of the Universal Scalability Law, p / (1 + σ (p - 1) + κ p (p - 1)).

    Parameters
    ----------
    p : array-like
        Workers.
    sigma : array-like
        Contention; with κ = 0 it is Amdahl's serial fraction.
    kappa : array-like
        Coherency: the cost of every pair of workers.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or a parameter below 0.

    References
    ----------
    N. J. Gunther, "A simple capacity model of massively parallel transaction systems", CMG 1993; "Guerrilla
    Capacity Planning", Springer 2007.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.usl(4, 0.2, 0.0)), float(laws.usl(4, 0.2, 0.2))
    (2.5, 1.0)
    """
    p, sigma, kappa = _workers(p), _at_least_0(sigma, "sigma"), _at_least_0(kappa, "kappa")
    return p / (1 + sigma * (p - 1) + kappa * p * (p - 1))


def usl_peak(sigma: float, kappa: float) -> float:
    """Return where the Universal Scalability Law peaks, sqrt((1 - σ) / κ); infinity without coherency.

    Parameters
    ----------
    sigma, kappa : float

    Raises
    ------
    ValueError
        If a parameter is below 0.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> laws.usl_peak(0.19, 0.0001)
    90.0
    """
    _at_least_0(sigma, "sigma"), _at_least_0(kappa, "kappa")
    if kappa == 0:
        return float("inf")
    return max(1.0, float(np.sqrt(max(0.0, 1 - sigma) / kappa)))


def pop_efficiencies(useful: Sequence[float], runtime: float) -> dict[str, float]:
    """Return load balance, communication efficiency and their product, parallel efficiency.

    Load balance is mean / max of the useful times, communication efficiency max useful / runtime.

    Parameters
    ----------
    useful : sequence of float
        Seconds of computing of every worker.
    runtime : float
        Seconds from start to end.

    Returns
    -------
    dict
        ``parallel_efficiency``, ``load_balance``, ``communication_efficiency``.

    Raises
    ------
    ValueError
        If there is no worker, a time is below 0 or `runtime` not above 0.

    References
    ----------
    M. Wagner, S. Mohr, J. Giménez and J. Labarta, "A structured approach to performance analysis",
    International Workshop on Parallel Tools for HPC, 2017 (the POP metrics).

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> laws.pop_efficiencies([2.0, 1.0], 2.5)["parallel_efficiency"]
    0.6
    """
    times = _at_least_0(useful, "useful")
    if not times.size:
        raise ValueError("useful must hold a time for every worker. Got none.")
    if not runtime > 0:
        raise ValueError(f"runtime must be above 0. Got {runtime!r} instead.")
    longest = float(times.max())
    balance = float(times.mean()) / longest if longest else 1.0
    return {
        "parallel_efficiency": float(times.mean()) / runtime,
        "load_balance": balance,
        "communication_efficiency": longest / runtime,
    }


def roofline(intensity: ArrayLike, peak: float, bandwidth: float) -> _Array:
    """Return min(peak, intensity x bandwidth), the operations a second that a machine allows.

    Parameters
    ----------
    intensity : array-like
        Operations for every byte that travels from memory.
    peak : float
        Operations a second.
    bandwidth : float
        Bytes a second.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If an argument is below 0.

    References
    ----------
    S. Williams, A. Waterman and D. Patterson, "Roofline", Communications of the ACM 52(4), 2009.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> laws.roofline([0.5, 100.0], peak=1e11, bandwidth=2e10).tolist()
    [10000000000.0, 100000000000.0]
    """
    _at_least_0([peak, bandwidth], "peak and bandwidth")
    return np.minimum(peak, _at_least_0(intensity, "intensity") * bandwidth)


def farm_bounds(times: Sequence[float], p: int) -> tuple[float, float]:
    """Return what no schedule of independent tasks can beat, and what no list schedule exceeds.

    max(Σt / p, max t) <= best, and every schedule that leaves no worker idle while tasks wait takes at most
    Σt / p + (1 - 1/p) max t.

    Parameters
    ----------
    times : sequence of float
        Seconds of every task.
    p : int
        Workers.

    Returns
    -------
    lower, upper : float

    Raises
    ------
    ValueError
        If `p` is below 1 or a time below 0.

    References
    ----------
    R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM Journal on Applied Mathematics 17(2),
    1969.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> laws.farm_bounds([3.0, 3.0, 2.0], 2)
    (4.0, 5.5)
    """
    _workers(p)
    found = _at_least_0(times, "times")
    if not found.size:
        return 0.0, 0.0
    share, longest = float(found.sum()) / p, float(found.max())
    return max(share, longest), share + (1 - 1 / p) * longest


def farm_with_dispatch(times: Sequence[float], p: int, dispatch: float = 0.0, overhead: float = 0.0) -> float:
    """Return the least makespan where one dispatcher hands tasks out, max(N d, (Σt + N o)/p, max t + d + o).

    Parameters
    ----------
    times : sequence of float
        Seconds of every task.
    p : int
        Workers.
    dispatch : float
        Seconds d that the dispatcher spends on a task.
    overhead : float
        Seconds o that a worker spends on a task beside computing.

    Raises
    ------
    ValueError
        If `p` is below 1 or a time below 0.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> laws.farm_with_dispatch([1.0] * 100, 64, dispatch=0.05)
    5.0
    """
    _workers(p)
    found = _at_least_0(times, "times")
    _at_least_0([dispatch, overhead], "dispatch and overhead")
    if not found.size:
        return 0.0
    n = len(found)
    return max(
        n * dispatch, (float(found.sum()) + n * overhead) / p, float(found.max()) + dispatch + overhead
    )


def allreduce_doubling(
    p: ArrayLike, n_bytes: ArrayLike, alpha: ArrayLike, beta: ArrayLike, gamma: ArrayLike = 0.0
) -> _Array:
    """Return the seconds of an allreduce by recursive doubling, ⌈lg p⌉ (α + m β + m γ).

    Parameters
    ----------
    p : array-like
        Ranks.
    n_bytes : array-like
        m, the bytes that are added up.
    alpha : array-like
        Seconds of latency of a message.
    beta : array-like
        Seconds a byte on the network.
    gamma : array-like
        Seconds a byte of adding up.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or another argument below 0.

    References
    ----------
    R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH",
    International Journal of High Performance Computing Applications 19(1), 2005.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.allreduce_doubling(64, 0, 1e-6, 1e-10))
    6e-06
    """
    p, m = _workers(p), _at_least_0(n_bytes, "n_bytes")
    alpha, beta, gamma = (_at_least_0(v, n) for v, n in ((alpha, "alpha"), (beta, "beta"), (gamma, "gamma")))
    return np.ceil(np.log2(p)) * (alpha + m * beta + m * gamma)


def allreduce_ring(
    p: ArrayLike, n_bytes: ArrayLike, alpha: ArrayLike, beta: ArrayLike, gamma: ArrayLike = 0.0
) -> _Array:
    """Return the seconds of an allreduce on a ring, 2 (p - 1) α + 2 (p - 1)/p m β + (p - 1)/p m γ.

    Parameters
    ----------
    p, n_bytes, alpha, beta, gamma : array-like
        As for `allreduce_doubling`.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If `p` is below 1 or another argument below 0.

    References
    ----------
    P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", Journal
    of Parallel and Distributed Computing 69(2), 2009.

    Examples
    --------
    >>> from hpcml.scaling import laws
    >>> float(laws.allreduce_ring(1, 1e6, 1e-6, 1e-10))
    0.0
    """
    p, m = _workers(p), _at_least_0(n_bytes, "n_bytes")
    alpha, beta, gamma = (_at_least_0(v, n) for v, n in ((alpha, "alpha"), (beta, "beta"), (gamma, "gamma")))
    return 2 * (p - 1) * alpha + 2 * (p - 1) / p * m * beta + (p - 1) / p * m * gamma
