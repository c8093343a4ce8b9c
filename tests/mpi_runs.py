"""Run a function of a test module on the ranks of an MPI job, and give back what each rank returns.

As a script this file is what every rank runs.
"""

import contextlib
import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

#: MPICH and Open MPI refuse or slow down what tests do: run as root, with more ranks than cores.
FOR_TESTS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

#: Seconds after which shared memory that no process has mapped is nobody's.
SETTLED = 0.2


@dataclass
class Run:
    """How a job ended: its exit status, what it printed, and what the ranks returned (None: nothing)."""

    returncode: int
    stdout: str
    stderr: str
    results: list


def mpirun():
    """Return the launcher of the MPI that mpi4py uses: the one beside this Python, else that on the PATH."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun") or "mpirun"


def environment(**changes):
    """Return the environment of a job: this one without hpcml's settings, then the changes."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HPCML_")}
    kept.update({name: os.environ[name] for name in ("HPCML_DATA",) if name in os.environ})
    python_path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, **FOR_TESTS, "PYTHONPATH": os.pathsep.join(python_path), **changes}


def launch(command, env, timeout=60):
    """Run a command; end all of it and fail when it takes longer than `timeout` seconds."""
    before = set(_segments())
    try:
        return _launched(command, env, timeout)
    finally:
        _sweep(before)


def _segments():
    return Path("/dev/shm").glob("mpich_shm_*")


def _sweep(before):
    """Remove shared memory that MPICH leaves behind where a job was aborted or killed."""
    left = {path for path in _segments() if path not in before}
    if not left:
        return
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # the process has ended, or is another user's
            mapped += maps.read_text(errors="replace")
    for path in left:  # others may be of a job that runs beside this one
        with contextlib.suppress(OSError):
            if path.name not in mapped and time.time() - path.stat().st_mtime > SETTLED:
                path.unlink()


def _launched(command, env, timeout):
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        raise AssertionError(f"{command} hung for {timeout} s.\n{out}\n{err}") from None
    return Run(process.returncode, out, err, [])


def run_ranks(
    n,
    function,
    *args,
    communicator="mpi",
    check=True,
    timeout=60,
    launcher=None,
    wrapper=(),
    **env,
):
    """Call a function of a test module on `n` ranks.

    Parameters
    ----------
    n : int
        Number of ranks; 0 starts one process without ``-n``, such as by ``launcher=["env"]``.
    function : callable
        Defined at the top of its file.
    *args
        Picklable arguments, the same on every rank.
    communicator : str
        ``HPCML_COMMUNICATOR`` of the ranks; "" leaves it out.
    check : bool
        Whether to fail unless the job ends well.
    timeout : float
        Seconds after which the job is ended and the test fails.
    launcher : list of str, optional
        The launcher and its options, before ``-n``.
    wrapper : sequence of str
        What stands before the Python of every rank.
    **env
        Environment of the ranks.

    Returns
    -------
    Run
    """
    with tempfile.TemporaryDirectory() as folder:
        call = (function.__code__.co_filename, function.__name__, args)
        Path(folder, "call").write_bytes(pickle.dumps(call))
        chosen = {"HPCML_COMMUNICATOR": communicator} if communicator else {}
        ranks = [
            *(launcher or [mpirun()]),
            *(["-n", str(n)] if n else []),
            *wrapper,
            sys.executable,
            __file__,
            folder,
        ]
        run = launch(ranks, environment(**chosen, **env), timeout)
        if check and run.returncode:
            raise AssertionError(f"{ranks} ended with {run.returncode}.\n{run.stdout}\n{run.stderr}")
        files = [Path(folder, f"result.{rank}") for rank in range(max(n, 1))]
        run.results = [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]
    return run


def _rank():
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def main(folder):
    """Call the function, as one rank, and leave the result in the folder."""
    path, name, args = pickle.loads(Path(folder, "call").read_bytes())
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = getattr(module, name)(*args)
    Path(folder, f"result.{_rank()}").write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
