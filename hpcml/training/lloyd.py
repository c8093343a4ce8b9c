"""Lloyd's method: every row goes to its nearest center, every center to the mean of its rows.

References
----------
S. P. Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28, 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.relocation import relocate

__all__ = ["LloydSteps", "Run", "Steps", "iterate", "mean_of_rows", "squared_moves"]


class Steps(Protocol):
    """What assigns the rows in every iteration."""

    def __call__(self, table: Table, centers: NDArray[Any], with_inertia: bool) -> dict[str, Any]:
        """Label the rows; return the statistic of the kernel ``lloyd_step``."""

    def moved(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Learn where the centers go."""


@dataclass
class LloydSteps:
    """Compares every row with all centers.

    Parameters
    ----------
    origin : ndarray of shape (n_features,) or None
        What is subtracted from every row.
    labels : str
        Name of the row array of labels, which must exist.
    """

    origin: NDArray[Any] | None
    labels: str

    def __call__(self, table: Table, centers: NDArray[Any], with_inertia: bool) -> dict[str, Any]:
        return table.map_reduce(
            "lloyd_step",
            labels=self.labels,
            centers=centers,
            origin=self.origin,
            with_inertia=int(with_inertia),
        )

    def moved(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Nothing to learn: the next step compares all."""


@dataclass
class Run:
    """Where the iteration ended.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
        Less the origin.
    n_iter : int
    """

    centers: NDArray[Any]
    n_iter: int


def iterate(
    table: Table,
    communicator: Communicator,
    steps: Steps,
    centers: NDArray[Any],
    origin: NDArray[Any] | None,
    labels: str,
    *,
    weighted: bool,
    max_iter: int,
    tol: float,
    verbose: bool,
) -> Run:
    """Run the iteration from given centers until no label changes or the centers rest.

    Parameters
    ----------
    table : Table
    communicator : Communicator
    steps : Steps
    centers : ndarray of shape (n_clusters, n_features)
        First centers, less `origin`.
    origin : ndarray of shape (n_features,) or None
    labels : str
        Name of the row array of labels.
    weighted : bool
        Whether the table has the row array ``weights``.
    max_iter : int
    tol : float
        The iteration ends when the squared moves of the centers sum up to no more.
    verbose : bool
        Whether to print the progress.

    Returns
    -------
    Run
    """
    table.fill(labels, -1, np.int32)
    verbose = verbose and communicator.rank == 0
    for i in range(max_iter):
        found = steps(table, centers, verbose)
        if verbose:
            print(f"Iteration {i}, inertia {found['inertia'][0]}.")
        sums, counts = found["sums"], found["counts"]
        if (counts == 0).any():
            relocate(table, communicator, sums, counts, centers, origin, labels, weighted)
        before, centers = centers, mean_of_rows(sums, counts).astype(centers.dtype)
        if found["changed"][0] == 0:
            if verbose:
                print(f"Converged at iteration {i}: strict convergence.")
            break
        moves = squared_moves(before, centers)
        if moves <= tol:
            if verbose:
                print(f"Converged at iteration {i}: center shift {moves} within tolerance {tol}.")
            break
        steps.moved(before, centers)
    return Run(centers, i + 1)


def squared_moves(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the sum of the squared moves of all centers."""
    return float(np.square(after.astype(np.float64) - before).sum())


def mean_of_rows(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums divided by weights; a cluster without weight lies where the heaviest one does."""
    means = sums / np.where(counts > 0, counts, 1.0)[:, np.newaxis]
    means[counts <= 0] = means[np.argmax(counts)]
    return means
