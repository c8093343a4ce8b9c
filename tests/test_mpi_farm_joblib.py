"""joblib's own tests of `Parallel`, with its backends replaced by "mpi", on two ranks.

What does not apply, and why, is in `NOT_OURS`.
"""

import sys
from pathlib import Path

import pytest

from mpi_runs import environment, launch, mpirun

pytestmark = [pytest.mark.require("mpi"), pytest.mark.slow]

#: Lists of backends in joblib's file -> what stands there instead.
REPLACED = {
    "RETURN_GENERATOR_BACKENDS = BACKENDS.copy()": 'RETURN_GENERATOR_BACKENDS = {"mpi": BACKENDS.get("mpi")}',
    "ALL_VALID_BACKENDS = [None] + sorted(BACKENDS.keys())": 'ALL_VALID_BACKENDS = ["mpi"]',
    "for backend_str in BACKENDS]": 'for backend_str in BACKENDS if backend_str == "mpi"]',
    'ALL_VALID_BACKENDS.append(mp.get_context("spawn"))': "pass",
    'PROCESS_BACKENDS = ["multiprocessing", "loky"]': 'PROCESS_BACKENDS = ["mpi"]',
    'PARALLEL_BACKENDS = PROCESS_BACKENDS + ["threading"]': 'PARALLEL_BACKENDS = ["mpi"]',
    '@parametrize("backend", BACKENDS)': '@parametrize("backend", ["mpi"])',
    '@parametrize("backend", ["loky", "multiprocessing", "threading"])': '@parametrize("backend", ["mpi"])',
}

#: joblib's tests that do not apply -> why.
NOT_OURS = {
    "test_nested_loop": "asks for the backend inside its own tasks, which raises",
    "test_backend_nesting_level": "asks for the backend inside its own tasks, which raises",
    "test_error_capture": "looks at the pool of workers that joblib's backends keep in private attributes",
    "test_dispatch_multiprocessing": "tasks talk to a process of multiprocessing; ranks lack its key",
    "test_backend_context_manager": "three workers on two ranks",
    "test_nested_backend_context_manager": "about loky, multiprocessing and threading inside each other",
    "test_parallel_with_interactively_defined_functions": "starts a Python of its own, which is no farm",
    "test_parallel_with_unpicklable_functions_in_args": "starts a Python of its own, which is no farm",
    "test_auto_memmap_on_arrays_from_generator": "asserts np.memmap; arrays are of shared memory here",
    "test_parallel_unordered_generator_returns_fastest_first": "decided by the clock, or four workers",
    "test_memmapping_leaks": "about the files of memory maps, of which there are none",
    "test_backend_batch_statistics_reset": "about joblib's batches; ranks claim several short tasks at once",
    "test_warning_about_timeout_not_supported_by_backend": "about a backend of joblib's without timeouts",
    "test_initializer_context": "initializer= is loky's; it raises here",
    "test_initializer_parallel": "initializer= is loky's; it raises here",
}

RUNNER = """
import sys
import hpcml.farm
hpcml.farm.start()
from hpcml.joblib_backends import register_mpi
register_mpi()
import pytest
options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "--tb=short", "-rA"]
sys.exit(pytest.main([*options, "-k", "mpi or backend1", *sys.argv[1:], "test_parallel_there.py"]))
"""


def test_joblibs_own_tests(tmp_path, monkeypatch):
    import joblib.test

    source = Path(joblib.test.__file__).with_name("test_parallel.py").read_text()
    found = [old for old in REPLACED if old in source]
    for old in found:
        source = source.replace(old, REPLACED[old])
    assert len(found) == len(REPLACED), set(REPLACED) - set(found)
    (tmp_path / "test_parallel_there.py").write_text(source)
    (tmp_path / "run.py").write_text(RUNNER)
    monkeypatch.chdir(tmp_path)
    left_out = [f"--deselect=test_parallel_there.py::{name}" for name in NOT_OURS]
    command = [mpirun(), "-n", "2", sys.executable, "run.py", *left_out]
    run = launch(command, environment(), timeout=400)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = [line for line in run.stdout.splitlines() if line.startswith("PASSED") and "mpi" in line]
    assert len(passed) > 50, run.stdout[-2000:]
