"""A farm in trouble: ranks that die, the end of a batch job's time, Ctrl-C, scripts started wrongly."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import farm_work as tests
from mpi_runs import environment, launch, mpirun, run_ranks

pytestmark = pytest.mark.require("mpi")

#: A search of slow fits on two ranks; `trouble` comes in the midst of it.
SEARCH = """
import os, signal, sys, time
import joblib, numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from hpcml.joblib_backends import register_mpi
from hpcml.model_selection import GridSearchCV

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, a=0, trouble="", seconds=0.15):
        self.a, self.trouble, self.seconds = a, trouble, seconds
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.trouble == "killed" and self.a == 5 and not os.path.exists("again"):
            open("again", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        return self
    def predict(self, X):
        return np.full(len(X), self.classes_[0])

register_mpi()
trouble = sys.argv[1]
X, y = np.arange(400.0).reshape(100, 4), np.arange(100) % 2
seconds = 0.15 if trouble == "killed" else 0.2
grid = {"a": list(range(int(sys.argv[2])))}
with joblib.parallel_backend("mpi"):
    search = GridSearchCV(Slow(trouble=trouble, seconds=seconds), grid, cv=2, journal="journal", refit=False)
    print("begins", flush=True)
    search.fit(X, y)
print("found", len(search.cv_results_["params"]), search.plan_.resumed, flush=True)
"""


def farm_command(*script, ranks=2):
    return [mpirun(), "-n", str(ranks), sys.executable, "-m", "hpcml.farm", *map(str, script)]


def journal_lines(folder):
    lines = (folder / "journal").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SEARCH)
    return tmp_path


def test_a_killed_rank_ends_the_job_and_the_journal_resumes_it(folder):
    run = launch(farm_command("script.py", "killed", 8), environment(), timeout=150)
    assert run.returncode != 0 and "journal=" in run.stderr
    noted = len(journal_lines(folder))
    assert 0 < noted < 16
    run = launch(farm_command("script.py", "killed", 8), environment(), timeout=150)
    assert run.returncode == 0, run.stderr
    assert f"found 8 {noted}" in run.stdout or "found 8 True" in run.stdout
    assert len(journal_lines(folder)) == 16


class Started:
    """A job that runs until it is sent a signal."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout.readline() == "begins\n", self.process.stderr.read()

    def send(self, number):
        started = time.perf_counter()
        self.process.send_signal(number)
        try:
            out, err = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        return out, err, time.perf_counter() - started


def test_at_the_end_of_its_time_the_journal_is_complete(folder):
    job = Started(farm_command("script.py", "time", 100))
    time.sleep(1.5)
    _, err, seconds = job.send(signal.SIGTERM)
    assert seconds < 5 and job.process.returncode != 0
    assert "SIGTERM" in err and "journal=" in err
    done = journal_lines(folder)
    assert 2 < len(done) < 100 and not (folder / "journal").read_text().rpartition("\n")[2]


def interrupted():
    with tests.farm():
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        error = tests.caught(tests.calls, tests.slow, [(i, 0.2) for i in range(300)])
        started = time.perf_counter()
        found = tests.calls(tests.slow, [(i,) for i in range(6)])
    return type(error).__name__, found, time.perf_counter() - started


def test_after_an_interrupt_the_ranks_can_be_used_again():
    name, found, seconds = run_ranks(2, interrupted, communicator="", timeout=150).results[0]
    assert name == "KeyboardInterrupt" and found == list(range(6)) and seconds < 10


INTERRUPTED = """
import time, joblib
from hpcml.joblib_backends import register_mpi
register_mpi()
with joblib.parallel_backend("mpi"):
    print("begins", flush=True)
    try:
        joblib.Parallel()(joblib.delayed(time.sleep)(0.2) for _ in range(300))
    except KeyboardInterrupt:
        print(joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(4)), flush=True)
        raise SystemExit(7)
"""


def test_ctrl_c_is_rank_0s(folder):
    (folder / "script.py").write_text(INTERRUPTED)
    job = Started(farm_command("script.py"))
    time.sleep(0.5)
    out, _, _ = job.send(signal.SIGINT)  # mpirun hands it to all ranks
    assert "[0, 1, 4, 9]" in out and job.process.returncode == 7


# -- scripts -----------------------------------------------------------------------------------------------


def script(folder, text, *arguments, ranks=2, command=None, **env):
    (folder / "script.py").write_text(text)
    start = farm_command("script.py", *arguments, ranks=ranks) if command is None else command
    return launch(start, environment(**env), timeout=150)


def test_the_exit_status_and_the_arguments_are_the_scripts(folder):
    (folder / "beside.py").write_text("def double(x): return 2 * x\n")
    text = (
        "import sys, joblib, beside\n"
        "from hpcml.joblib_backends import register_mpi\n"
        "register_mpi()\n"
        "print(__name__, sys.argv)\n"
        "with joblib.parallel_backend('mpi'):\n"
        "    print(joblib.Parallel()(joblib.delayed(beside.double)(i) for i in range(6)))\n"
        "sys.exit(3)\n"
    )
    run = script(folder, text, "a", "-b")
    assert run.returncode == 3 and "__main__ ['script.py', 'a', '-b']" in run.stdout, run.stderr
    assert run.stdout.count("[0, 2, 4, 6, 8, 10]") == 1
    module = launch(farm_command("-m", "script", "a"), environment(), timeout=150)
    assert module.returncode == 3 and module.stdout.count("__main__") == 1


def test_an_uncaught_error_ends_the_job_with_one_traceback(folder):
    run = script(folder, "raise LookupError('in the script')")
    assert run.returncode != 0 and run.stderr.count("LookupError: in the script") == 1
    text = "import hpcml.farm\nhpcml.farm.start()\nraise LookupError('in the script')"
    command = [mpirun(), "-n", "2", sys.executable, "script.py"]
    run = script(folder, text, command=command)
    assert run.returncode != 0 and run.stderr.count("LookupError: in the script") == 1


WRONG = """
import joblib, hpcml
from hpcml.joblib_backends import register_mpi
register_mpi()
with joblib.parallel_backend("mpi"):
    pass
"""


def test_a_wrong_start_is_told_with_the_right_command(folder):
    command = [mpirun(), "-n", "2", sys.executable, "script.py"]
    run = script(folder, WRONG, command=command)
    assert run.returncode != 0
    assert "started 2 ranks that each run the whole script" in run.stderr
    assert "mpirun -n 2 python -m hpcml.farm script.py" in run.stderr
    run = script(folder, WRONG, command=[sys.executable, "script.py"], HPCML_COMMUNICATOR="mpi")
    assert "choose one of them" in run.stderr
    run = script(folder, WRONG, HPCML_COMMUNICATOR="mpi")
    assert run.returncode != 0 and run.stderr.count("exclude each other") == 1
    run = launch(farm_command("missing.py"), environment(), timeout=150)
    assert run.returncode != 0 and run.stderr.count("missing.py does not exist; usage: mpirun") == 1


def other_use():
    import hpcml
    from hpcml.cluster import KMeans

    X = np.random.default_rng(0).normal(size=(3000, 2))
    with tests.farm():
        with hpcml.config_context(communicator="mpi"):
            rows = str(tests.caught(KMeans(2).fit, X))
        inside = str(tests.caught(tests.calls, uses_the_backend, [()] * 2))
    return rows, inside


def uses_the_backend():
    import joblib

    from hpcml.joblib_backends import register_mpi

    register_mpi()
    return joblib.Parallel(backend="mpi", n_jobs=2)(joblib.delayed(pow)(i, 2) for i in range(3))


def test_fits_over_ranks_and_farms_exclude_each_other():
    rows, inside = run_ranks(2, other_use, communicator="", timeout=150).results[0]
    assert "serve the script of rank 0" in rows
    assert "inside one of its own tasks" in inside or "needs the ranks" in inside


# -- the command -------------------------------------------------------------------------------------------

GRID = ["-g", "max_depth=2,4", "-g", "max_features=0.3,0.6", "-p", "n_estimators=5", "--quiet"]


def test_the_command(capfd):
    from hpcml.cli import main

    command = [sys.executable, "-m", "hpcml.cli", "search", *GRID, "--backend", "mpi"]
    run = launch([mpirun(), "-n", "2", *command], environment(), timeout=150)
    assert run.returncode == 0, run.stderr
    assert main(["search", *GRID]) == 0
    assert capfd.readouterr().out == run.stdout
    run = launch(command, environment(), timeout=150)
    assert run.returncode == 2
    assert "start it with: mpirun -n 4 hpcml search -g" in run.stderr and "Traceback" not in run.stderr


# -- several nodes, little shared memory, another MPI ------------------------------------------------------


def on_other_machines(room):
    from hpcml.joblib_backends import mpi_arrays

    if not room:
        mpi_arrays.LEFT_OVER = 1 << 60
    X = np.random.default_rng(0).normal(size=(1000, 300))
    with tests.farm():
        sums = [tests.calls(np.sum, [(X,)] * 8) for X in (X, X + 1)]
        ranks = len(set(tests.calls(tests.pid, [(i,) for i in range(40)])))
        some = len(set(tests.calls(tests.pid, [(i,) for i in range(40)], n_jobs=2)))
        late = tests.calls(np.sum, [(X[i:],) for i in range(12)], pre_dispatch=5)
    expected = [X.sum(), (X + 1).sum()], [X[i:].sum() for i in range(12)]
    return sums, ranks, some, late, expected


def check_machines(found, n):
    sums, ranks, some, late, (expected, expected_late) = found
    assert sums == [[each] * 8 for each in expected] and (ranks, some) == (n, 2) and late == expected_late


def test_ranks_on_several_nodes():
    run = run_ranks(4, on_other_machines, True, communicator="", MPIR_CVAR_NUM_CLIQUES="2")
    check_machines(run.results[0], 4)


def test_little_shared_memory_means_copies_and_a_warning():
    run = run_ranks(2, on_other_machines, False, communicator="")
    check_machines(run.results[0], 2)
    assert run.stderr.count("has no room for") == 1 and "--shm-size" in run.stderr


def test_open_mpi():
    folder = os.environ.get("HPCML_OPENMPI", "")
    if not folder:
        pytest.skip("HPCML_OPENMPI names no folder with Open MPI")
    env = {"MPI4PY_MPIABI": "openmpi", "LD_LIBRARY_PATH": str(Path(folder, "lib"))}
    launcher = [str(Path(folder, "bin", "mpirun")), "--bind-to", "none"]
    check_machines(
        run_ranks(3, on_other_machines, True, communicator="", launcher=launcher, **env).results[0], 3
    )


def large():
    X = np.zeros(300_000_000)  # 2.4 GB
    X[-1] = 7
    with tests.farm():
        return tests.calls(last, [(X,)] * 4, mmap_mode="r")


def last(X):
    return float(X[-1]), X.nbytes


@pytest.mark.slow
def test_an_array_of_more_than_2_gib():
    assert run_ranks(2, large, communicator="", timeout=200).results[0] == [(7.0, 2_400_000_000)] * 4
