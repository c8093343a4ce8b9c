"""k-means on rows that lie on the ranks of an MPI job.

    mpirun -n 4 python examples/mpi_kmeans.py DATA --clusters 8

Every rank runs this script. DATA is what `hpcml.open_rows` opens: a .npy file, a folder of .npy or Parquet
parts, a Parquet or an HDF5 file; each rank opens its share of the rows. The ranks scale and cluster together,
so the centres are the same on every number of ranks. Without mpirun the script is a job of one rank. For
Slurm, `examples/mpi_job.sh` shows how such a script is started.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import hpcml
from hpcml import communicators
from hpcml.cluster import KMeans
from hpcml.preprocessing import StandardScaler


def main(
    data: Annotated[Path, typer.Argument(help="The table.")],
    clusters: Annotated[int, typer.Option(min=1, help="Number of clusters.")] = 8,
    target: Annotated[str | None, typer.Option(help="A column to leave out.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The matrix of an HDF5 file.")] = None,
    scale: Annotated[bool, typer.Option(help="Give every feature mean 0 and variance 1 first.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the starts.")] = 0,
    save: Annotated[Path, typer.Option(help="File for centres and sizes.")] = Path("kmeans.npz"),
) -> None:
    """Cluster the rows of all ranks and save the centres once."""
    with hpcml.config_context(communicator="mpi"):
        communicator = communicators.current()
        console = Console(quiet=communicator.rank != 0)
        try:
            run(communicator, console, data, clusters, target, dataset, scale, seed, save)
        except (hpcml.errors.HpcmlError, ImportError, OSError, ValueError) as error:
            if communicator.rank == 0:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def run(communicator, console, data, clusters, target, dataset, scale, seed, save):
    """Cluster and save; every rank calls this."""
    started = time.perf_counter()
    rows = hpcml.open_rows(data, target=target, dataset=dataset)
    opened = time.perf_counter()

    scaler = StandardScaler(with_mean=scale, with_std=scale).fit(rows.X)
    X = scaler.transform(rows.X) if scale else rows.X  # unscaled rows stay where they are mapped
    model = KMeans(clusters, random_state=seed).fit(X)
    trained = time.perf_counter()

    labels = model.predict(X)  # of this rank's rows
    sizes = sum(communicator.gather(np.bincount(labels, minlength=clusters)))
    centers = scaler.inverse_transform(model.cluster_centers_) if scale else model.cluster_centers_

    with communicator:  # an error while saving is an error on every rank
        if communicator.rank == 0:
            part = save.with_name(f"{save.name}.part.npz")
            np.savez(part, centers=centers, sizes=sizes, inertia=model.inertia_)
            os.replace(part, save)  # either the old file or the whole new one

    result = Table("", f"{data}", show_header=True)
    result.add_row("rows, features", f"{rows.n_rows:,}, {len(rows.feature_names)}")
    result.add_row("ranks x threads", f"{communicator.size} x {hpcml.get_config()['n_threads']}")
    result.add_row("opened, trained", f"{opened - started:.2f} s, {trained - opened:.2f} s")
    result.add_row("steps, inertia", f"{model.n_iter_}, {model.inertia_:.6g}")
    result.add_row("rows of clusters", ", ".join(f"{size:,}" for size in np.sort(sizes)[::-1]))
    result.add_row("saved", str(save))
    console.print(result)


if __name__ == "__main__":
    typer.run(main)
