"""The worked example of the protocol: a package of its own, on every backend of joblib that is here."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpcml
from mpi_runs import environment, launch, mpirun

REPOSITORY = Path(hpcml.__file__).parents[1]
PACKAGE = REPOSITORY / "examples" / "sharing_package"
PRINTED = """\
planned: 72 fits asked for, 72 searches; 6 fits, 6 searches done
done:    72 fits asked for, 72 searches; 6 fits, 6 searches done
best:    {'metric': 'euclidean', 'n_neighbors': 20, 'power': 2.0} R² 0.4562
scaled:  72 fits asked for, 72 StandardScaler, 72 searches; 6 fits, 3 StandardScaler, 6 searches done
"""

pytestmark = pytest.mark.skipif(not PACKAGE.exists(), reason="the examples are not beside the package")


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky", "multiprocessing"])
def test_scores_are_those_of_separate_fits(backend):
    paths = [str(PACKAGE), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONIOENCODING": "utf-8",
    }
    ended = subprocess.run(
        [sys.executable, str(PACKAGE / "demo.py"), backend],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PRINTED


@pytest.mark.require("mpi")
def test_on_ranks():
    paths = os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])
    command = [mpirun(), "-n", "2", sys.executable, "-m", "hpcml.farm", str(PACKAGE / "demo.py"), "mpi"]
    ended = launch(command, environment(PYTHONPATH=paths, PYTHONIOENCODING="utf-8"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PRINTED


@pytest.mark.require("spark")
@pytest.mark.slow  # with the tests that start the cluster
def test_on_spark(spark, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(PACKAGE))
    spark.sparkContext.addPyFile(shutil.make_archive(str(tmp_path / "package"), "zip", PACKAGE))
    demo = importlib.import_module("demo")
    assert demo.main("spark")
    assert capsys.readouterr().out == PRINTED


def test_it_imports_public_names_only():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), path
                if names[0] == "hpcml":
                    assert node.module in (
                        "hpcml.protocol",
                        "hpcml.model_selection",
                        "hpcml.joblib_backends",
                    ), path
