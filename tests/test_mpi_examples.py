"""The MPI examples, run as their first lines say: any number of ranks saves the same model, once."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpcml.data import TableEncoder, read_table
from mpi_runs import environment, launch, mpirun

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = [
    pytest.mark.require("mpi"),
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples lie in a checkout"),
]


def run(ranks, name, *arguments, cwd):
    start = [mpirun(), "-n", str(ranks)] if ranks else []
    command = [*start, sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    job = launch(command, environment(COLUMNS="100"), timeout=120)
    job.files = sorted(path.name for path in cwd.iterdir())
    return job


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """20,000 rows in a Parquet file, and their features and classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 6)) * [1, 2, 3, 4, 5, 6] + rng.integers(0, 4, size=(20_000, 1)) * 10
    y = np.where(X @ rng.normal(size=6) + rng.normal(size=20_000) > 0, "yes", "no")
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(bought=y)
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    frame.to_parquet(path, row_group_size=3000)
    return path, X, y


@pytest.mark.require("parquet")
def test_logistic_regression(table, tmp_path):
    path, X, y = table
    saved = {}
    for ranks in (0, 3):
        file = tmp_path / f"{ranks}.joblib"
        job = run(ranks, "mpi_logistic.py", path, "--target", "bought", "--save", file, cwd=tmp_path)
        assert job.returncode == 0, job.stderr
        assert job.stdout.count("accuracy on test rows") == 1 and "20,000, 6" in job.stdout
        assert f"{max(ranks, 1)} x" in job.stdout
        assert f"{ranks}.joblib" in job.files and not [name for name in job.files if "part" in name]
        saved[ranks] = joblib.load(file)
    alone, together = (saved[ranks][-1] for ranks in (0, 3))
    np.testing.assert_array_equal(together.coef_, alone.coef_)
    np.testing.assert_array_equal(together.intercept_, alone.intercept_)
    train = np.arange(len(X)) % 5 != 0
    theirs = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8)).fit(X[train], y[train])
    np.testing.assert_allclose(together.coef_, theirs[-1].coef_, rtol=1e-3, atol=1e-4)
    assert (saved[3].predict(X) == theirs.predict(X)).mean() > 0.999


@pytest.mark.require("parquet")
def test_k_means(table, tmp_path):
    path, X, _ = table
    saved = {}
    for ranks in (0, 3):
        file = tmp_path / f"{ranks}.npz"
        arguments = (path, "--clusters", 4, "--target", "bought", "--save", file)
        job = run(ranks, "mpi_kmeans.py", *arguments, cwd=tmp_path)
        assert job.returncode == 0, job.stderr
        assert job.stdout.count("rows of clusters") == 1
        assert not [name for name in job.files if "part" in name]
        saved[ranks] = dict(np.load(file))
    for name, value in saved[0].items():
        np.testing.assert_array_equal(saved[3][name], value)
    assert saved[3]["sizes"].sum() == len(X) and saved[3]["centers"].shape == (4, 6)
    assert np.ptp(saved[3]["centers"].mean(axis=1)) > 20  # in the units of the table


def test_rows_that_are_mapped_are_clustered_where_they_lie(table, tmp_path):
    _, X, _ = table
    np.save(tmp_path / "X.npy", X)
    arguments = (tmp_path / "X.npy", "--clusters", 3, "--no-scale", "--save", tmp_path / "k.npz")
    job = run(2, "mpi_kmeans.py", *arguments, cwd=tmp_path)
    assert job.returncode == 0, job.stderr
    assert np.load(tmp_path / "k.npz")["centers"].shape == (3, 6)


@pytest.mark.parametrize("ranks", [0, 2])
def test_errors_are_told_once_in_one_line(table, tmp_path, ranks):
    path, _, _ = table
    job = run(ranks, "mpi_logistic.py", path, "--target", "bouhgt", cwd=tmp_path)
    assert job.returncode != 0 and "Traceback" not in job.stderr
    assert job.stderr.count("did you mean bought?") == 1
    assert job.files == []


@pytest.mark.require("parquet")
def test_the_slurm_job(table, tmp_path):
    path, _, _ = table
    srun = tmp_path / "srun"
    srun.write_text(
        '#!/bin/bash\nwhile [[ $1 == -* ]]; do echo "option $1"; shift; done\n'
        f'echo "cores $SRUN_CPUS_PER_TASK"\nexec {mpirun()} -n 2 "$@"\n'
    )
    srun.chmod(0o755)
    path_variable = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
    variables = {"PATH": os.pathsep.join(path_variable), "SLURM_JOB_ID": "7"}
    env = environment(**variables, SLURM_CPUS_PER_TASK="1", SLURM_NTASKS="2")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    job = subprocess.run(
        ["bash", "examples/mpi_job.sh", str(path), "bought"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert job.returncode == 0, job.stderr
    assert "option --kill-on-bad-exit=1" in job.stdout and "cores 1" in job.stdout
    assert "2 x 1" in job.stdout and (tmp_path / "model-7.joblib").exists()


@pytest.mark.require("parquet")
def test_logistic_regression_on_a_census(tmp_path):
    file = Path(os.environ.get("HPCML_DATA", ""), "adult.csv")
    if not os.environ.get("HPCML_DATA") or not file.exists():
        pytest.skip("HPCML_DATA names no folder with adult.csv")
    adult = read_table(file)
    y = adult.pop("income")
    encoder = TableEncoder().fit(adult)
    X = pd.DataFrame(encoder.transform(adult), columns=encoder.get_feature_names_out()).fillna(0.0)
    X.assign(income=y.to_numpy()).to_parquet(tmp_path / "adult.parquet")
    save = tmp_path / "adult.joblib"
    arguments = (tmp_path / "adult.parquet", "--target", "income", "--save", save)
    job = run(4, "mpi_logistic.py", *arguments, cwd=tmp_path)
    assert job.returncode == 0, job.stderr
    accuracy = (joblib.load(save).predict(X.to_numpy()) == y.to_numpy()).mean()
    assert 0.84 < accuracy < 0.87


# -- a grid on a farm --------------------------------------------------------------------------------------


def airbnb():
    file = Path(os.environ.get("HPCML_DATA", ""), "sf-airbnb-clean.csv")
    if not os.environ.get("HPCML_DATA") or not file.exists():
        pytest.skip("HPCML_DATA names no folder with sf-airbnb-clean.csv")
    return file


def test_a_grid_on_a_farm_as_a_slurm_job(tmp_path):
    table = airbnb()
    lines = table.read_text().splitlines(keepends=True)[:151]
    (tmp_path / "rooms.csv").write_text("".join(lines))
    srun = tmp_path / "srun"
    srun.write_text(f'#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec {mpirun()} -n 2 "$@"\n')
    srun.chmod(0o755)
    path_variable = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
    env = environment(PATH=os.pathsep.join(path_variable), SLURM_CPUS_PER_TASK="1")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    job = ["bash", "examples/mpi_grid.sh", "rooms.csv", "price"]
    found = [
        subprocess.run(job, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        for _ in range(2)
    ]
    for each in found:
        assert each.returncode == 0, each.stderr
        assert "150 rows" in each.stdout and "2 ranks: 81 fits asked for" in each.stdout
    tables = [each.stdout.partition("\n")[2] for each in found]
    assert tables[0] == tables[1] and tables[0].count("\n") == 6  # the second one is the journal's
    assert len((tmp_path / "grid.journal").read_text().splitlines()) == 82
