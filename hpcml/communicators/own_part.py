"""What the calling process does itself while its workers are at the same."""

from __future__ import annotations

import contextvars
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any

from hpcml.cancellation import Cancellation

__all__ = ["Aside", "at_once"]

# Called when the others have answered, returns what the part found and what it raised.
Outcome = Callable[[], tuple[Any, BaseException | None]]
Found = queue.SimpleQueue[tuple[Any, BaseException | None]]


def at_once(own: Callable[[], Any]) -> Outcome:
    """Do it; the others answer whether it raises or not."""
    outcome: tuple[Any, BaseException | None]
    try:
        outcome = own(), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        outcome = None, error
    return lambda: outcome


class Aside:
    """A thread that does it, so that a worker that is lost and an interrupt are noticed meanwhile."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], Any] | None] | None = None
        self._found: Found

    def __call__(self, own: Callable[[], Any]) -> Outcome:
        if self._asked is None:
            self._asked, self._found = queue.SimpleQueue(), queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._asked, self._found), daemon=True).start()
        self._cancellation = Cancellation()
        heeding = functools.partial(_heeding, self._cancellation, own)
        self._asked.put(functools.partial(contextvars.copy_context().run, heeding))
        return self._found.get

    def end(self) -> None:
        """End the thread and what it computes; nobody waits for it, and the next use starts another one."""
        if self._asked is not None:
            self._cancellation.cancel()
            self._asked.put(None)
            self._asked = None


def _heeding(cancellation: Cancellation, own: Callable[[], Any]) -> Any:
    with cancellation.heeded():
        return own()


def _serve(
    asked: queue.SimpleQueue[Callable[[], Any] | None],
    found: Found,
) -> None:
    while (own := asked.get()) is not None:
        try:
            found.put((own(), None))
        except BaseException as error:
            found.put((None, error))
        del own  # the rows that it refers to
