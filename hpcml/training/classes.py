"""Labels as numbers of classes, and the weights that classes give to rows, over all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from hpcml.communicators import Communicator, Table

__all__ = ["encoded", "total_weight", "weigh_classes"]

#: Widest range of whole numbers that is counted instead of sorted.
COUNTED_RANGE = 65_536


def encoded(communicator: Communicator, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the labels of all ranks, sorted, and the number of this rank's rows' classes among them.

    Parameters
    ----------
    communicator : Communicator
    y : ndarray of shape (n_samples,)
        Labels.

    Raises
    ------
    ValueError
        If they are no labels of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml import communicators
    >>> from hpcml.training.classes import encoded
    >>> with communicators.current() as communicator:
    ...     encoded(communicator, np.array(["b", "a", "b"]))
    (array(['a', 'b'], dtype='<U1'), array([1., 0., 1.]))
    """
    if len(y) == 0:  # a rank of several
        classes, codes = y, np.zeros(0)
    else:
        classes, codes = _counted(y) if y.dtype.kind in "iu" else _sorted(y)
    found = communicator.gather(classes)
    if len(found) > 1:
        every = np.unique(np.concatenate(found))
        codes = np.searchsorted(every, classes).astype(np.float64)[codes.astype(np.intp)]
        classes = every
    return classes, codes


def _counted(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the classes of whole numbers and of every row; counted where their range is small."""
    low, high = int(y.min()), int(y.max())
    if high - low >= COUNTED_RANGE:
        return _sorted(y)
    wide = y.astype(np.int64) if y.dtype.itemsize < 8 else y
    offsets = (wide - wide.dtype.type(low)).astype(np.intp)
    there = np.bincount(offsets) > 0
    classes = np.flatnonzero(there).astype(wide.dtype) + wide.dtype.type(low)
    numbers = (np.cumsum(there) - 1).astype(np.float64)
    return np.asarray(classes.astype(y.dtype)), numbers[offsets]


def _sorted(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    return classes, codes.astype(np.float64)


def weigh_classes(
    table: Table,
    class_weight: Mapping[Any, float] | str | None,
    classes: NDArray[Any],
    codes: NDArray[np.float64],
    sample_weight: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Put the product of the weights of rows and of their classes into a table.

    Parameters
    ----------
    table : Table
        Holds the numbers of classes as ``y`` and `sample_weight`, if there is one, as ``weights``, which is
        replaced.
    class_weight : dict, 'balanced' or None
        Weights by label; 'balanced' gives all classes the same total weight.
    classes : ndarray
        Labels.
    codes, sample_weight : ndarray of shape (n_samples,)
        This rank's rows.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        The weights, None if all are 1.
    """
    if class_weight is None:
        return sample_weight
    if isinstance(class_weight, str):
        weights = None if sample_weight is None else "weights"
        sums = table.map_reduce(_weights_of_classes, weights=weights, n_classes=len(classes))["sums"]
        with np.errstate(divide="ignore"):  # a class whose rows all have weight 0
            of_class = sums.sum() / (len(classes) * sums)
        of_class[~np.isfinite(of_class)] = 0.0
    else:
        of_class = compute_class_weight(class_weight, classes=classes, y=classes)
    weights = of_class[codes.astype(np.intp)]
    if sample_weight is not None:
        weights *= sample_weight
    table.set(weights=weights)
    return weights


def total_weight(table: Table, weights: NDArray[np.float64] | None) -> float:
    """Return the sum of the weights of all ranks' rows."""
    if weights is None:
        return float(table.n_rows)
    return float(table.map_reduce(_total)["total"])


def _weights_of_classes(y: Any, weights: Any, n_classes: int) -> dict[str, Any]:
    return {"sums": np.bincount(y.astype(np.intp), weights=weights, minlength=n_classes)}


def _total(weights: Any) -> dict[str, Any]:
    return {"total": weights.sum()}
