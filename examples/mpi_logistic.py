"""Logistic regression on rows that lie on the ranks of an MPI job.

    mpirun -n 4 python examples/mpi_logistic.py DATA --target income

Every rank runs this script. DATA is what `hpcml.open_rows` opens: a .npy file, a folder of .npy or Parquet
parts, a Parquet or an HDF5 file; each rank opens its share of the rows. The ranks scale and train together,
so the model is the same on every number of ranks, and each predicts its own rows. Without mpirun the script
is a job of one rank. `examples/mpi_job.sh` runs it under Slurm.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.pipeline import make_pipeline

import hpcml
from hpcml import communicators
from hpcml.linear_model import LogisticRegression
from hpcml.preprocessing import StandardScaler


def main(
    data: Annotated[Path, typer.Argument(help="The table.")],
    target: Annotated[str, typer.Option(help="Column with the classes, or a .npy file of its own.")],
    dataset: Annotated[str | None, typer.Option(help="The matrix of an HDF5 file.")] = None,
    c: Annotated[float, typer.Option("--c", help="Inverse strength of the penalty.")] = 1.0,
    test_every: Annotated[int, typer.Option(min=2, help="One row in so many is kept for the test.")] = 5,
    save: Annotated[Path, typer.Option(help="File for the fitted pipeline.")] = Path("logistic.joblib"),
) -> None:
    """Train a logistic regression on all ranks and save it once."""
    with hpcml.config_context(communicator="mpi"):
        communicator = communicators.current()
        console = Console(quiet=communicator.rank != 0)
        try:
            run(communicator, console, data, target, dataset, c, test_every, save)
        except (hpcml.errors.HpcmlError, ImportError, OSError, ValueError) as error:
            if communicator.rank == 0:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def run(communicator, console, data, target, dataset, c, test_every, save):
    """Train, test and save; every rank calls this."""
    started = time.perf_counter()
    rows = hpcml.open_rows(data, target=target, dataset=dataset)
    numbers = rows.first_row + np.arange(len(rows.X))  # in the whole table
    test = numbers % test_every == 0  # the same rows on any number of ranks
    opened = time.perf_counter()

    scaler = StandardScaler().fit(rows.X[~test])
    model = LogisticRegression(C=c).fit(scaler.transform(rows.X[~test]), rows.y[~test])
    pipeline = make_pipeline(scaler, model)
    trained = time.perf_counter()

    hits = np.count_nonzero(pipeline.predict(rows.X[test]) == rows.y[test]) if test.any() else 0
    accuracy = communicator.total(int(hits)) / communicator.total(int(test.sum()))

    with communicator:  # an error while saving is an error on every rank
        if communicator.rank == 0:
            part = save.with_name(f"{save.name}.part")
            joblib.dump(pipeline, part)
            os.replace(part, save)  # either the old file or the whole new one

    result = Table("", f"{data}", show_header=True)
    result.add_row("rows, features", f"{rows.n_rows:,}, {len(rows.feature_names)}")
    result.add_row("classes", ", ".join(map(str, model.classes_)))
    result.add_row("ranks x threads", f"{communicator.size} x {hpcml.get_config()['n_threads']}")
    result.add_row("opened, trained", f"{opened - started:.2f} s, {trained - opened:.2f} s")
    result.add_row("accuracy on test rows", f"{accuracy:.4f}")
    result.add_row("saved", str(save))
    console.print(result)


if __name__ == "__main__":
    typer.run(main)
