"""Steps under an l1 penalty: the subgradient of least norm, and the minimum of a quadratic model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hpcml.kernels import lookup

__all__ = ["least_subgradient", "minimum_of_model"]

Floats = NDArray[np.float64]

#: Rounding that an optimality condition of the model is held to, relative to the gradients in it.
EXACT = 1e-12
#: Sweeps over the coordinates, then changes of the signs, and rounds of both.
SWEEPS = 50
MOST_CHANGES = 200
MOST_ROUNDS = 5


def least_subgradient(P: Floats, G: Floats, l1: Floats) -> Floats:
    """Return the subgradient of least norm of ``f + sum l1 |P|`` where f has the gradient G.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.proximal import least_subgradient
    >>> least_subgradient(np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.2, -3.0]), np.ones(3))
    array([ 1.5,  0. , -2. ])
    """
    at_zero = np.sign(G) * np.maximum(np.abs(G) - l1, 0.0)
    return np.where(P != 0, G + l1 * np.sign(P), at_zero)


def minimum_of_model(H: Floats, g: Floats, w: Floats, l1: Floats, tol: float = 0.0) -> Floats:
    """Return the u that minimises ``g (u - w) + (u - w) H (u - w) / 2 + sum l1 |u|``.

    Sweeps of coordinate descent find out which entries are 0 and the signs of the others. With signs fixed
    the minimum is that of a linear system, and a step towards it (feature-sign search: Lee, Battle, Raina and
    Ng, NIPS 2006) ends what sweeps would approach slowly.

    Parameters
    ----------
    H : ndarray of shape (p, p)
        Positive definite.
    g, w, l1 : ndarray of shape (p,)
    tol : float
        Largest entry of the least subgradient there, beyond rounding.

    Returns
    -------
    ndarray of shape (p,)

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.proximal import minimum_of_model
    >>> minimum_of_model(np.eye(2), np.array([-3.0, 0.5]), np.zeros(2), np.ones(2))
    array([2., 0.])
    """
    descend = lookup("descend_coordinates")
    u, c = w.copy(), g.copy()  # c: gradient of the smooth part at u
    for _ in range(MOST_ROUNDS):
        close = max(tol, _rounding(H, g, w, l1, u))
        u = descend(H, c, u, l1, tol=close, max_sweeps=SWEEPS)
        for _ in range(MOST_CHANGES):
            c = g + H @ (u - w)
            lowest = least_subgradient(u, c, l1)
            close = max(tol, _rounding(H, g, w, l1, u))
            if np.abs(lowest).max() <= close:
                return u
            step = _step(H, u, c, l1, lowest, close)
            if step is None:
                break
            u = u + step
        c = g + H @ (u - w)
    return u


def _rounding(H: Floats, g: Floats, w: Floats, l1: Floats, u: Floats) -> float:
    """Return a bound of what rounding leaves of a subgradient that is 0."""
    size = np.diag(H).max() * (np.abs(u).max() + np.abs(w).max())
    return float(EXACT * (np.abs(g).max() + size + l1.max()))


def _step(H: Floats, u: Floats, c: Floats, l1: Floats, lowest: Floats, tol: float) -> Floats | None:
    """Return a step towards the minimum with the signs as they are, or None where that fails."""
    moving = u != 0
    support = moving | (l1 == 0)
    solved = np.abs(lowest[support]).max(initial=0.0) <= tol
    zeros = ~support & (np.abs(lowest) > tol)
    while True:
        active = np.flatnonzero(support | zeros)
        towards = np.zeros_like(u)
        try:
            factor = cho_factor(H[np.ix_(active, active)], lower=True, check_finite=False)
        except LinAlgError:
            return None
        towards[active] = -cho_solve(factor, lowest[active], check_finite=False)
        wrong = zeros & (towards * lowest >= 0)  # an entry at 0 would leave it uphill
        if not wrong.any():
            break
        if wrong.sum() < zeros.sum() or not solved:
            zeros &= ~wrong
        elif zeros.sum() > 1:  # the one that is furthest from its optimum moves downhill
            furthest = np.argmax(np.abs(lowest) * zeros)
            zeros[:] = False
            zeros[furthest] = True
        else:
            return None
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(moving & (l1 > 0) & (u * towards < 0), -u / towards, np.inf)
    t = crossing.min()
    if t >= 1.0:
        return towards
    first = np.where(crossing <= t, -u, t * towards)
    all_at_once = np.where(crossing < 1.0, -u, towards)

    def change(step: Floats) -> float:
        return float(c @ step + 0.5 * step @ (H @ step) + l1 @ (np.abs(u + step) - np.abs(u)))

    return all_at_once if change(all_at_once) < change(first) else first
