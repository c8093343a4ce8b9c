"""What families have in common whose grids share sums over the folds' rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels.csr import CSR
from hpcml.protocol import Batch
from hpcml.training.gram_grid import MOST_FOLDS

__all__ = ["batches", "merged_parameters", "numbers_of", "rows_of"]

#: Rows are gathered so many bytes at a time.
BLOCK_BYTES = 8 << 20


def merged_parameters(estimator: Any, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all parameters of every candidate; raise if it has others.

    Parameters
    ----------
    estimator : estimator
        Its parameters are those of a candidate unless this sets them.
    candidates : list of dict
        Settings of parameters.
    """
    base = estimator.get_params(deep=False)
    for settings in candidates:
        unknown = sorted(set(settings) - set(base))
        if unknown:
            raise ValueError(
                f"Parameters of {type(estimator).__name__} must be among {', '.join(base)}. "
                f"Got {', '.join(unknown)} instead."
            )
    return [{**base, **settings} for settings in candidates]


def batches(n_candidates: int, n_folds: int, shared: str) -> list[Batch]:
    """Return batches of all candidates on as many folds as one array of bits tells.

    Parameters
    ----------
    n_candidates, n_folds : int
        Of the grid.
    shared : str
        What the candidates share.

    Examples
    --------
    >>> from hpcml.training.search_batches import batches
    >>> [batch.folds for batch in batches(2, 3, "one Gram matrix a fold")]
    [(0, 1, 2)]
    """
    if not n_candidates:
        return []
    made = []
    for first in range(0, n_folds, MOST_FOLDS):
        folds = tuple(range(first, min(first + MOST_FOLDS, n_folds)))
        made.append(
            Batch(
                candidates=tuple(range(n_candidates)),
                folds=folds,
                cost=float(len(folds)),
                shared=shared,
                weights=(1.0 / n_candidates,) * n_candidates,
                asked={"fits": n_candidates * len(folds)},
                done={"fits": len(folds)},
            )
        )
    return made


def numbers_of(rows: Any) -> NDArray[Any]:
    """Return the numbers of the rows of a fold, which may be told by a mask.

    Examples
    --------
    >>> from hpcml.training.search_batches import numbers_of
    >>> numbers_of([False, True, True]).tolist()
    [1, 2]
    """
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def rows_of(X: Any, numbers: NDArray[Any]) -> Iterator[tuple[slice, Any]]:
    """Cut rows out of a table a block at a time.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
        The table.
    numbers : ndarray of int
        The rows.

    Yields
    ------
    (slice, ndarray or CSR) : tuple
        Where the rows are among those of `numbers`; rows that follow each other are a view.
    """
    bytes_of_a_row = max(1, X.shape[1] * X.dtype.itemsize)
    step = max(1, BLOCK_BYTES // bytes_of_a_row)
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        first, last = int(some[0]), int(some[-1]) + 1
        contiguous = last - first == len(some) and first >= 0 and (np.diff(some) == 1).all()
        if isinstance(X, CSR):
            block = X.rows(first, last) if contiguous else CSR.of(X.to_scipy()[some])
        else:
            block = X[first:last] if contiguous else X[some]
        yield slice(start, start + len(some)), block
