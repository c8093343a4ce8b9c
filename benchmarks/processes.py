"""What is read of this machine's processes below ``/proc``."""

import contextlib
import os
from pathlib import Path

__all__ = ["children", "processor_seconds"]


def children(pid: str) -> list[str]:
    """Return the processes that one has started and that still run.

    Parameters
    ----------
    pid : str
        A number, or "self".
    """
    try:
        threads = list(Path("/proc", pid, "task").iterdir())
        return [each for thread in threads for each in (thread / "children").read_text().split()]
    except OSError:  # ended just now
        return []


def processor_seconds() -> float:
    """Return the processor time of this process and of all below it, ended ones included."""
    ticks: dict[int, int] = {}
    started: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):  # lists of children leave out some while others end
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()  # the name may hold blanks
            pid = int(stat.parent.name)
            # by the user and the system, of itself and of children that it has waited for
            ticks[pid] = sum(map(int, words[11:15]))
            started.setdefault(int(words[1]), []).append(pid)
    used, below = 0, [os.getpid()]
    while below:
        pid = below.pop()
        used += ticks.get(pid, 0)
        below += started.get(pid, [])
    return used / os.sysconf("SC_CLK_TCK")
