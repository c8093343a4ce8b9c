"""The other processes of a job on this node: whether they still live."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mate", "gone", "myself", "visible"]


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
