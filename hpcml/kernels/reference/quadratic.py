"""Coordinate descent on quadratic models with an l1 penalty."""

import numpy as np


def descend_coordinates(H, gradient, start, l1, tol, max_sweeps):
    """Minimise along one coordinate after the other.

    A sweep over all coordinates is followed by sweeps over those that are not 0, until these are at their
    minimum (as in J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized linear models
    via coordinate descent", Journal of Statistical Software 33, 2010).
    """
    u, c = start.copy(), gradient.copy()
    sweep = 0
    while sweep < max_sweeps:
        largest = _sweep(H, u, c, l1, only_moving=False)
        sweep += 1
        if largest <= tol:
            break
        while sweep < max_sweeps and _sweep(H, u, c, l1, only_moving=True) > tol:
            sweep += 1
    return u


def _sweep(H, u, c, l1, only_moving):
    """Minimise along each coordinate; return the largest entry of the least subgradient that was met."""
    largest = 0.0
    for j in range(len(u)):
        if only_moving and u[j] == 0 and l1[j] != 0:
            continue
        slope = c[j] + np.sign(u[j]) * l1[j] if u[j] else max(abs(c[j]) - l1[j], 0.0)
        largest = max(largest, abs(slope))
        target = u[j] * H[j, j] - c[j]  # H_jj times the minimum without the penalty
        left = abs(target) - l1[j]
        found = np.copysign(left, target) / H[j, j] if left > 0 else 0.0
        if found != u[j]:
            c += (found - u[j]) * H[j]
            u[j] = found
    return largest
