"""Moments in which an interrupt has to wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["later"]


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Let an interrupt from the keyboard arrive after a ``with`` block instead of inside it.

    A process is started and then remembered; an interrupt between the two would leave one that nobody ends.

    Examples
    --------
    >>> import signal
    >>> from hpcml.communicators import interrupts
    >>> try:
    ...     with interrupts.later():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("not yet")
    ... except KeyboardInterrupt:
    ...     print("now")
    not yet
    now
    """
    handler: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield  # Python interrupts its main thread alone
        return
    arrived: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *about: arrived.append(about))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            handler(*arrived[0])
