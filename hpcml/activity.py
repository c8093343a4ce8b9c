"""Where the time of a fit goes: communicators and backends report it, whoever measures records it.

Seconds are reported by kind: ``compute`` (kernels of this process, or the mean over the workers of a step),
``imbalance`` (what the longest worker of a step took beyond that mean), ``communication`` (exchanging with
other workers), ``dispatch`` (handing out tasks and taking results back). What no kind accounts for is serial.
Where nobody records, a report costs one look at a variable.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COUNTS", "KINDS", "Step", "add", "count_sum", "during", "recorded", "step"]

#: The kinds of activity.
KINDS = ("compute", "imbalance", "communication", "dispatch")

#: What is counted: sums over all rows, and the bytes of what they add up to.
COUNTS = ("sums", "sum_bytes")

_spent: dict[str, float] | None = None  # of the process: fits that are measured do not run side by side


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, float]]:
    """Record the seconds that this process spends inside the block, by kind.

    Examples
    --------
    >>> from hpcml import activity
    >>> with activity.recorded() as spent:
    ...     activity.add("compute", 0.5)
    >>> spent["compute"], spent["communication"]
    (0.5, 0.0)
    """
    global _spent
    outer, _spent = _spent, dict.fromkeys((*KINDS, *COUNTS), 0.0)
    try:
        yield _spent
    finally:
        _spent = outer


def add(kind: str, seconds: float) -> None:
    """Report seconds.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seconds : float

    Examples
    --------
    >>> from hpcml import activity
    >>> activity.add("compute", 1.0)  # nobody records
    """
    if _spent is not None:
        _spent[kind] += seconds


def count_sum(n_bytes: int) -> None:
    """Report one sum over all rows.

    Parameters
    ----------
    n_bytes : int
        Of what it adds up to.

    Examples
    --------
    >>> from hpcml import activity
    >>> with activity.recorded() as spent:
    ...     activity.count_sum(80)
    >>> spent["sums"], spent["sum_bytes"]
    (1.0, 80.0)
    """
    if _spent is not None:
        _spent["sums"] += 1
        _spent["sum_bytes"] += n_bytes


@contextlib.contextmanager
def during(kind: str) -> Iterator[None]:
    """Report how long the block takes.

    Parameters
    ----------
    kind : str

    Examples
    --------
    >>> from hpcml import activity
    >>> with activity.recorded() as spent:
    ...     with activity.during("dispatch"):
    ...         pass
    >>> spent["dispatch"] > 0
    True
    """
    if _spent is None:
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        add(kind, time.perf_counter() - started)


def _timed(function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
    """Return who called a function, how long it took, and its result."""
    started = time.perf_counter()
    result = function(*arguments, **keywords)
    return (os.uname().nodename, os.getpid()), time.perf_counter() - started, result


@dataclass
class Step:
    """What workers did together; see `step`.

    Parameters
    ----------
    recording : bool
        Whether anybody wants to know.
    seconds : dict
        Of every worker that did something.
    """

    recording: bool = False
    seconds: dict[Hashable, float] = field(default_factory=dict)

    def took(self, worker: Hashable, seconds: float) -> None:
        """Add seconds in which a worker computed."""
        self.seconds[worker] = self.seconds.get(worker, 0.0) + seconds

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what workers are to call instead of a function; what it returns goes to `result`."""
        return functools.partial(_timed, function) if self.recording else function

    def result(self, told: Any) -> Any:
        """Return the result of a function of `timed`, and note who took how long."""
        if not self.recording:
            return told
        worker, seconds, result = told
        self.took(worker, seconds)
        return result


@contextlib.contextmanager
def step(kind: str, n_workers: int) -> Iterator[Step]:
    """Report a block in which workers compute at the same time.

    The mean of their seconds is compute, what the longest took beyond it imbalance, the rest of the block's
    time is of the given kind. What this process reports inside the block itself is not counted twice.

    Parameters
    ----------
    kind : str
        ``communication`` or ``dispatch``.
    n_workers : int
        Those without anything to do among them.

    Examples
    --------
    >>> import time
    >>> from hpcml import activity
    >>> with activity.recorded() as spent, activity.step("dispatch", n_workers=2) as step:
    ...     step.took("first", 0.003)
    ...     step.took("second", 0.001)
    ...     time.sleep(0.01)
    >>> round(spent["compute"], 6), round(spent["imbalance"], 6), spent["dispatch"] > 0.006
    (0.002, 0.001, True)
    """
    global _spent
    spent, found = _spent, Step(_spent is not None)
    if spent is None:
        yield found
        return
    _spent = None
    started = time.perf_counter()
    try:
        yield found
    finally:
        _spent = spent
        whole = time.perf_counter() - started
        mean, longest = sum(found.seconds.values()) / n_workers, max(found.seconds.values(), default=0.0)
        spent["compute"] += mean
        spent["imbalance"] += max(0.0, longest - mean)
        spent[kind] += max(0.0, whole - longest)
