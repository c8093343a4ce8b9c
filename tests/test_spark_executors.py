"""Executors whose Python has no hpcml: a clear error, and the documented way to send it along."""

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]


def script():
    """Fail on executors without hpcml; then do as the page about Spark says."""
    os.environ.pop("PYTHONPATH")  # executors on this machine would find hpcml by it
    import joblib
    from joblib import Parallel, delayed
    from pyspark.sql import SparkSession
    from sklearn.datasets import load_iris

    import hpcml
    from hpcml.errors import HpcmlError
    from hpcml.joblib_backends import register_spark

    def session(**settings):
        builder = SparkSession.builder.master("local-cluster[1,1,1024]").config("spark.ui.enabled", "false")
        for name, value in settings.items():
            builder = builder.config(name.replace("_", "."), value)
        started = builder.getOrCreate()
        started.sparkContext.setLogLevel("OFF")
        return started

    register_spark()
    without = session()
    with (
        joblib.parallel_backend("spark"),
        pytest.raises(HpcmlError, match=r"hpcml .* on the driver, ModuleNotFoundError.*'Executors without"),
    ):
        Parallel()(delayed(abs)(i) for i in range(4))
    without.stop()
    print("told", flush=True)

    found = session(spark_archives="hpcml.tar.gz#with-hpcml", spark_executorEnv_PYTHONPATH="with-hpcml")
    X, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2], "max_features": [1, 2]}
    forest = hpcml.ensemble.RandomForestClassifier(5, random_state=0)
    search = hpcml.model_selection.GridSearchCV(forest, grid, cv=3, refit=False)
    alone = search.fit(X, y).cv_results_["mean_test_score"].tolist()
    with joblib.parallel_backend("spark"):
        assert search.fit(X, y).cv_results_["mean_test_score"].tolist() == alone
        places = Parallel()(delayed(lambda: __import__("hpcml").__file__)() for _ in range(2))
        kernels = Parallel()(delayed(_kernel)() for _ in range(2))
    assert all(Path(place).parts[-3] == "with-hpcml" for place in places), places
    assert set(kernels) == {_kernel()}  # compiled ones, if they are here
    found.stop()
    print("found", flush=True)


def _kernel():
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


def test_hpcml_travels_with_the_job(tmp_path):
    import spark_work

    python = python_without_hpcml(tmp_path / "without")
    pack(tmp_path / "hpcml.tar.gz")
    environment = spark_work.environment(PYSPARK_PYTHON=str(python), SPARK_WORKER_DIR=str(tmp_path))
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([sys.executable, __file__], **options)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.split() == ["told", "found"]


if __name__ == "__main__":
    script()
