"""Work of other threads that is to end because nobody waits for it any more."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cancellation", "Cancelled", "heeded_here"]


class Cancelled(BaseException):
    """Ends work whose result nobody wants any more."""


class Cancellation:
    """Lets one thread end what others compute: their compiled kernels stop and raise `Cancelled`.

    Interrupts reach the main thread alone; it cancels what it has asked other threads for. In another process
    a copy is never cancelled.

    Examples
    --------
    >>> from hpcml.cancellation import Cancellation, heeded_here
    >>> cancellation = Cancellation()
    >>> with cancellation.heeded():
    ...     _, flag = heeded_here()
    >>> flag
    array([0], dtype=int32)
    >>> cancellation.cancel()
    >>> flag
    array([1], dtype=int32)
    """

    def __init__(self) -> None:
        self._flag = np.zeros(1, dtype=np.int32)

    def __reduce__(self) -> tuple[type[Cancellation], tuple[()]]:
        return Cancellation, ()

    def cancel(self) -> None:
        """End what heeds this."""
        self._flag[0] = 1

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Let kernels that are called inside the block heed this."""
        token = _heeded.set(self._flag)
        try:
            yield
        finally:
            _heeded.reset(token)


_heeded: contextvars.ContextVar[NDArray[np.int32] | None] = contextvars.ContextVar("_heeded", default=None)


def heeded_here() -> tuple[bool, NDArray[np.int32] | None]:
    """Return whether the handlers of signals run in this thread, and the flag that ends what it computes.

    Examples
    --------
    >>> from hpcml.cancellation import heeded_here
    >>> heeded_here()
    (True, None)
    """
    return threading.get_ident() == threading.main_thread().ident, _heeded.get()
