"""Old and new measurements of one workload: is the new one slower? Decided on intervals."""

from __future__ import annotations

from hpcml.scaling.statistics import Estimate

__all__ = ["slower"]


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
