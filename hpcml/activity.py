"""Where the time of a fit goes: communicators and backends report it, whoever measures records it.

Seconds are reported by kind: ``compute`` (this process's kernels), ``communication`` (waiting for other
workers and exchanging with them), ``dispatch`` (handing out tasks). What no kind accounts for is serial.
Where nobody records, a report costs one look at a variable.
"""

import contextlib
import time
from collections.abc import Iterator

__all__ = ["COUNTS", "KINDS", "add", "count_sum", "during", "recorded"]

#: The kinds of activity.
KINDS = ("compute", "communication", "dispatch")

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
def during(kind: str, *, but: str | None = None) -> Iterator[None]:
    """Report how long the block takes, without what is reported as `but` inside it.

    Parameters
    ----------
    kind : str
    but : str, optional

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
    apart = _spent[but] if but else 0.0
    started = time.perf_counter()
    try:
        yield
    finally:
        inside = _spent[but] - apart if but and _spent is not None else 0.0
        add(kind, time.perf_counter() - started - inside)
