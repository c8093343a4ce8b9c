"""What a document of samples says: speed-ups, ceilings, laws, and how many samples were rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.scaling import fit, laws
from hpcml.scaling.statistics import STARVED, Estimate, Ratios, estimate_ratios

__all__ = [
    "Result",
    "Sizes",
    "accepted",
    "analyse",
    "analyse_sizes",
    "half_widths",
    "noise",
    "normalised_logs",
    "starved",
]

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """Strong or weak scaling of a workload.

    Parameters
    ----------
    mode : {'strong', 'weak'}
    p : tuple of int
        Numbers of workers above 1.
    speedups : Ratios
        T(1)/T(p), for weak scaling p T(1, n)/T(p, p n).
    unfiltered : Ratios
        The same with starved samples.
    ceiling : Ratios
        What the calibration spin reached.
    relative : Ratios
        Speed-ups as shares of the ceiling.
    seconds : dict of int to float
        Median time at every p.
    fits : dict of str to Fit
    trusted : float
        Up to which p the laws' curves may be believed.
    cores : int
    n_rejected, n_samples : int
    resolved : bool
        Whether every half-width is within the precision that was asked for.
    """

    mode: str
    p: tuple[int, ...]
    speedups: Ratios
    unfiltered: Ratios
    ceiling: Ratios
    relative: Ratios
    seconds: Mapping[int, float]
    fits: Mapping[str, fit.Fit]
    trusted: float
    cores: int
    n_rejected: int
    n_samples: int
    resolved: bool

    def karp_flatt(self, i: int) -> Estimate:
        """Return the serial fraction that the speed-up at ``p[i]`` amounts to."""
        S = self.speedups.at(i)
        if not S.value > 0:  # every sample was rejected
            return Estimate(np.nan, np.nan, np.nan)
        S_of = np.array([S.value, S.high, max(S.low, 1e-9)])
        value, low, high = laws.karp_flatt(S_of, self.p[i]).tolist()
        return Estimate(value, low, high, S.n)

    def superlinear(self, i: int) -> bool:
        """Whether the speed-up exceeds p, interval and all: cache or noise."""
        return self.speedups.at(i).low > self.p[i]


def _tables(
    document: Mapping[str, Any], points: Iterable[tuple[str, int, int]], filtered: bool
) -> list[_Array]:
    """Return for every launch the log seconds of its blocks, a column a point; NaN where there is none."""
    points = list(points)
    column = {point: j for j, point in enumerate(points)}
    hungry = starved(document) if filtered else frozenset()
    launches: dict[int, dict[int, _Array]] = {}
    for sample in document["samples"]:
        j = column.get((sample["kind"], sample["n"], sample["p"]))
        if j is None:
            continue
        blocks = launches.setdefault(sample["launch"], {})
        row = blocks.setdefault(sample["block"], np.full(len(points), np.nan))
        if (sample["launch"], sample["block"], sample["p"]) not in hungry:
            row[j] = np.log(sample["seconds"])
    return [np.stack(list(blocks.values())) for blocks in launches.values()]


def starved(document: Mapping[str, Any]) -> frozenset[tuple[int, int, int]]:
    """Return (launch, block, p) whose calibration got less than its share of the cores.

    The rule is declared beforehand: process time over wall time times cores below 0.95. A p beyond the cores
    is never whole and is not judged.
    """
    cores = document["machine"]["cores_usable"]
    return frozenset(
        (sample["launch"], sample["block"], sample["p"])
        for sample in document["samples"]
        if sample["kind"] == "spin" and sample["p"] <= cores and sample["share"] < STARVED
    )


def accepted(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the samples whose calibration got its share of the cores."""
    hungry = starved(document)
    return [
        each
        for each in document["samples"]
        if (each.get("launch"), each.get("block"), each["p"]) not in hungry
    ]


def _rows_at(document: Mapping[str, Any], mode: str, p: int) -> int:
    return int(document["rows"]) * (p if mode == "weak" else 1)


def analyse(document: Mapping[str, Any], mode: str) -> Result:
    """Return strong or weak scaling from the samples.

    Parameters
    ----------
    document : mapping
    mode : {'strong', 'weak'}

    Raises
    ------
    ValueError
        If it was not measured.
    """
    if mode not in ("strong", "weak") or not document["plan"].get(mode):
        raise ValueError(f"mode must be one that was measured. Got {mode!r} instead.")
    all_p = sorted({1, *document["plan"]["workers"]})
    p = tuple(each for each in all_p if each > 1)
    points = [("work", _rows_at(document, mode, each), each) for each in all_p]
    points += [("spin", 0, each) for each in all_p]
    m, factor = len(all_p), np.log(p) if mode == "weak" else 0.0
    spin_factor = np.log(p)

    def ratios(filtered: bool, of: str) -> Ratios:
        found = []
        for table in _tables(document, points, filtered):
            work = table[:, :1] - table[:, 1:m] + factor
            spin = table[:, m : m + 1] - table[:, m + 1 :] + spin_factor
            found.append({"work": work, "spin": spin, "relative": work - spin}[of])
        return estimate_ratios(p, found)

    speedups, unfiltered = ratios(True, "work"), ratios(False, "work")
    pooled = np.concatenate(_tables(document, points, filtered=False))
    seconds = {each: float(np.exp(np.nanmedian(pooled[:, j]))) for j, each in enumerate(all_p)}
    cores = int(document["machine"]["cores_usable"])
    kept = np.concatenate(_tables(document, points, filtered=True))[:, :m]
    n_samples = int(np.isfinite(pooled[:, :m]).sum())
    fits = (
        {"amdahl": fit.fit_amdahl(speedups, cores), "usl": fit.fit_usl(speedups, cores)}
        if mode == "strong"
        else {"gustafson": fit.fit_gustafson(speedups, cores)}
    )
    return Result(
        mode,
        p,
        speedups,
        unfiltered,
        ratios(True, "spin"),
        ratios(True, "relative"),
        seconds,
        fits,
        fit.trust(fits),
        cores,
        n_samples - int(np.isfinite(kept).sum()),
        n_samples,
        bool(len(p)) and bool(np.all(speedups.half <= document["plan"]["precision"])),
    )


@dataclass(frozen=True)
class Sizes:
    """Time and memory against rows.

    Parameters
    ----------
    n : tuple of int
    seconds : Ratios
        Logs of the seconds at each size.
    peaks : tuple of int or None
        Bytes above what was held before.
    power : Fit
        t = c n^a.
    p : int
        Workers.
    """

    n: tuple[int, ...]
    seconds: Ratios
    peaks: tuple[int | None, ...]
    power: fit.Fit
    p: int


def analyse_sizes(document: Mapping[str, Any]) -> Sizes:
    """Return how time and memory grow with the rows.

    Raises
    ------
    ValueError
        If no sizes were measured.
    """
    sizes = tuple(sorted(set(document["plan"]["sizes"])))
    if not sizes:
        raise ValueError("sizes were not measured.")
    p = max(document["plan"]["workers"])
    tables = _tables(document, [("work", n, p) for n in sizes], filtered=True)
    seconds = estimate_ratios(sizes, tables)
    told = {(each["n"], each["p"]): each["bytes"] for each in document.get("peaks", [])}
    return Sizes(sizes, seconds, tuple(told.get((n, p)) for n in sizes), fit.fit_power(sizes, seconds), p)


def half_widths(document: Mapping[str, Any]) -> list[float]:
    """Return the half-widths that the precision is asked of: of speed-ups at p > 1, else of times."""
    found: list[float] = []
    for mode in ("strong", "weak"):
        if document["plan"][mode]:
            found += analyse(document, mode).speedups.half.tolist()
    if document["plan"]["sizes"]:
        found += analyse_sizes(document).seconds.half.tolist()
    if not found:  # one number of workers: its time
        p = max(document["plan"]["workers"])
        points = [("work", _rows_at(document, "strong", p), p)]
        found = estimate_ratios([p], _tables(document, points, filtered=True)).half.tolist()
    return found


def normalised_logs(document: Mapping[str, Any], n: int, p: int) -> list[_Array]:
    """Return for every launch log(T / spin) of its blocks: what two measurements are compared by."""
    tables = _tables(document, [("work", n, p), ("spin", 0, p)], filtered=True)
    return [table[:, 0] - table[:, 1] for table in tables]


def noise(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every sample as a ratio to the median of its own kind, in the order of measuring."""
    groups: dict[tuple[str, int, int], list[float]] = {}
    for sample in document["samples"]:
        groups.setdefault((sample["kind"], sample["n"], sample["p"]), []).append(sample["seconds"])
    middle = {key: float(np.median(values)) for key, values in groups.items()}
    hungry = starved(document)
    return [
        {
            "kind": sample["kind"],
            "p": sample["p"],
            "launch": sample["launch"],
            "ratio": sample["seconds"] / middle[sample["kind"], sample["n"], sample["p"]],
            "starved": (sample["launch"], sample["block"], sample["p"]) in hungry,
        }
        for sample in document["samples"]
    ]
