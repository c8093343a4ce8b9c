"""Labels as numbers of classes, and the weights that classes give to rows, over all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from hpcml.communicators import Communicator, Table
from hpcml.training.inputs import NO_WEIGHT

__all__ = ["class_factors", "encoded", "factors_of", "total_weight", "weigh_classes"]

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
    offsets = (wide - wide.dtype.type(low) if low else wide).astype(np.intp, copy=False)
    there = np.bincount(offsets) > 0
    classes = np.flatnonzero(there).astype(wide.dtype) + wide.dtype.type(low)
    numbers = offsets if there.all() else (np.cumsum(there) - 1)[offsets]
    return np.asarray(classes.astype(y.dtype)), numbers.astype(np.float64)


def _sorted(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    return classes, codes.astype(np.float64)


def class_factors(
    table: Table, class_weight: Mapping[Any, float] | str | None, classes: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Return the factors that classes give to the weights of their rows, None if all are 1.

    Parameters
    ----------
    table : Table
        Holds the numbers of classes as ``y``, and perhaps ``weights``.
    class_weight : dict, 'balanced' or None
        Weights by label; 'balanced' gives all classes the same total weight.
    classes : ndarray
        Labels.

    Raises
    ------
    ValueError
        If a weight that is given is negative or not finite.
    """
    sums = np.zeros(0)
    if isinstance(class_weight, str):
        sums = table.map_reduce(_weights_of_classes, n_classes=len(classes))["sums"]
    return factors_of(class_weight, classes, sums)


def factors_of(
    class_weight: Mapping[Any, float] | str | None, classes: NDArray[Any], sums: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the factors that classes give to the weights of their rows, None if all are 1.

    Parameters
    ----------
    class_weight, classes
        As for `class_factors`.
    sums : ndarray of shape (n_classes,)
        Weights of the rows of every class, of which 'balanced' makes the factors.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.classes import factors_of
    >>> factors_of("balanced", np.array(["a", "b"]), np.array([1.0, 3.0]))
    array([2.        , 0.66666667])
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, str):
        given = compute_class_weight(dict(class_weight), classes=classes, y=classes)
        if not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError(
                "class_weight must give every class a finite weight of at least 0. "
                f"Got {class_weight!r} instead."
            )
        return given
    with np.errstate(divide="ignore"):  # a class whose rows all have weight 0
        factors = sums.sum() / (len(classes) * sums)
    return np.where(sums > 0, factors, 0.0)


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
    class_weight, classes
        As for `class_factors`.
    codes, sample_weight : ndarray of shape (n_samples,)
        This rank's rows.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        The weights, None if all are 1.
    """
    factors = class_factors(table, class_weight, classes)
    if factors is None:
        return sample_weight
    weights = factors[codes.astype(np.intp)]
    if sample_weight is not None:
        weights *= sample_weight
    table.set(weights=weights)
    return weights


def total_weight(table: Table, weighted: bool) -> float:
    """Return the sum of the weights of all ranks' rows; raise if it is not positive."""
    total = float(table.map_reduce(_total)["total"]) if weighted else float(table.n_rows)
    if not total > 0:
        raise ValueError(NO_WEIGHT)
    return total


def _weights_of_classes(n_classes: int, y: Any, weights: Any = None) -> dict[str, Any]:
    return {"sums": np.bincount(y.astype(np.intp), weights=weights, minlength=n_classes)}


def _total(weights: Any) -> dict[str, Any]:
    return {"total": weights.sum()}
