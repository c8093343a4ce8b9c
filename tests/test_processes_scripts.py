"""Worker processes start from any program, import nothing of it, and are gone when it ends."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

#: Seconds for a program, on a busy machine too.
LIMIT = 60.0

FIT = """
import numpy as np
import hpcml
from hpcml import communicators
from hpcml.communicators import pool

def total(X):
    return {"sum": X.sum(axis=0)}

with hpcml.config_context(communicator="processes", n_workers=2):
    with communicators.current().put(X=np.ones((5000, 2))) as table:
        print("sum", table.map_reduce(total)["sum"].tolist())
"""
PIDS = "print('pids', *pool.current_pool(1).process_ids, flush=True)\n"


def environment(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HPCML_")}
    return {**kept, "TMPDIR": str(tmp_path), "PYTHON_HISTORY": str(tmp_path / "history")}


def run(arguments, tmp_path, **options):
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        **options,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def script(tmp_path, *parts):
    path = tmp_path / "script.py"
    path.write_text("".join(textwrap.dedent(part) for part in parts))
    return str(path)


def told(output, word):
    """Return the words after `word` in the line of the output that starts with it."""
    return next(line.split()[1:] for line in output.splitlines() if line.startswith(f"{word} "))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc").is_dir()


def assert_gone(pids, seconds=10.0):
    end = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert pids and not any(map(is_alive, pids))


# -- any program -------------------------------------------------------------------------------------------


def test_an_unguarded_script(tmp_path):
    output = run([script(tmp_path, "print('imported')\n", FIT, PIDS)], tmp_path)
    assert output.splitlines()[:2] == ["imported", "sum [5000.0, 5000.0]"]
    assert_gone(list(map(int, told(output, "pids"))), 0.0)


def test_a_program_on_standard_input(tmp_path):
    assert "sum [5000.0, 5000.0]" in run(["-"], tmp_path, input=FIT)
    assert "sum [5000.0, 5000.0]" in run(["-c", FIT], tmp_path)


def test_a_cell_of_a_notebook(tmp_path):
    cell = f"exec(compile({FIT!r}, '<cell 1>', 'exec'), {{'__name__': '__main__'}})\n"
    assert "sum [5000.0, 5000.0]" in run([script(tmp_path, cell * 2)], tmp_path)


def test_an_interactive_session(tmp_path):
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-i", "-q"],
        cwd=tmp_path,
        env={**environment(tmp_path), "TERM": "dumb"},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as session:
        os.close(terminal)
        lines = FIT.replace("\n\n", "\n").splitlines()
        lines.insert(lines.index('    return {"sum": X.sum(axis=0)}') + 1, "")  # ends the definition
        os.write(master, ("\n".join(lines) + "\n\n" + PIDS + "\n\x04").encode())
        output, _ = session.communicate(timeout=LIMIT)
    os.close(master)
    assert "sum [5000.0, 5000.0]" in output
    assert_gone(list(map(int, told(output[output.index("pids") :], "pids"))), 0.0)


def test_files_beside_the_program_do_not_stand_for_libraries(tmp_path):
    for name in ("random", "socket", "types"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported by a worker')\n")
    (tmp_path / "beside.py").write_text("def total(X):\n    return {'sum': X.sum(axis=0)}\n")
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "beside.py").write_text(
        "import sklearn\ndef total(X):\n    return {'sum': 2 * X.sum(axis=0)}\n"
    )
    path = script(folder, FIT.replace("def total", "from beside import total\ndef unused"))
    assert "sum [10000.0, 10000.0]" in run([path], tmp_path)


def test_workers_import_neither_the_program_nor_large_libraries(tmp_path):
    (tmp_path / "beside.py").write_text(
        "import pandas, sklearn\ndef total(X):\n    return {'sum': X.sum(axis=0)}\n"
    )
    look = """
    import sklearn, pandas, scipy.linalg
    import beside

    def modules(X):
        import sys
        if X[0, 0] == 0:  # the first shard: in this process
            return {"n": 0}
        large = ("sklearn", "pandas", "scipy", "joblib", "numba", "beside", "script", "matplotlib")
        print("found", *[name for name in large if name in sys.modules], flush=True)
        return {"n": sys.modules["__main__"].__spec__.name == "hpcml.communicators.worker"}

    with hpcml.config_context(communicator="processes", n_workers=2):
        with communicators.current().put(X=np.arange(4096.0).reshape(2048, 2)) as table:
            table.map_reduce(beside.total)
            print("main", table.map_reduce(modules)["n"])
    """
    output = run([script(tmp_path, FIT, look)], tmp_path)
    assert told(output, "main") == ["1.0"]
    assert "\nfound\n" in output


def test_what_a_kernel_prints_arrives(tmp_path):
    noisy = "print('from a worker' if len(X) < 5000 else 'whole')\n    return {'sum'"
    assert run([script(tmp_path, FIT.replace('return {"sum"', noisy))], tmp_path).count("from a worker") == 4


# -- the end -----------------------------------------------------------------------------------------------

OPEN = """
import os, signal, sys, threading, time
context = hpcml.config_context(communicator="processes", n_workers=2)
context.__enter__()
left_open = communicators.current().put(X=np.ones((5000, 2)))
left_open.map_reduce(total)
before = pool.current_pool(1).process_ids

def busy(X):
    while True:
        pass
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('at the end')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
    ],
    ids=["end", "exit", "error", "terminated"],
)
def test_no_worker_outlives_its_program(tmp_path, end, code):
    path = script(tmp_path, FIT, OPEN, PIDS, end + "\n")
    left = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    result = subprocess.run(
        [sys.executable, path], env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT
    )
    assert result.returncode == code, result.stderr
    assert_gone(list(map(int, told(result.stdout, "pids"))), 0.0 if code >= 0 else 10.0)
    assert os.listdir(tmp_path) == ["script.py"]
    if os.path.isdir("/dev/shm"):
        assert not {name for name in set(os.listdir("/dev/shm")) - left if "hpcml" in name}


def test_a_thread_that_computes_does_not_hold_up_the_end(tmp_path):
    thread = """
    threading.Thread(target=left_open.map_reduce, args=(busy,), daemon=True).start()
    time.sleep(0.3)
    """
    assert_gone(list(map(int, told(run([script(tmp_path, FIT, OPEN, PIDS, thread)], tmp_path), "pids"))), 0.0)


def started(tmp_path, *parts):
    """Start a program and return it with the pids that it told."""
    program = subprocess.Popen(
        [sys.executable, script(tmp_path, *parts)],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output = iter(program.stdout.readline, "")
    return program, next(list(map(int, line.split()[1:])) for line in output if line.startswith("pids"))


def test_a_program_that_is_killed_takes_its_computing_workers_with_it(tmp_path):
    program, pids = started(tmp_path, FIT, OPEN, PIDS, "left_open.map_reduce(busy)\n")
    time.sleep(0.3)
    assert all(map(is_alive, pids))
    program.kill()
    program.communicate(timeout=LIMIT)
    assert_gone(pids)


def test_an_interrupted_program_ends_its_workers(tmp_path):
    program, pids = started(tmp_path, FIT, OPEN, PIDS, "left_open.map_reduce(busy)\n")
    time.sleep(0.3)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=LIMIT)
    assert program.returncode in (-signal.SIGINT, 130, 1)
    assert errors.count("KeyboardInterrupt") == 1, errors  # nothing of the workers
    assert_gone(pids, 0.0)


def test_a_forked_child_has_workers_of_its_own(tmp_path):
    forks = """
    from hpcml.errors import WorkerLost
    child = os.fork()
    if child == 0:
        try:
            left_open.map_reduce(total)
        except WorkerLost as error:
            print("lost", error, flush=True)
        with communicators.current().put(X=np.ones((5000, 2))) as table:
            print("child", table.map_reduce(total)["sum"].tolist(), flush=True)
            print("own", not set(before) & set(pool.current_pool(1).process_ids), flush=True)
        print("mine", *pool.current_pool(1).process_ids, flush=True)
        left_open.close()
        sys.exit(0)
    os.waitpid(child, 0)
    print("parent", left_open.map_reduce(total)["sum"].tolist())
    print("same", before == pool.current_pool(1).process_ids)
    """
    output = run([script(tmp_path, FIT, OPEN, forks)], tmp_path)
    assert "belong to the process that this one was forked from" in output
    assert "child [5000.0, 5000.0]" in output and "parent [5000.0, 5000.0]" in output
    assert told(output, "own") == told(output, "same") == ["True"]
    assert_gone(list(map(int, told(output, "mine"))))


def test_workers_end_when_the_last_holder_of_their_socket_is_a_stranger(tmp_path):
    holds = """
    if os.fork() == 0:
        time.sleep(60)  # a child that outlives the program, and holds nothing of it
        os._exit(0)
    print("pids", *before, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    program, pids = started(tmp_path, FIT, OPEN, holds)
    program.wait(LIMIT)
    assert_gone(pids)
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()


def test_a_full_file_system_limit_is_one_error(tmp_path):
    full = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        communicators.current().put(X=np.ones((500_000, 2)))
    except MemoryError as error:
        print("full", error)
    print("after", left_open.map_reduce(total)["sum"].tolist())
    """
    output = run([script(tmp_path, FIT, OPEN, full)], tmp_path)
    assert "full put(X): 4.0 MB of memory to share with workers cannot be reserved" in output
    assert "after [5000.0, 5000.0]" in output
