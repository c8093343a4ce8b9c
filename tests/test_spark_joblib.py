"""joblib's own tests of `Parallel`, with its backends replaced by "spark", on two Python workers.

What does not apply, and why, is in `NOT_OURS`.
"""

import subprocess
import sys

import pytest

import joblib_suite
import spark_work

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]

#: joblib's tests that do not apply -> why.
NOT_OURS = {
    "test_nested_loop": "asks for the backend inside its own tasks, where it is not registered",
    "test_backend_nesting_level": "asks for the backend inside its own tasks, where it is not registered",
    "test_error_capture": "looks at the pool of workers that joblib's backends keep in private attributes",
    "test_dispatch_multiprocessing": "tasks talk to a process of multiprocessing; executors lack its key",
    "test_parallel_with_interactively_defined_functions": "starts a Python of its own, without a session",
    "test_parallel_with_unpicklable_functions_in_args": "starts a Python of its own, without a session",
    "test_auto_memmap_on_arrays_from_generator": "asserts np.memmap; arrays are of mapped files here",
    "test_parallel_unordered_generator_returns_fastest_first": "decided by the clock",
    "test_memmapping_leaks": "about the files of memory maps, which have no names here",
    "test_backend_batch_statistics_reset": "about joblib's batches; partitions take several short tasks",
    "test_initializer_context": "initializer= is loky's; it raises here",
    "test_initializer_parallel": "initializer= is loky's; it raises here",
}

#: Not the same with other numbers of jobs, with results in any order (`test_generators` has them), or about
#: what joblib does before it asks a backend: each call is a Spark job, and they would be some hundred.
SELECTED = "spark and not [-1- and not [-2- and not --1- and not --2- and not [11- and not [100-"
SELECTED += " and not unordered and not context_manager and not in_sequential"
SELECTED += " and not njobs_converted and not pretty_print"

BEFORE = """
import joblib
import pytest
from hpcml.joblib_backends import register_spark
from pyspark.sql import SparkSession
register_spark()
told = r"there was no Spark session, so one was made with master 'local\\[2\\]'; make your own first"
with joblib.parallel_backend("spark"), pytest.warns(UserWarning, match=told):
    assert joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(3)) == [0, 1, 4]
session = SparkSession.getActiveSession()
session.sparkContext.setLogLevel("OFF")
"""

AFTER = """
session.stop()
sys.exit(status)
"""


def test_joblibs_own_tests_in_a_session_that_the_backend_makes_and_tells_of(tmp_path):
    joblib_suite.write(tmp_path, "spark", SELECTED, BEFORE, AFTER)
    defaults = (spark_work.TESTS / "spark-defaults.conf").read_text()
    (tmp_path / "spark-defaults.conf").write_text(defaults + "spark.master local[2]\n")
    command = [sys.executable, "run.py", *joblib_suite.left_out(NOT_OURS)]
    environment = spark_work.environment(SPARK_CONF_DIR=str(tmp_path))
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    joblib_suite.check(subprocess.run(command, timeout=300, **options), "spark", least=20)
