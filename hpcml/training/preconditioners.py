"""What is near the inverse of a Hessian: Cholesky factors that problems share, or a diagonal.

A preconditioner multiplies an array with one row of parameters for every problem, zeros for those that are
finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, get_lapack_funcs

__all__ = [
    "RIDGE",
    "Diagonal",
    "Inverses",
    "Preconditioner",
    "SharedFactors",
    "by_blocks",
    "by_diagonal",
    "factor_of",
    "finite_curvature",
]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: Added to the diagonal, relative to it, so that a singular Hessian has a Cholesky factor: the least that
#: rounding does not undo; the step in well-determined directions changes as little.
RIDGE = 1e-12
#: Factor by which it grows until there is one.
MORE_RIDGE = 100.0
#: Curvature along a parameter whose own has overflowed: no step moves it, and sums with it are finite.
OVERFLOWED = 1e200


def finite_curvature(H: Floats) -> tuple[Floats, bool]:
    """Return curvature, a Hessian or only its diagonal, without what has overflowed, and whether nothing has.

    Parameters whose own curvature has overflowed are kept where they are by a very large one.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.preconditioners import finite_curvature
    >>> finite_curvature(np.array([[2.0, 3.0], [3.0, np.inf]]))
    (array([[2.e+000, 0.e+000],
           [0.e+000, 1.e+200]]), False)
    """
    if np.isfinite(H).all():
        return H, True
    if H.ndim == 1:
        return np.where(np.isfinite(H), H, OVERFLOWED), False
    lost = ~np.isfinite(np.diag(H))
    H = np.where(np.isfinite(H) & ~lost & ~lost[:, np.newaxis], H, 0.0)
    H[lost, lost] = OVERFLOWED
    return H, False


def factor_of(H: Floats) -> Any:
    """Return the Cholesky factor of a Hessian, with a ridge if it is singular."""
    diagonal = np.diag(H).copy()
    diagonal[diagonal <= 0] = max(diagonal.max(), np.finfo(float).tiny)  # a feature of zeros
    ridge = RIDGE
    while True:
        damped = np.array(H, order="F")
        np.fill_diagonal(damped, np.diag(H) + ridge * diagonal)
        try:
            return cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            ridge *= MORE_RIDGE


class Preconditioner(Protocol):
    """What multiplies the parameters of problems.

    Attributes
    ----------
    finite : bool
        Whether all curvature that it is made of has been.
    """

    @property
    def finite(self) -> bool: ...

    def of(self, problems: Problems) -> Preconditioner:
        """Return that of some of the problems."""
        ...

    def __call__(self, R: Floats) -> Floats:
        """Return the product with an array of shape (problems, parameters)."""
        ...


@dataclass(frozen=True)
class SharedFactors:
    """Blocks on the diagonal by their Cholesky factors, in the lower triangle.

    There are as many blocks for every problem, those of one after those of another.

    Parameters
    ----------
    factors : list of ndarray
    own : ndarray of int of shape (problems,)
        Which blocks are those of a problem.
    sizes : ndarray of shape (problems,), optional
        What multiplies the solutions.
    finite : bool
    """

    factors: list[Floats]
    own: Problems
    sizes: Floats | None
    finite: bool

    def of(self, problems: Problems) -> SharedFactors:
        sizes = None if self.sizes is None else self.sizes[problems]
        return SharedFactors(self.factors, self.own[problems], sizes, self.finite)

    def __call__(self, R: Floats) -> Floats:
        (solve,) = get_lapack_funcs(("potrs",), (self.factors[0],))
        parts = np.ascontiguousarray(R.reshape(len(R), -1, len(self.factors[0])))
        each, found = parts.shape[1], np.zeros_like(parts)
        some = np.flatnonzero(R.any(axis=1))
        order = some[np.argsort(self.own[some], kind="stable")]
        ends = np.searchsorted(self.own[order], np.arange(len(self.factors) // each + 1))
        for g in range(len(self.factors) // each):
            members = order[ends[g] : ends[g + 1]]
            for k in range(each if members.size else 0):
                found[members, k] = solve(self.factors[g * each + k], parts[members, k].T, lower=1)[0].T
        found = found.reshape(R.shape)
        return found if self.sizes is None else self.sizes[:, np.newaxis] * found


def by_blocks(H: Floats, own: Problems) -> SharedFactors:
    """Return what solves with blocks on the diagonal, (number, size, size)."""
    blocks = [finite_curvature(block) for block in H]
    factors = [factor_of(block)[0] for block, _ in blocks]
    return SharedFactors(factors, own, None, all(known for _, known in blocks))


@dataclass(frozen=True)
class Inverses:
    """The same block for every column of a problem, by its inverse.

    Parameters
    ----------
    inverses : ndarray of shape (problems, size, size)
    finite : bool
    """

    inverses: Floats
    finite: bool

    def of(self, problems: Problems) -> Inverses:
        return Inverses(self.inverses[problems], self.finite)

    def __call__(self, R: Floats) -> Floats:
        parts = R.reshape(len(R), -1, self.inverses.shape[1])
        return np.asarray((parts @ self.inverses).reshape(R.shape))


@dataclass(frozen=True)
class Diagonal:
    """The inverse of a diagonal.

    Parameters
    ----------
    inverse : ndarray of shape (problems, parameters)
    finite : bool
    """

    inverse: Floats
    finite: bool

    def of(self, problems: Problems) -> Diagonal:
        return Diagonal(self.inverse[problems], self.finite)

    def __call__(self, R: Floats) -> Floats:
        return R * self.inverse


def by_diagonal(D: Floats) -> Diagonal:
    """Return what divides by a diagonal, but for entries too small to be one."""
    kept, finite = finite_curvature(D.ravel())
    largest = D.max() if finite else kept.max(where=kept < OVERFLOWED, initial=0.0) or 1.0
    return Diagonal(1.0 / np.where(kept > RIDGE * largest, kept, largest).reshape(D.shape), finite)
