"""The l2 penalty of linear models whose intercepts are those of rows less an origin, or stay 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["L2Penalty"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class L2Penalty:
    """``sum l2_p / 2 W^2`` for every problem p, and what an origin and fixed intercepts do to derivatives.

    Coefficients w have over the rows less an origin o the intercept ``b + w o`` where they have b over the
    rows themselves. What is penalised is b; without `fit_intercept` it stays 0.

    Parameters
    ----------
    l2 : ndarray of shape (problems, parameters)
        Strengths; an intercept comes after the d coefficients of its column.
    classes : int
        Columns of a problem. Intercepts of several are not penalised where there is an origin.
    fit_intercept : bool
    origin : ndarray of shape (d,), optional
    """

    l2: Floats
    classes: int
    fit_intercept: bool
    origin: Floats | None

    def moved(self, P: Floats, sign: float) -> Floats:
        """Return parameters with the intercepts of rows less the origin (sign 1) or from there back (-1)."""
        if self.origin is None or not self.fit_intercept:
            return P
        W = P.reshape(len(P), self.classes, -1).copy()
        W[..., -1] += sign * (W[..., :-1] @ self.origin)
        return W.reshape(P.shape)

    def at(self, P: Floats) -> tuple[Floats, Floats]:
        """Return the penalty and its derivative."""
        if self._of_intercepts is None:
            G = self.l2 * P
            return 0.5 * np.einsum("ij,ij->i", G, P), G
        assert self.origin is not None
        Q = self.moved(P, -1.0)
        G = self.l2 * Q
        value = 0.5 * (G * Q).sum(axis=1)
        G[:, :-1] -= G[:, -1:] * self.origin
        return value, G

    def diagonal(self) -> Floats:
        """Return the diagonal of the penalty's Hessian."""
        strengths = self._of_intercepts
        if strengths is None or self.origin is None:
            return self.l2
        D = self.l2.copy()
        D[:, :-1] += strengths[:, np.newaxis] * self.origin**2
        return D

    def constrained(self, G: Floats) -> Floats:
        """Return the losses' gradient, or the like, with no part along intercepts that stay 0."""
        if self.fit_intercept:
            return G
        W = G.reshape(len(G), self.classes, -1)
        if self.origin is not None:
            W[..., :-1] += W[..., -1:] * self.origin
        W[..., -1] = 0.0
        return W.reshape(G.shape)

    def added_to(self, H: Floats) -> Floats:
        """Add the penalty to Hessians of losses, and give intercepts that stay 0 a row of the unit matrix."""
        size, e = H.shape[1], self.l2.shape[1] // self.classes
        i, last = np.arange(size), np.arange(e - 1, size, e)
        if not self.fit_intercept:
            if self.origin is not None:
                self._fix_intercepts(H, last)
            H[:, last, :] = H[:, :, last] = 0.0
            H[:, last, last] = 1.0
        l2 = self.l2.reshape(len(H), size)
        strengths = self._of_intercepts
        if strengths is None:
            H[:, i, i] += l2
            return H
        assert self.origin is not None
        H[:, i[:-1], i[:-1]] += l2[:, :-1]
        t = np.append(-self.origin, 1.0)
        for h, strength in zip(H, strengths, strict=True):
            h += strength * np.outer(t, t)
        return H

    def _fix_intercepts(self, H: Floats, last: NDArray[np.intp]) -> None:
        """Change a Hessian by intercepts of rows less the origin to one where they are ``w o``."""
        assert self.origin is not None
        e = len(self.origin) + 1
        for start in last - (e - 1):
            part = slice(start, start + e - 1)
            H[:, part, :] += self.origin[np.newaxis, :, np.newaxis] * H[:, start + e - 1, :][:, np.newaxis, :]
        for start in last - (e - 1):
            part = slice(start, start + e - 1)
            H[:, :, part] += H[:, :, start + e - 1][:, :, np.newaxis] * self.origin

    @property
    def _of_intercepts(self) -> Floats | None:
        """Penalties of intercepts that depend on coefficients too, because there is an origin."""
        if self.origin is None or self.classes > 1 or not self.fit_intercept or not self.l2[:, -1].any():
            return None
        return self.l2[:, -1]
