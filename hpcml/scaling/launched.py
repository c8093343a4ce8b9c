"""A process that is measured: ``python -m hpcml.scaling.launched SOCKET``, started by `launches`.

It connects to the measuring process and does what its messages say; between them it sleeps. Where ranks of
MPI share rows, every rank does; where they take tasks, rank 0 does and the others serve it as a farm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection
from typing import Any

__all__ = ["Server", "main", "spin"]


def spin(rounds: int) -> None:
    """Compute in registers for a while, without the interpreter's lock and without memory."""
    hashlib.pbkdf2_hmac("sha256", b"hpcml", b"calibration", rounds)


def _timed(work: Callable[[], Any], cores: int) -> tuple[float, float, Any]:
    """Return seconds, this process's share of the processor time of the cores, and the result."""
    used, started = time.process_time(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    return seconds, (time.process_time() - used) / (seconds * cores), result


class Server:
    """Its public methods are what messages name.

    Parameters
    ----------
    backend : str
    name : str
        Of the workload, or where its function stands.
    most : int
        Workers that there will be.
    """

    def __init__(self, backend: str, name: str, most: int) -> None:
        from hpcml.scaling import workloads

        self._backend = backend
        self._workload = workloads.find(name)
        self._shared = self._workload.backends[backend]
        self._rank, self._size = 0, 1
        self._runs: dict[int, Any] = {}
        self._opened = contextlib.ExitStack()
        if backend == "spark":
            from hpcml.joblib_backends import register_spark
            from hpcml.joblib_backends.spark_session import new_session

            register_spark()
            self._opened.callback(new_session("hpcml scale", f"local[{most}]").stop)
        elif backend == "mpi" and self._shared == "tasks":
            from hpcml.joblib_backends import register_mpi

            register_mpi()
        elif backend == "mpi":
            import hpcml

            with hpcml.config_context(communicator="mpi"):
                communicator = hpcml.communicators.current()
            self._rank, self._size = communicator.rank, communicator.size

    def close(self) -> None:
        """End what was started."""
        self._opened.close()

    def hello(self) -> dict[str, Any]:
        """Say who this is."""
        return {"rank": self._rank, "size": self._size, "pid": os.getpid()}

    def prepare(self, n: int) -> None:
        """Make what n rows need."""
        with self._settings(1):
            self._runs[n] = self._workload.prepare(n, self._rank, self._size)

    def forget(self, n: int) -> None:
        """Give the memory of n rows back."""
        self._runs.pop(n, None)

    def run(self, n: int, p: int, repeat: int) -> dict[str, Any]:
        """Do the work so many times, without a pause."""
        import joblib

        from hpcml import activity

        run = self._runs[n]

        def work() -> Any:
            result = None
            for _ in range(repeat):
                result = run(p, self._backend)
            return result

        with self._settings(p), activity.recorded() as spent:
            seconds, share, result = _timed(work, p if self._size == 1 else 1)
        try:
            digest = joblib.hash(result)
        except Exception as error:
            raise TypeError(
                "results must be values that can be pickled, so that runs can be compared. "
                f"Got a {type(result).__name__} instead."
            ) from error
        return {
            "seconds": seconds / repeat,
            "share": share,
            "digest": digest,
            "activity": {name: value / repeat for name, value in spent.items()},
        }

    def spin(self, p: int, rounds: int) -> dict[str, Any]:
        """Compute on p cores at once (one a rank), the same on each."""
        threads = [threading.Thread(target=spin, args=(rounds,)) for _ in range(p - 1)]

        def work() -> None:
            for each in threads:
                each.start()
            spin(rounds)
            for each in threads:
                each.join()

        seconds, share, _ = _timed(work, p)
        return {"seconds": seconds, "share": share}

    def peak(self, n: int, p: int) -> dict[str, Any]:
        """Do the work once; return the peak of resident memory above what was held before, in bytes.

        It is None where other processes hold memory too that do not report.
        """
        if self._backend not in ("threads", "mpi") or self._shared == "tasks":
            return {"bytes": None}
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _status("VmRSS")
        self.run(n, p, 1)
        peak = _status("VmHWM")
        return {"bytes": None if before is None or peak is None else peak - before}

    @contextlib.contextmanager
    def _settings(self, p: int) -> Iterator[None]:
        import joblib

        import hpcml

        if self._backend == "threads":
            with hpcml.config_context(communicator="serial", n_threads=p):
                yield
        elif self._backend in ("loky", "spark") or self._shared == "tasks":
            with (  # a core for each worker
                hpcml.config_context(communicator="serial", n_threads=1),
                joblib.parallel_config(self._backend, n_jobs=p, inner_max_num_threads=1),
            ):
                yield
        else:
            with hpcml.config_context(communicator=self._backend, n_threads=1, n_workers=p):
                yield


def _status(name: str) -> int | None:
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


def _serve(connection: Connection) -> None:
    backend, name, most, path = connection.recv()
    sys.path[:0] = [each for each in path if each not in sys.path]
    server: Server | None = None
    with contextlib.ExitStack() as opened:
        while True:
            try:
                operation, *arguments = connection.recv() if server else ("hello",)
            except (EOFError, OSError):
                return
            answer: tuple[str | None, Any]
            try:
                if server is None:
                    server = opened.enter_context(contextlib.closing(Server(backend, name, most)))
                answer = (None, getattr(server, operation)(*arguments))
            except Exception as error:
                answer = (f"{type(error).__name__}: {error}", None)
            connection.send(answer)


def main() -> None:
    """Serve until the measuring process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Client(sys.argv[1], "AF_UNIX") as connection:
        _serve(connection)


if __name__ == "__main__":
    main()
