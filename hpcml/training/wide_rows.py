"""Singular values and right singular vectors of rows that are fewer than their features, in little memory.

The eigenvectors U of A A^T, a matrix of the size of the rows, give the singular vectors U^T A; rows are read
a block at a time and never held. What these lack in orthogonality, one step of Newton and Schulz restores:
A. Bjorck, C. Bowie, "An iterative algorithm for computing the best estimate of an orthogonal matrix", SIAM
Journal on Numerical Analysis 8 (1971), 358-364.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

__all__ = ["decomposed"]

Matrix = NDArray[np.float64]
#: Returns the rows from one number to another.
Take = Callable[[int, int], NDArray[Any]]

#: Squares of singular values may differ by this factor at most: beyond, products of rows lose digits of the
#: small ones. Singular values are exact to 1 / sqrt(RESOLVED) = 32 roundings of the largest one.
RESOLVED = 1e-3
#: Bytes of the rows, or of the columns of the result, that are in work at a time.
BLOCK_BYTES = 2 << 20


def decomposed(take: Take, n: int, d: int) -> tuple[Matrix, Matrix, Matrix] | None:
    """Return mean, singular values in falling order, and singular vectors, in rows, of centred rows.

    Parameters
    ----------
    take : callable
        ``take(start, stop)`` returns rows.
    n, d : int
        Rows and features; no more rows than features, two at least.

    Returns
    -------
    (mean, values, vectors) : tuple of ndarray of shapes (d,), (n,), (n, d), or None
        None where singular values differ so much, or numbers are so large or small, that products of rows
        would not be exact enough.
    """
    step = max(1, BLOCK_BYTES // (8 * d))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.zeros(d)
        for start in range(0, n, step):
            mean += _rows(take, start, min(start + step, n)).sum(axis=0)
        mean /= n
        U = _eigenvectors(take, mean, n, step)
    if U is None:
        return None
    vectors = _times_rows(U, take, mean, n, step)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    values = lengths / np.sqrt(np.einsum("ij,ij->j", U, U))  # those of U are 1 but for some roundings
    del U
    vectors[:-1] /= lengths[:-1, np.newaxis]
    _orthonormalise(vectors[:-1], d)
    # rows about their mean add up to 0: the last value is rounding, and its direction any that is left
    vectors[-1] = _another_direction(vectors[:-1])
    order = np.argsort(-values[:-1], kind="stable")
    if (order != np.arange(n - 1)).any():
        vectors[:-1], values[:-1] = vectors[order], values[order]
    return mean, values, vectors


def _rows(take: Take, start: int, stop: int) -> Matrix:
    return take(start, stop).astype(np.float64)


def _blocks(take: Take, mean: Matrix, stop: int, step: int) -> Iterator[tuple[slice, Matrix]]:
    """Yield rows less the mean, up to a row, a block at a time."""
    for start in range(0, stop, step):
        part = slice(start, min(start + step, stop))
        block = _rows(take, part.start, part.stop)
        block -= mean
        yield part, block


def _eigenvectors(take: Take, mean: Matrix, n: int, step: int) -> Matrix | None:
    """Return the eigenvectors of A A^T, in columns, the largest eigenvalue's first."""
    G = np.zeros((n, n))
    for part, rows in _blocks(take, mean, n, step):
        for other, columns in _blocks(take, mean, part.stop, step):
            G[part, other] = rows @ columns.T
    diagonal = np.diagonal(G)
    if (
        not np.isfinite(diagonal).all()
        or diagonal.max() < np.finfo(np.float64).tiny / np.finfo(np.float64).eps
    ):
        return None
    # the transpose is in LAPACK's order, and has the lower half as its upper one
    squares, U = linalg.eigh(G.T, lower=False, overwrite_a=True, driver="evr", check_finite=False)
    if squares[1] < RESOLVED * squares[-1]:  # the first one is that of the sum of all rows
        return None
    return np.asarray(U[:, ::-1])


def _times_rows(U: Matrix, take: Take, mean: Matrix, n: int, step: int) -> Matrix:
    """Return U^T A."""
    found = np.zeros((n, len(mean)))
    for part, rows in _blocks(take, mean, n, step):
        # found^T += rows^T U: transposes are in the order of BLAS, which adds in place
        linalg.blas.dgemm(1.0, rows.T, U[part], beta=1.0, c=found.T, overwrite_c=1)
    return found


def _orthonormalise(V: Matrix, d: int) -> None:
    """Make rows that are nearly so orthonormal: V <- V - (V V^T - 1) V / 2."""
    E = V @ V.T
    E.flat[:: len(E) + 1] -= 1.0
    E *= 0.5
    step = max(1, BLOCK_BYTES // (8 * max(1, len(V))))
    for start in range(0, d, step):
        V[:, start : start + step] -= E @ V[:, start : start + step]


def _another_direction(V: Matrix) -> Matrix:
    """Return a direction at right angles to orthonormal rows."""
    at = int(np.argmin(np.einsum("ij,ij->j", V, V)))  # the axis that is least among them
    found = np.zeros(V.shape[1])
    found[at] = 1.0
    for _ in range(2):
        found -= V.T @ (V @ found)
        found /= np.linalg.norm(found)
    return found
