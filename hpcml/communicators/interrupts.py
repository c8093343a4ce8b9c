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
    """Let an interrupt from the keyboard, or a SIGTERM that is handled, arrive after a ``with`` block.

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
    held: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in held.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not held:
        yield  # Python interrupts its main thread alone
        return
    arrived: list[tuple[Any, ...]] = []
    for number in held:
        signal.signal(number, lambda *about: arrived.append(about))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for number, frame in arrived[:1]:
            held[number](number, frame)
