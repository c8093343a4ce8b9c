"""Fresh starts of the processes that are measured: one for all p, or under MPI one job for every p.

Every process connects back and then sleeps until it is told what to do, so that those of another p cost
nothing while they wait.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcml.communicators import interrupts
from hpcml.errors import MeasurementFailed
from hpcml.scaling import workloads

__all__ = ["Launch"]

#: Seconds in which started processes must report.
START_SECONDS = 120.0
#: Seconds given to them to end by themselves.
END_SECONDS = 3.0

# A job of its own, not ranks of the job that measures.
_LAUNCHERS = ("PMI_", "PMIX_", "OMPI_", "MPI_LOCAL", "HYDI_")
# rank 0 of a farm calibrates the cores of all ranks: Open MPI would bind it to one of them
_UNBOUND = {
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _environment() -> dict[str, str]:
    import hpcml

    kept = {name: text for name, text in os.environ.items() if not name.startswith(_LAUNCHERS)}
    kept.pop("HPCML_COMMUNICATOR", None)
    folder = str(Path(hpcml.__file__).resolve().parent.parent)
    paths = [folder, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}


def mpirun() -> str:
    """Return the launcher of the MPI that mpi4py uses: the one beside this Python, else that on the PATH.

    Raises
    ------
    MeasurementFailed
        If there is none.
    """
    beside = Path(sys.executable).parent / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if found is None:
        raise MeasurementFailed('there is no mpirun; python -m pip install "hpcml[mpi]" brings one')
    return found


class _Job:
    """One started command and the connections of its processes, in the order of their ranks.

    Parameters
    ----------
    backend, name : str
    most : int
        Workers that it must have room for.
    ranks : int
        Of MPI; 0 is without.
    farm : bool
        Whether rank 0 alone is asked, and the others serve it.
    """

    def __init__(self, backend: str, name: str, most: int, ranks: int = 0, farm: bool = False) -> None:
        size = 1 if farm else max(1, ranks)  # processes that connect
        self.connections: list[Connection] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._errors = tempfile.TemporaryFile()
        try:
            # the folder is this user's alone, and gone as soon as all are there
            with interrupts.later():  # not between its making and its being known
                owned = tempfile.TemporaryDirectory(prefix="hpcml-scaling-")
            with owned as folder:
                address = str(Path(folder, "s"))
                self._listener.bind(address)
                self._listener.listen(size)
                self._listener.settimeout(0.2)
                modules = [*(["-m", "hpcml.farm"] if farm else []), "-m", "hpcml.scaling.launched"]
                command = [sys.executable, "-P", *modules, address]
                if ranks:
                    command = [mpirun(), "-n", str(ranks), *command]
                self._process = subprocess.Popen(
                    command,
                    env=_environment() | (_ONE_THREAD if ranks else {}) | (_UNBOUND if farm else {}),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    start_new_session=True,
                )
                self._accept(size)
            for connection in self.connections:
                connection.send((backend, name, most, [each for each in sys.path if each]))
            told = self._answers()
            if sorted(each["rank"] for each in told) != list(range(size)):
                raise MeasurementFailed(f"{command[0]} did not start {size} ranks of one job")
            order = [each["rank"] for each in told]
            self.connections = [self.connections[order.index(rank)] for rank in range(size)]
        except BaseException:
            self.close()
            raise

    def _accept(self, size: int) -> None:
        limit = time.monotonic() + START_SECONDS
        while len(self.connections) < size:
            assert self._process is not None
            if self._process.poll() is not None:
                raise MeasurementFailed(f"the processes to be measured did not start: {self._last_words()}")
            if time.monotonic() > limit:
                raise MeasurementFailed(f"the processes did not start within {START_SECONDS:.0f} s")
            with contextlib.suppress(TimeoutError):
                accepted, _ = self._listener.accept()
                accepted.setblocking(True)
                self.connections.append(Connection(accepted.detach()))

    def _last_words(self) -> str:
        self._errors.flush()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _status(self) -> str:
        status = None if self._process is None else self._process.poll()
        return "" if status is None else f" with exit status {status}"

    def _answers(self) -> list[Any]:
        found = []
        for connection in self.connections:
            try:
                error, answer = connection.recv()
            except (EOFError, OSError):
                time.sleep(0.1)
                raise MeasurementFailed(
                    f"a process that is measured died{self._status()}: {self._last_words()}"
                ) from None
            if error is not None:
                raise MeasurementFailed(error)
            found.append(answer)
        return found

    def call(self, operation: str, *arguments: Any) -> list[Any]:
        """Let every process do something; return all answers."""
        for connection in self.connections:
            connection.send((operation, *arguments))
        return self._answers()

    def close(self) -> None:
        """End the processes; nothing of them is left."""
        for connection in self.connections:
            connection.close()
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self._listener.close()
        self._errors.close()


def _slowest(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "seconds": max(each["seconds"] for each in answers),
        "share": min(each["share"] for each in answers),
    }


class Launch:
    """The processes of one launch, ready at every p.

    Parameters
    ----------
    backend : str
        One of `hpcml.scaling.workloads.BACKENDS`.
    name : str
        The workload, as `hpcml.scaling.workloads.find` takes it.
    workers : sequence of int
        At least one number.

    Raises
    ------
    MeasurementFailed
        If they do not start.
    """

    def __init__(self, backend: str, name: str, workers: Sequence[int]) -> None:
        self._jobs: dict[int, _Job] = {}
        try:
            if backend == "mpi":
                farm = workloads.find(name).backends[backend] == "tasks"
                for p in workers:
                    self._jobs[p] = _Job(backend, name, p, ranks=p, farm=farm)
            else:
                self._jobs = dict.fromkeys(workers, _Job(backend, name, max(workers)))
        except BaseException:
            self.close()
            raise

    def prepare(self, n: int, workers: Sequence[int]) -> None:
        """Make what n rows need, for every p."""
        for job in dict.fromkeys(self._jobs[p] for p in workers):
            job.call("prepare", n)

    def forget(self, n: int) -> None:
        """Give the memory of n rows back."""
        for job in dict.fromkeys(self._jobs.values()):
            job.call("forget", n)

    def run(self, n: int, p: int, repeat: int = 1) -> dict[str, Any]:
        """Do the work on p workers; the slowest rank's seconds, the first one's result."""
        answers = self._jobs[p].call("run", n, p, repeat)
        return {
            **_slowest(answers),
            "digest": answers[0]["digest"],
            "activity": [each["activity"] for each in answers],
        }

    def spin(self, p: int, rounds: int) -> dict[str, Any]:
        """Compute on p cores at once."""
        job = self._jobs[p]
        return _slowest(job.call("spin", p if len(job.connections) == 1 else 1, rounds))

    def peak(self, n: int, p: int) -> int | None:
        """Return the peak memory of the work above what was held before, in bytes, all ranks together."""
        sizes = [each["bytes"] for each in self._jobs[p].call("peak", n, p)]
        return None if None in sizes else sum(sizes)

    def close(self) -> None:
        """End the processes."""
        for job in dict.fromkeys(self._jobs.values()):
            job.close()
        self._jobs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
