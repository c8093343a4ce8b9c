"""Parameters of a mixture that the user gives to start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from hpcml.training.gaussians import KINDS
from hpcml.training.inputs import FLOATS
from hpcml.training.mixture_starts import Given

__all__ = ["checked"]

#: How far weights may sum up beside 1, and a matrix may differ from its transpose, by precision.
SUM_TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-8}
SYMMETRY_TOLERANCE = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-8}


def checked(
    weights_init: ArrayLike | None,
    means_init: ArrayLike | None,
    precisions_init: ArrayLike | None,
    kind: str,
    k: int,
    d: int,
) -> Given:
    """Return the given parameters of k components of d features; raise ValueError if one cannot be."""
    weights = means = precisions = None
    if weights_init is not None:
        weights = _array(weights_init, "weights", (k,))
        if weights.min() < 0 or weights.max() > 1:  # scikit-learn's tests want the two the wrong way round
            raise ValueError(
                "The parameter 'weights' should be in the range [0, 1], but got max value "
                f"{weights.min():.5f}, min value {weights.max():.5f}"
            )
        if abs(1.0 - float(weights.sum(dtype=np.float64))) > SUM_TOLERANCE[weights.dtype]:
            raise ValueError(
                f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}"
            )
        weights = weights.astype(np.float64)
    if means_init is not None:
        means = _array(means_init, "means", (k, d)).astype(np.float64)
    if precisions_init is not None:
        precisions = _array(precisions_init, f"{kind} precision", KINDS[kind].shape(k, d))
        _check_precisions(precisions, kind)
        precisions = precisions.astype(np.float64)
    return Given(weights, means, precisions)


def _array(value: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = check_array(value, dtype=FLOATS, ensure_2d=False, allow_nd=True, input_name=name)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    return array


def _check_precisions(precisions: NDArray[Any], kind: str) -> None:
    if kind in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"'{kind} precision' should be positive")
        return
    turned = precisions.swapaxes(-1, -2)
    tolerance = SYMMETRY_TOLERANCE[precisions.dtype]
    symmetric = np.allclose(precisions, turned, rtol=1e-5, atol=tolerance)
    if not symmetric or not (np.linalg.eigvalsh(precisions.astype(np.float64)) > 0).all():
        raise ValueError(f"'{kind} precision' should be symmetric, positive-definite")
