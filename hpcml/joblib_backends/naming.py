"""What can be read off the calls that joblib hands over: a name for people, and what each costs."""

from collections.abc import Sequence
from typing import Any

__all__ = ["cost_of", "job_name"]


def _calls(batch: Any) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Return function, arguments and keywords of the calls of a batch of joblib."""
    calls = getattr(batch, "items", None)
    return list(calls) if isinstance(calls, list) else [(batch, (), {})]


def cost_of(batch: Any) -> float:
    """Return what a batch costs: of each call the ``cost`` of its first argument, if it has one, else 1.

    Parameters
    ----------
    batch : joblib.parallel.BatchedCalls
    """
    total = 0.0
    for _, arguments, _ in _calls(batch):
        cost = getattr(arguments[0], "cost", None) if arguments else None
        total += float(cost) if isinstance(cost, int | float) and cost > 0 else 1.0
    return total


def job_name(batches: Sequence[Any]) -> str:
    """Return a name for a job: its estimator and grid, or its function.

    Parameters
    ----------
    batches : sequence of joblib.parallel.BatchedCalls
        At least one.

    Examples
    --------
    >>> from joblib import delayed
    >>> from joblib.parallel import BatchedCalls
    >>> from hpcml.joblib_backends.naming import job_name
    >>> job_name([BatchedCalls([delayed(abs)(i)], (None, None)) for i in range(3)])
    '3 calls of abs'
    """
    calls = [call for batch in batches for call in _calls(batch)]
    function, arguments, keywords = calls[0]
    subject = arguments[0] if arguments else None
    estimator = subject if hasattr(subject, "get_params") else getattr(subject, "estimator", None)
    if not hasattr(estimator, "get_params"):
        name = getattr(function, "__qualname__", None) or type(function).__name__
        return f"{len(calls)} calls of {name}"
    names: set[str] = set()
    for _, own, keywords in calls:
        for grid in (keywords.get("parameters"), getattr(own[0] if own else None, "parameters", None)):
            names.update(grid or ())
    over = f" over {', '.join(sorted(names))}" if names else ""
    return f"{type(estimator).__name__}{over}: {len(calls)} tasks"
