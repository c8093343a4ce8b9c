"""Principal components of rows that come in batches.

D. A. Ross, J. Lim, R.-S. Lin, M.-H. Yang, "Incremental learning for robust visual tracking", International
Journal of Computer Vision 77 (2008), 125-141: the components so far, as rows of the length of their singular
values, stand for the rows before the batch, and one more row for the way that the mean has moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hpcml.communicators import Table
from hpcml.training.moments import Moments, merged
from hpcml.training.pca import signed

__all__ = ["BatchModel", "advanced", "batch_of"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class BatchModel:
    """Components after some batches.

    Attributes
    ----------
    moments : Moments
        Mean and variance of all rows so far.
    components : ndarray of shape (k, d)
        Unit vectors; the largest entry of each is positive.
    singular_values : ndarray of shape (k,)
        In falling order.
    rest : ndarray
        Singular values of the last step that were left out.
    """

    moments: Moments
    components: Matrix
    singular_values: Matrix
    rest: Matrix

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return int(self.moments.counts[0])


def batch_of(table: Table, start: int, stop: int) -> Matrix:
    """Return rows of the row array ``X`` on every rank, as an array of float64."""
    rows = table.take(np.arange(start, stop))
    dense = rows if isinstance(rows, np.ndarray) else rows.to_scipy().toarray()
    return dense.astype(np.float64)


def advanced(model: BatchModel | None, rows: Matrix, k: int) -> BatchModel:
    """Return the model after a further batch.

    Parameters
    ----------
    model : BatchModel, optional
        The model so far; None before the first batch.
    rows : ndarray of shape (n, d)
        The batch.
    k : int
        Components to keep.

    Returns
    -------
    BatchModel
    """
    n, d = rows.shape
    mean = rows.mean(axis=0)
    A = rows - mean
    batch = Moments(np.full(d, float(n)), mean, np.einsum("nd,nd->d", A, A) / n)
    moments = batch
    if model is not None:
        moments = merged(model.moments, batch)
        before = model.n_rows
        moved = np.sqrt(before / (before + n) * n) * (model.moments.mean - mean)
        A = np.vstack([model.singular_values[:, np.newaxis] * model.components, A, moved])
    if len(A) > d:  # A and its factor R have the same singular values and right singular vectors
        A = linalg.qr(A, mode="r", overwrite_a=True, check_finite=False)[0][:d]
    _, values, vectors = linalg.svd(A, full_matrices=False, check_finite=False)
    return BatchModel(moments, signed(vectors[:k]), values[:k], values[k:])
