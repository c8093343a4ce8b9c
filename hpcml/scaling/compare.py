"""Old and new measurements of one workload: is the new one slower? Decided on intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.scaling.analysis import normalised_logs
from hpcml.scaling.statistics import Estimate, difference

__all__ = ["Compared", "compare", "slower"]


@dataclass(frozen=True)
class Compared:
    """New time to old time at one number of rows and workers; the ratio is None where too few samples are.

    Parameters
    ----------
    n, p : int
    ratio : Estimate or None
    is_slower : bool
    """

    n: int
    p: int
    ratio: Estimate | None
    is_slower: bool

    def __str__(self) -> str:
        where = f"{self.n:,} rows on {self.p} worker{'' if self.p == 1 else 's'}"
        if self.ratio is None:
            return f"{where}: not resolved"
        told = f"{self.ratio.value:.3f} × the time ({self.ratio.low:.3f}–{self.ratio.high:.3f})"
        return f"{where}: {told}" + (", slower" if self.is_slower else "")


def slower(ratio: Estimate, allowed: float) -> bool:
    """Return whether a ratio of times, new to old, is a slowdown.

    It is where the interval lies above 1 and the estimate beyond what is allowed: noise alone then raises an
    alarm in fewer than 2.5 % of comparisons, and a slowdown of twice the allowed share is found.

    Parameters
    ----------
    ratio : Estimate
        New time to old time.
    allowed : float
        Share that may be lost, such as 0.05.

    Examples
    --------
    >>> from hpcml.scaling.compare import slower
    >>> from hpcml.scaling.statistics import Estimate
    >>> slower(Estimate(1.1, 1.02, 1.18), 0.05), slower(Estimate(1.1, 0.98, 1.22), 0.05)
    (True, False)
    """
    return ratio.low > 1 and ratio.value > 1 + allowed


def _points(document: Mapping[str, Any]) -> set[tuple[int, int]]:
    return {(each["n"], each["p"]) for each in document["samples"] if each["kind"] == "work"}


def compare(old: Mapping[str, Any], new: Mapping[str, Any], allowed: float = 0.05) -> list[Compared]:
    """Compare two measurements point by point, each time over that of the calibration beside it.

    Parameters
    ----------
    old, new : mapping
        Documents.
    allowed : float
        Share that may be lost.

    Returns
    -------
    list of Compared

    Raises
    ------
    ValueError
        If they are of different workloads, backends or processors, or share no point.
    """
    for what, one, other in (
        ("workload", old["plan"]["workload"], new["plan"]["workload"]),
        ("backend", old["plan"]["backend"], new["plan"]["backend"]),
        ("processor", old["machine"].get("cpu"), new["machine"].get("cpu")),
    ):
        if one != other:
            raise ValueError(f"both files must be of one {what}. Got {one} and {other} instead.")
    shared = sorted(_points(old) & _points(new))
    if not shared:
        raise ValueError("both files must share a number of rows and workers. They share none.")
    found = []
    for n, p in shared:
        try:
            ratio = difference(normalised_logs(old, n, p), normalised_logs(new, n, p))
        except ValueError:  # too few samples were left
            found.append(Compared(n, p, None, False))
            continue
        found.append(Compared(n, p, ratio, bool(np.isfinite(ratio.low)) and slower(ratio, allowed)))
    return found
