"""The other processes of a job on this node: whether they still live."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mate", "gone", "myself", "siblings_watched", "visible"]


@dataclass(frozen=True)
class Mate:
    """A process: its rank, its number, and when it started (numbers are used again)."""

    rank: int
    pid: int
    started: str | None


def _stat(pid: int) -> tuple[str, str] | None:
    """Return state and starting time of a process, None if there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold blanks
    except OSError:
        return None
    return words[0], words[19]


def myself(rank: int) -> Mate:
    """Return this process as the others watch it."""
    found = _stat(os.getpid()) if sys.platform == "linux" else None
    return Mate(rank, os.getpid(), found and found[1])


def visible(mates: Iterable[Mate]) -> list[Mate]:
    """Return those that can be watched from here; a container may number its processes by itself."""
    return [mate for mate in mates if mate.started is not None and not gone(mate)]


def gone(mate: Mate) -> bool:
    """Return whether a process has ended, or is only remembered by its parent."""
    found = _stat(mate.pid)
    return found is None or found[0] in "ZX" or found[1] != mate.started


# Looks every second whether the launcher $1 has fewer than $2 children left, until rank $3 is gone.
_WATCH = """
while sleep 1 && kill -0 $3 2>/dev/null; do
    children=$(cat /proc/$1/task/$1/children) || exit 0
    set -- $1 $2 $3 $children
    if [ $(($# - 3)) -lt $2 ]; then
        echo "hpcml.errors.WorkerLost: a rank of this node ended before MPI had started; the others end" >&2
        kill -KILL $3
        exit 1
    fi
    set -- $1 $2 $3
done
"""


@contextlib.contextmanager
def siblings_watched() -> Iterator[None]:
    """End this process if another rank of the node ends while MPI starts in a ``with`` block.

    MPICH's launcher starts the ranks of a node as children of one process. It does not end the others when
    one fails that has not started MPI yet, and they would wait for it inside a call that no Python thread or
    signal handler interrupts. So a shell of its own looks after them meanwhile.
    """
    announced, parent = os.environ.get("MPI_LOCALNRANKS", ""), os.getppid()
    try:
        name = Path(f"/proc/{parent}/comm").read_text()
    except OSError:
        name = ""
    if not announced.isdecimal() or int(announced) < 2 or not name.startswith("hydra"):
        yield
        return
    numbers = [str(parent), announced, str(os.getpid())]
    watch = subprocess.Popen(["/bin/sh", "-c", _WATCH, "sh", *numbers], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        watch.kill()
        watch.wait()
