"""Programs that start Spark themselves: the example under spark-submit, the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import spark_work
from hpcml.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "spark_grid.py"
DATA = Path(os.environ.get("HPCML_DATA", "nowhere"), "sf-airbnb-numeric.csv")


def run(*command, cwd):
    options = {"cwd": cwd, "env": spark_work.environment(), "capture_output": True, "text": True}
    return subprocess.run(list(map(str, command)), timeout=500, **options)


@pytest.mark.slow
@pytest.mark.require("spark")
@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not beside the tests")
@pytest.mark.skipif(not DATA.exists(), reason="HPCML_DATA names no folder with sf-airbnb-numeric.csv")
def test_output_of_the_example_is_on_the_page(tmp_path):
    done = run("spark-submit", "--master", "local-cluster[2,1,1024]", EXAMPLE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"```text\n{done.stdout}```" in (REPOSITORY / "docs" / "spark.md").read_text()


@pytest.mark.slow
@pytest.mark.require("spark")
def test_the_command_on_spark(tmp_path, capsys):
    grid = ["-g", "max_depth=2,4", "-g", "max_features=0.3,0.6", "-p", "n_estimators=5", "--quiet"]
    on_spark = ["--backend", "spark", "--spark-master", "local[2]"]
    done = run(sys.executable, "-m", "hpcml.cli", "search", *grid, *on_spark, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert main(["search", *grid]) == 0
    assert capsys.readouterr().out == done.stdout


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_the_command_on_this_machine(backend, capsys):
    grid = ["-g", "max_depth=2,4", "-p", "n_estimators=3", "--quiet", "--n-jobs", "2"]
    assert main(["search", *grid]) == 0
    alone = capsys.readouterr().out
    assert main(["search", *grid, "--backend", backend]) == 0
    assert capsys.readouterr().out == alone


def test_a_master_without_spark_and_one_of_no_kind(capsys):
    assert main(["search", "--spark-master", "local[2]"]) == 2
    assert "add --backend spark" in capsys.readouterr().err
    assert main(["search", "--backend", "spark", "--spark-master", "host:7077"]) == 2
    assert "spark://HOST:PORT" in capsys.readouterr().err
