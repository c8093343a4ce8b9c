"""What is read of this machine's processes below ``/proc``."""

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


def processor_seconds(pid: str = "self") -> float:
    """Return the processor time of a process and of all below it, ended ones included.

    Parameters
    ----------
    pid : str
        A number, or "self".
    """
    try:
        words = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()  # the name may hold blanks
    except OSError:
        return 0.0
    # by the user and the system, of itself and of children that it has waited for
    used = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    return used + sum(map(processor_seconds, children(pid)))
