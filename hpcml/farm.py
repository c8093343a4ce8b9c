"""One script on many ranks: ``mpirun -n 4 python -m hpcml.farm script.py``.

Rank 0 runs the script and computes, the others serve it: they take tasks of
``joblib.parallel_backend("mpi")`` and sleep where there are none. `start` does the same from inside a script.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hpcml import config, launcher
from hpcml.communicators import early_end
from hpcml.joblib_backends import mpi_dispatch
from hpcml.launcher import TERMINATED

__all__ = ["main", "start"]

USAGE = "usage: mpirun -n N python -m hpcml.farm script.py [argument ...]  (or: -m module [argument ...])"

#: What a job that is ended can do about it.
ADVICE = (
    "Give the search a journal (hpcml.model_selection.GridSearchCV(..., journal=FILE), hpcml search "
    "--journal FILE): started again, it does only what is left"
)

#: Seconds after SIGTERM in which fits that end are still noted; then the script ends. Launchers kill later.
LAST_RESULTS = 1.5
#: Seconds after SIGTERM in which the process ends, whatever it is doing.
LAST_SECONDS = 4.0


def start() -> None:
    """Let the other ranks serve this script: call it first.

    On rank 0 it returns, and tasks of ``joblib.parallel_backend("mpi")`` run on all ranks from then on. On
    the others it does not: they serve until the script of rank 0 has ended, then they end too. A second call
    does nothing.

    Raises
    ------
    RuntimeError
        If the ranks share rows already (``communicator="mpi"``), or the launcher belongs to another MPI.
    ImportError
        If mpi4py or its MPI library is missing; the message gives the command.

    Notes
    -----
    After SIGTERM (the time of a batch job is over) no more tasks are begun; fits that end within 1.5 seconds
    are still noted in the search's journal, and the job ends within 5 seconds. Ctrl-C raises
    KeyboardInterrupt in the script, and tasks under way are given up; the ranks can be used again. A rank
    that is killed ends the job.

    Examples
    --------
    The first lines of ``script.py``, started with ``mpirun -n 4 python script.py``::

        import hpcml.farm

        hpcml.farm.start()
    """
    if mpi_dispatch.running() is not None:
        return
    _check_communicator()
    from hpcml.communicators import mpi_start
    from hpcml.communicators.mates import gone, visible

    comm = mpi_start.opened(mpi_start.FARM)
    MPI = sys.modules["mpi4py.MPI"]
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError(
            "a farm needs MPI with MPI_THREAD_MULTIPLE, and MPI was started without it: call "
            "hpcml.farm.start() before mpi4py.MPI is imported, or leave mpi4py.rc.thread_level alone"
        )
    early_end.take_over()
    try:
        told = comm.allgather(mpi_start.describe(comm))
        mates = visible(each.process for each in mpi_start.settle(comm.Get_rank(), told))
    except BaseException:
        _abort(comm)

    def lost() -> str | None:
        dead = [f"rank {mate.rank} (process {mate.pid})" for mate in mates if gone(mate)]
        if not dead:
            return None
        return (
            f"{', '.join(dead)} ended without a word; it was killed, perhaps by the system for want of "
            f"memory, and the job cannot go on. {ADVICE}"
        )

    if comm.Get_rank():
        _serve(comm, lost)
    _lead(comm, lost)


def _check_communicator() -> None:
    if config.communicator() == "mpi":
        found = launcher.announced()
        if found is not None and found.rank:
            raise SystemExit(1)  # rank 0 says why
        raise RuntimeError(
            "hpcml.farm and communicator='mpi' exclude each other: in a farm the other ranks serve the "
            "script of rank 0, there every rank runs it and shares the rows. Unset HPCML_COMMUNICATOR, or "
            "start the script with mpirun -n N python script.py"
        )


def _abort(comm: Any) -> NoReturn:
    """Show the error at hand and end the job."""
    early_end.say(f"hpcml: rank {comm.Get_rank()} failed\n{traceback.format_exc()}")
    sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(1)
    os._exit(1)


# -- the other ranks ---------------------------------------------------------------------------------------


def _serve(comm: Any, lost: Callable[[], str | None]) -> NoReturn:
    from hpcml.joblib_backends.mpi_serve import Server

    config.set_config(communicator="serial")
    try:
        server = Server(comm, lost)
        _Termination(server.stop).watch()
        server.serve()
    except BaseException:
        _abort(comm)
    raise SystemExit(0)


# -- rank 0 ------------------------------------------------------------------------------------------------


def _lead(comm: Any, lost: Callable[[], str | None]) -> None:
    termination = _Termination(lambda: None)
    farm = mpi_dispatch.Farm(comm, lost, stopped=termination.send)
    mpi_dispatch.set_running(farm)
    termination.act = farm.stop
    termination.busy = farm.busy
    termination.watch()
    guardian = _guardian() if farm.size > 1 else None

    @atexit.register
    def close() -> None:
        mpi_dispatch.set_running(None)
        closed = farm.close()
        if guardian is not None:
            _dismiss(guardian)
        if not closed and farm.size > 1:
            early_end.flush()
            sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(TERMINATED if termination.came else 1)

    def forget() -> None:  # forked children are no ranks
        mpi_dispatch.set_running(None)
        atexit.unregister(close)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


#: Waits for the word that rank 0 ends as it should; launchers kill the ranks that are left without a word.
_GUARDIAN = 'read word; [ "$word" = over ] || printf "%s\\n" "$1" >&2'


def _guardian() -> subprocess.Popen[bytes]:
    """Start a process that speaks where rank 0 cannot any more: a launcher kills it with the others."""
    text = f"hpcml.farm: the job was ended because a rank was killed, or ended without a word. {ADVICE}."
    command = ["/bin/sh", "-c", _GUARDIAN, "hpcml-farm", text]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None
    with contextlib.suppress(OSError):
        guardian.stdin.write(b"over\n")
        guardian.stdin.close()
    guardian.wait()


# -- the end of the time of a batch job --------------------------------------------------------------------


class _Termination:
    """What SIGTERM does, unless the script has a handler of its own.

    A thread is told by the system itself, because Python's handlers wait for compiled code to return.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act  # at once
        self.busy: Callable[[], bool] | None = None  # rank 0: whether tasks are under way
        self.came = False
        self._due = False

    def watch(self) -> None:
        """Begin to look after the signal."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if signal.set_wakeup_fd(writable, warn_on_full_buffer=False) != -1:
            return
        signal.signal(signal.SIGTERM, self._handler)
        threading.Thread(target=self._wait, args=(readable,), name="hpcml-farm-end", daemon=True).start()

    def send(self) -> None:
        """Act as if the signal had come to this process."""
        if not self.came:
            os.kill(os.getpid(), signal.SIGTERM)

    def _handler(self, number: int, frame: FrameType | None) -> None:
        if self.busy is not None and (self._due or not self.busy()):
            raise SystemExit(TERMINATED)

    def _wait(self, readable: int) -> None:
        while True:
            select.select([readable], [], [])
            if signal.SIGTERM in os.read(readable, 4096):
                break
        if signal.getsignal(signal.SIGTERM) != self._handler:
            return
        self.came = True
        deadline = time.monotonic() + LAST_SECONDS
        cut_short = self.busy is not None and self.busy()
        self.act()
        time.sleep(LAST_RESULTS)
        if self.busy is not None:
            print(
                f"hpcml.farm: SIGTERM, the job ends. {ADVICE}." if cut_short else "hpcml.farm: SIGTERM",
                file=sys.stderr,
                flush=True,
            )
            self._due = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(max(0.0, deadline - time.monotonic()))
        early_end.flush()
        sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(TERMINATED)


# -- the command -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a script, or a module, on rank 0 while the other ranks serve it.

    Parameters
    ----------
    arguments : sequence of str, optional
        The script and its arguments, or ``-m``, the module and its arguments; by default those of the
        process.

    Raises
    ------
    SystemExit
        Whatever the script ends with; 2 where there is none.

    Examples
    --------
    >>> from hpcml import farm
    >>> try:
    ...     farm.main(["no_such_script.py"])
    ... except SystemExit as error:
    ...     print(error.code)
    2
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    is_module = arguments[:1] == ["-m"]
    target = arguments[is_module : is_module + 1]
    if not target or target[0].startswith("-") or (not is_module and not Path(target[0]).exists()):
        found = launcher.announced()
        if found is None or found.rank == 0:
            what = f"{target[0]} does not exist; " if target and not target[0].startswith("-") else ""
            print(f"hpcml.farm: {what}{USAGE}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = arguments[is_module:]
    # as Python itself does, on the ranks that serve too: tasks name modules that lie beside the script
    if not (is_module or sys.flags.safe_path):
        sys.path[0] = str(Path(target[0]).resolve().parent)
    start()
    if is_module:
        runpy.run_module(target[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(target[0], run_name="__main__")


if __name__ == "__main__":
    from hpcml import farm  # the module that others import, not a second copy of it

    farm.main()
