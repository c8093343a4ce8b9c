"""Executors: without hpcml (a clear error, and the documented way to send it along); more, as they come."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]


#: Spark asks for the second executor when tasks wait.
ONE_EXECUTOR_OR_TWO = {
    "executor.cores": "2",
    "dynamicAllocation.enabled": "true",
    "dynamicAllocation.shuffleTracking.enabled": "true",
    "dynamicAllocation.minExecutors": "1",
    "dynamicAllocation.maxExecutors": "2",
    "dynamicAllocation.schedulerBacklogTimeout": "1s",
}


def script():
    """Do as the page about Spark says; then differ from the executors."""
    os.environ.pop("PYTHONPATH")  # executors on this machine would find hpcml by it
    import cloudpickle
    import joblib
    import numpy as np
    from joblib import Parallel, delayed
    from pyspark.sql import SparkSession
    from sklearn.datasets import load_iris

    import hpcml
    import spark_work
    from hpcml.errors import HpcmlError
    from hpcml.joblib_backends import register_spark, shipped

    builder = SparkSession.builder.master("local-cluster[2,2,1024]")
    for name, value in ONE_EXECUTOR_OR_TWO.items():
        builder = builder.config(f"spark.{name}", value)
    builder = builder.config("spark.archives", "hpcml.tar.gz#with-hpcml")
    session = builder.config("spark.executorEnv.PYTHONPATH", "with-hpcml").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    register_spark()
    cloudpickle.register_pickle_by_value(spark_work)  # executors do not find it
    context, folder = session.sparkContext, Path("executors").absolute()
    folder.mkdir()
    large = np.zeros(200_000)
    context.setJobGroup("more", "")
    with joblib.parallel_backend("spark"), Parallel() as parallel:
        assert joblib.effective_n_jobs(-1) == 2
        seen = parallel(delayed(_wait_for_executors)(2, folder) for _ in range(8))
        assert seen == [2] * 8  # the second one came for this call, and took its share of it
        assert joblib.effective_n_jobs(-1) == 4
        assert parallel(delayed(abs)(i) for i in range(20)) == list(range(20))
        assert Parallel(n_jobs=3)(delayed(abs)(i) for i in range(20)) == list(range(20))
        places = parallel(delayed(spark_work.where)(large) for _ in range(12))
    tracker = context.statusTracker()
    stages = [tracker.getJobInfo(job).stageIds[0] for job in sorted(tracker.getJobIdsForGroup("more"))]
    parts = [tracker.getStageInfo(stage).numTasks for stage in stages]
    assert parts == [8, 16, 3, 12]  # four a slot, or as many as there are jobs or tasks
    files, processes = {}, {}
    for process, executor, file in places:
        files.setdefault(executor, set()).add(tuple(file))
        processes.setdefault(executor, set()).add(process)
    assert [len(each) for each in files.values()] == [1, 1]  # an array is laid out once an executor
    assert max(map(len, processes.values())) == 2, places  # and mapped by both of its workers
    print("more", flush=True)

    X, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2], "max_features": [1, 2]}
    forest = hpcml.ensemble.RandomForestClassifier(5, random_state=0)
    search = hpcml.model_selection.GridSearchCV(forest, grid, cv=3, refit=False)
    alone = search.fit(X, y).cv_results_["mean_test_score"].tolist()
    with joblib.parallel_backend("spark"):
        assert search.fit(X, y).cv_results_["mean_test_score"].tolist() == alone
        seen = Parallel()(delayed(lambda: (__import__("hpcml").__file__, _kernels()))() for _ in range(2))
    for place, kernels in seen:
        assert Path(place).parts[-3] == "with-hpcml", place
        assert kernels == _kernels()  # compiled ones, if they are here
    print("found", flush=True)

    shipped.__version__ = "0.0.7"  # the driver's hpcml
    with (
        joblib.parallel_backend("spark"),
        pytest.raises(
            HpcmlError, match=r"hpcml 0\.0\.7 on the driver, .* on an executor.*'Executors without"
        ),
    ):
        Parallel()(delayed(abs)(i) for i in range(4))
    print("told", flush=True)
    session.stop()


def _wait_for_executors(n, folder):
    """Return how many executors have run this task or begun to, once they are `n`, or after a minute."""
    (folder / str(os.getppid())).touch()  # the process from which an executor forks its workers
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < n and time.monotonic() < until:
        time.sleep(0.05)
    return len(list(folder.iterdir()))


def told_without(python, folder):
    """Return what executors whose Python has no hpcml tell the driver."""
    import cloudpickle

    from hpcml.joblib_backends.executor import Work
    from hpcml.joblib_backends.shipped import shipped, versions

    run = shipped(versions(), Work(1, (), None, "r"))
    (folder / "run.pickle").write_bytes(cloudpickle.dumps(lambda: list(run([[(0, b"")]], ()))))
    code = "import pickle; print(pickle.load(open('run.pickle', 'rb'))())"
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "check": True}
    return subprocess.run([python, "-c", code], **options).stdout


def _kernels():
    from hpcml import kernels

    return str(sorted({row.implementation for row in kernels.available()}))


def python_without_hpcml(folder):
    """Make a virtual environment with all packages of this one but hpcml, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    name = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    for packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(packages).iterdir():
            # an installation for development is a file that adds its folder to the path
            if "hpcml" not in path.name and path.suffix != ".pth":
                (folder / name / path.name).symlink_to(path)
    return folder / "bin" / "python"


def pack(archive):
    """Pack this hpcml as ``pip install --target`` would lay it out."""
    import hpcml

    package = Path(hpcml.__file__).parent
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(package, "hpcml", filter=lambda entry: None if "__pycache__" in entry.name else entry)
        file.add(Path(__file__).with_name("spark_daemon.py"), "spark_daemon.py")  # libraries are loaded once


def test_executors_without_hpcml_tell_and_hpcml_travels_with_the_job(tmp_path):
    import spark_work

    python = python_without_hpcml(tmp_path / "without")
    assert "No module named 'hpcml' on an executor" in told_without(python, tmp_path)
    pack(tmp_path / "hpcml.tar.gz")
    environment = spark_work.environment(PYSPARK_PYTHON=str(python), SPARK_WORKER_DIR=str(tmp_path))
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([sys.executable, __file__], **options)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.split() == ["more", "found", "told"]


if __name__ == "__main__":
    script()
