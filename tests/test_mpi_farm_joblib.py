"""joblib's own tests of `Parallel`, with its backends replaced by "mpi", on two ranks.

What does not apply, and why, is in `NOT_OURS`.
"""

import sys

import pytest

import joblib_suite
from mpi_runs import environment, launch, mpirun

pytestmark = [pytest.mark.require("mpi"), pytest.mark.slow]

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

BEFORE = """
import hpcml.farm
hpcml.farm.start()
from hpcml.joblib_backends import register_mpi
register_mpi()
"""


def test_joblibs_own_tests(tmp_path, monkeypatch):
    joblib_suite.write(tmp_path, "mpi", "mpi or backend1", BEFORE, "sys.exit(status)\n")
    monkeypatch.chdir(tmp_path)
    command = [mpirun(), "-n", "2", sys.executable, "run.py", *joblib_suite.left_out(NOT_OURS)]
    joblib_suite.check(launch(command, environment(), timeout=400), "mpi", least=50)
