"""The one guard of this process's BLAS threads.

Shards run in parallel and BLAS must not start threads below them; and what BLAS computes on one thread has
the same bits on every machine size. Limits that two Python threads set and lift across each other leave the
wrong one behind, so the limit is counted: the first user sets it, the last lifts it. threadpoolctl 3.8 lets
only one thread set limits and ignores the others in silence: the guard takes that right when it needs it.
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["let_this_thread_limit", "one_thread"]

_lock = threading.Lock()
_users = 0
_limit: Any = None


@functools.cache
def _controller(scipy_is_loaded: bool) -> Any:
    """Return the handle on the BLAS of NumPy and, once loaded, of SciPy; finding them takes 2 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def let_this_thread_limit(controller: Any) -> None:
    """Take from other threads the right to set limits through a `threadpoolctl.ThreadpoolController`."""
    for library in controller.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use one thread inside a ``with`` block, in every Python thread of the process.

    Examples
    --------
    >>> from hpcml import blas
    >>> with blas.one_thread():
    ...     pass
    """
    global _users, _limit
    with _lock:
        if _users == 0:
            controller = _controller("scipy.linalg" in sys.modules)
            let_this_thread_limit(controller)
            _limit = controller, controller.limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                controller, limiter = _limit
                let_this_thread_limit(controller)
                limiter.restore_original_limits()
                let_this_thread_limit(controller)  # and leave the right to whoever comes next
                _limit = None
