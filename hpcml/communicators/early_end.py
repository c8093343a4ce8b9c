"""A rank that fails after the script has started MPI, and before hpcml uses it: the others must not wait.

They would wait inside MPI for one that is gone, and a launcher does not always miss it. As with ``python -m
mpi4py``, the failing rank prints its error and aborts the job. From hpcml's first exchange on,
`hpcml.communicators.mpi_world` knows better: it tells the others what has happened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hpcml.launcher import announced

__all__ = ["flush", "install", "say", "show", "take_over"]

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]

_previous: Hook | None = None  # while hpcml has not used MPI
_rank_process = 0  # forked children are no ranks


def install() -> None:
    """See to uncaught exceptions, if a launcher has started this process with others."""
    global _previous, _rank_process
    found = announced()
    if found is not None and found.size > 1 and _previous is None:
        _rank_process = os.getpid()
        _previous, sys.excepthook = sys.excepthook, _uncaught


def take_over() -> Hook:
    """Return what shows an uncaught exception; the caller sees to the other ranks from now on."""
    global _previous
    found, _previous = _previous, None
    return found if found is not None and sys.excepthook is _uncaught else sys.excepthook


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    module: Any = sys.modules.get("mpi4py.MPI")
    runs = module is not None and module.Is_initialized() and not module.Is_finalized()
    if _previous is None or not runs or os.getpid() != _rank_process:
        (_previous or sys.__excepthook__)(kind, error, trace)
        return
    world = module.COMM_WORLD
    show(_previous, world.Get_rank(), error)
    if world.Get_size() > 1:
        world.Abort(1)


def show(hook: Hook, rank: int, error: BaseException) -> None:
    """Show an uncaught exception of a rank, by Python's own hook as one piece: others may print as well."""
    if hook is not sys.__excepthook__:
        hook(type(error), error, error.__traceback__)
        say("")
    else:
        import traceback

        say(f"hpcml: rank {rank} failed\n" + "".join(traceback.format_exception(error)))


def say(text: str) -> None:
    """Write to stderr at once, for other ranks write there too, and see to it that all is out."""
    if sys.stderr is not None:
        sys.stderr.write(text)
    flush()


def flush() -> None:
    """See to it that all that was written is out."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
