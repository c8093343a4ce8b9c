"""Which tasks go together in one partition."""

import heapq
from collections.abc import Sequence

__all__ = ["balanced"]


def balanced(costs: Sequence[float], n_parts: int) -> list[list[int]]:
    """Deal tasks to parts of about equal cost: the dearest first, each to the part with the least so far.

    Parameters
    ----------
    costs : sequence of float
    n_parts : int

    Returns
    -------
    list of list of int
        Numbers of tasks; no part is empty.

    Examples
    --------
    >>> from hpcml.joblib_backends.dealing import balanced
    >>> balanced([1.0, 1.0, 4.0, 1.0, 1.0], n_parts=2)
    [[2], [0, 1, 3, 4]]
    """
    parts: list[list[int]] = [[] for _ in range(min(n_parts, len(costs)))]
    heap = [(0.0, i) for i in range(len(parts))]
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        total, i = heapq.heappop(heap)
        parts[i].append(number)
        heapq.heappush(heap, (total + costs[number], i))
    return [sorted(part) for part in parts if part]
