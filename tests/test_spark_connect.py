"""joblib through Spark Connect: `script` is a client in a process of its own, the server is a real one."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]


def script(address):
    """Search on two executors, whose results are those of this process; then arrays, errors, interrupts."""
    from pyspark.sql import SparkSession

    import spark_work
    from hpcml.joblib_backends import register_spark

    session = SparkSession.builder.remote(address).getOrCreate()
    try:
        assert type(session).__module__.startswith("pyspark.sql.connect")
        register_spark()
        for check in (a_grid, places_and_arrays, errors, interrupts):
            check(session, spark_work)
            print(check.__name__, flush=True)
    finally:
        session.stop()


def a_grid(session, work):
    import joblib
    import numpy as np
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    import hpcml

    X, y = load_breast_cancer(return_X_y=True)
    grid = {"max_depth": [2, 4, 6], "max_features": [2, 4, 8]}
    for search, forest in (
        (GridSearchCV, RandomForestClassifier(5, random_state=0)),
        (hpcml.model_selection.GridSearchCV, hpcml.ensemble.RandomForestClassifier(5, random_state=0)),
    ):
        alone = search(forest, grid, cv=3, refit=False).fit(X, y).cv_results_
        with joblib.parallel_config("spark", max_nbytes=1000):
            found = search(forest, grid, cv=3, refit=False).fit(X, y).cv_results_
        assert found.keys() == alone.keys()
        for name in found:
            if not name.endswith("_time"):
                np.testing.assert_array_equal(found[name], alone[name])


def places_and_arrays(session, work):
    import joblib
    import numpy as np
    from joblib import Parallel, delayed

    with joblib.parallel_config("spark", max_nbytes=1000):
        assert joblib.effective_n_jobs(-1) == 2
        processes = set(Parallel()(delayed(work.executor_process)() for _ in range(8)))
        assert len(processes) == 2 and os.getpid() not in processes  # both executors
        table = np.asfortranarray(np.arange(600.0).reshape(200, 3))
        seen = Parallel()(delayed(work.describe)(table) for _ in range(2))
        assert seen[0] == ("ndarray", "float64", (200, 3), True, False, table.tobytes()[:80])
        for value in (1.0, 2.0):  # the same memory, other content
            table[:] = value
            assert Parallel()(delayed(np.mean)(table) for _ in range(3)) == [value] * 3
        large = "text" * 500_000  # tasks larger than what travels with the job
        assert Parallel()(delayed(len)(large) for _ in range(2)) == [2_000_000] * 2
        results = Parallel(return_as="generator")(delayed(work.square)(i) for i in range(6))
        assert list(results) == [0, 1, 4, 9, 16, 25]
        with pytest.raises(ValueError, match="temp_folder must be None on Spark Connect"):
            Parallel(temp_folder="/tmp")(delayed(work.square)(i) for i in range(2))
    with joblib.parallel_backend("spark", num_cpus_per_spark_task=1, num_gpus_per_spark_task=1):
        assert (
            Parallel()(delayed(work.gpus)() for _ in range(2)) == [(work.GPU, "PCI_BUS_ID", [work.GPU])] * 2
        )


def errors(session, work):
    import joblib
    from joblib import Parallel, delayed

    with joblib.parallel_config("spark"):
        with pytest.raises(KeyError) as caught:
            Parallel()(delayed(work.fail)(i) for i in range(4))
        assert caught.value.args[1] == 42 and "in fail" in caught.value.__notes__[0]
        with pytest.raises(work.Unpicklable, match="this and that"):
            Parallel()(delayed(work.fail_unpicklable)() for _ in range(2))


def interrupts(session, work):
    import time
    from multiprocessing import TimeoutError

    import joblib
    from joblib import Parallel, delayed

    session.addTag("mine")
    with joblib.parallel_config("spark"):
        with pytest.raises(TimeoutError):
            Parallel(timeout=0.5)(delayed(time.sleep)(3000) for _ in range(2))
        assert Parallel()(delayed(work.square)(i) for i in range(3)) == [0, 1, 4]
    assert session.getTags() == {"mine"}


def test_connect(spark, tmp_path):
    import spark_work

    if not spark_work.has_connect_server():
        pytest.skip("this PySpark brings no server of Spark Connect")
    address = f"sc://127.0.0.1:{spark.conf.get('spark.connect.grpc.binding.port')}"
    options = {"cwd": tmp_path, "env": spark_work.environment(), "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, __file__, address], timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.split() == ["a_grid", "places_and_arrays", "errors", "interrupts"]


if __name__ == "__main__":
    script(sys.argv[1])
