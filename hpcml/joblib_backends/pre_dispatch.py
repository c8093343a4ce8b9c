"""When joblib makes the tasks of a call: all before the first runs, unless its user wants otherwise."""

from typing import Any

__all__ = ["EVERY_TASK", "make_all_first"]

#: joblib's default, and scikit-learn's: it says nothing of what the caller wants.
_DEFAULT = "2*n_jobs"

#: More tasks than there are. joblib's own "all" would lose an exception of the maker of tasks where all tasks
#: before it are done.
EVERY_TASK = 1 << 30


def make_all_first(parallel: Any) -> None:
    """Let a `joblib.Parallel` make all tasks of a call first, unless its `pre_dispatch` was chosen.

    Parameters
    ----------
    parallel : joblib.Parallel

    Examples
    --------
    >>> from joblib import Parallel
    >>> from hpcml.joblib_backends.pre_dispatch import EVERY_TASK, make_all_first
    >>> for chosen in ("2*n_jobs", "all", 3):
    ...     parallel = Parallel(pre_dispatch=chosen)
    ...     make_all_first(parallel)
    ...     print(parallel.pre_dispatch == EVERY_TASK)
    True
    True
    False
    """
    chosen = parallel.pre_dispatch
    if isinstance(chosen, str) and chosen.replace(" ", "") in (_DEFAULT, "all"):
        parallel.pre_dispatch = EVERY_TASK
