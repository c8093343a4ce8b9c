"""What the environment says about the launcher of this process; nothing of MPI is loaded to find out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["TERMINATED", "Announced", "announced", "check_library", "check_size", "short_name"]

#: Exit status after SIGTERM, the end of a batch job's time, as shells know it (128 + SIGTERM).
TERMINATED = 143

#: Slurm numbers the steps that it makes itself (batch script, interactive shell, ...) from here on.
FIRST_SPECIAL_STEP = 0xFFFFFF00

#: First words of `MPI_Get_library_version` of libraries that Open MPI's launcher cannot start.
_MPICH_FAMILY = ("MPICH", "Intel(R) MPI", "MVAPICH")


@dataclass(frozen=True)
class Announced:
    """What a launcher announced.

    Parameters
    ----------
    launcher : str
        Who started the process, in words.
    size : int
        Number of ranks.
    rank : int
        Number of this one.
    """

    launcher: str
    size: int
    rank: int


#: Launchers that leave the number of ranks and the rank in the environment, the innermost first: an mpirun
#: inside a Slurm job starts its own helpers as a step, and its ranks inherit that step's variables.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "Open MPI's mpirun"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MVAPICH's mpirun"),
    ("PMI_SIZE", "PMI_RANK", "a PMI launcher, such as MPICH's mpirun,"),
)


def announced(environ: Mapping[str, str] | None = None) -> Announced | None:
    """Return what the launcher announced; None for a process that was started by hand.

    Parameters
    ----------
    environ : mapping, optional
        The environment; by default the process's own.

    Returns
    -------
    Announced or None
        A batch script and an interactive shell of Slurm are not ranks: only tasks that ``srun`` started are.

    Examples
    --------
    >>> from hpcml.launcher import announced
    >>> announced({"PMI_SIZE": "4", "PMI_RANK": "2"}).size
    4
    >>> announced({"SLURM_NTASKS": "4"})
    """
    environ = os.environ if environ is None else environ
    for size_name, rank_name, launcher in _LAUNCHERS:
        size = _number(environ, size_name)
        if size:
            return Announced(launcher, size, _number(environ, rank_name) or 0)
    step, size = _number(environ, "SLURM_STEP_ID"), _number(environ, "SLURM_STEP_NUM_TASKS")
    if step is not None and step < FIRST_SPECIAL_STEP and size:
        return Announced(f"Slurm's step {step}", size, _number(environ, "SLURM_PROCID") or 0)
    return None


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() else None


def check_library(library: str, found: Announced | None) -> None:
    """Raise before MPI starts if the library would end the process because of a foreign launcher.

    Parameters
    ----------
    library : str
        What ``MPI.Get_library_version()`` returns.
    found : Announced or None
        What `announced` returned.

    Raises
    ------
    RuntimeError
        If Open MPI's mpirun started several ranks that use an MPI of the MPICH family.
    """
    foreign = found is not None and found.launcher.startswith("Open MPI")
    if found is not None and foreign and found.size > 1 and library.startswith(_MPICH_FAMILY):
        raise RuntimeError(_mismatch(found, library, "cannot join its ranks"))


def check_size(size: int, library: str, found: Announced | None) -> None:
    """Raise if MPI sees fewer ranks than the launcher announced: it would train that many models.

    Parameters
    ----------
    size : int
        Ranks that MPI reports.
    library : str
        What ``MPI.Get_library_version()`` returns.
    found : Announced or None
        What `announced` returned.

    Raises
    ------
    RuntimeError
        Naming both MPIs.

    Examples
    --------
    >>> from hpcml.launcher import Announced, check_size
    >>> check_size(4, "MPICH Version: 4.3", Announced("Open MPI's mpirun", 4, 0))
    """
    if found is not None and found.size > size:
        raise RuntimeError(_mismatch(found, library, f"sees {size} rank{'s' * (size > 1)}"))


def _mismatch(found: Announced, library: str, what: str) -> str:
    name = short_name(library)
    return (
        f"{found.launcher} started {found.size} ranks, but {name}, which mpi4py uses, {what}: launcher and "
        f"library belong to different MPIs. Start the script with the launcher of {name}, or let mpi4py use "
        "the launcher's MPI (`python -m mpi4py --mpi-lib-version` shows which one it uses)."
    )


def short_name(library: str) -> str:
    """Return the name and version of an MPI library in a few words.

    Examples
    --------
    >>> from hpcml.launcher import short_name
    >>> short_name("MPICH Version:      5.0.2\\nMPICH Release date: ...")
    'MPICH 5.0.2'
    """
    line = library.split("\n")[0].split(",")[0].replace("Version:", " ").replace("Library", " ")
    return " ".join(line.split()) or "an unknown MPI"
