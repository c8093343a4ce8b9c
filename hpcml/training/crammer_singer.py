"""All classes at once: the passes of the interior-point method for the loss of Crammer and Singer.

Crammer, Singer (2001), On the algorithmic implementation of multiclass kernel-based vector machines, Journal
of Machine Learning Research 2.

A row x of class y, priced c, has the loss c max_k s_k, s_k = [k != y] + (w_k - w_y).x. Its dual variables
a_k >= 0 sum up to c; with xi the largest s_k in the optimum, u_k = xi - s_k is the multiplier of a_k >= 0:

    minimise    sum_k w_k^T R w_k / 2 + sum c max_k s_k
    maximise    sum a_k [k != y] - sum_k |sum (c [k = y] - a_k) x|^2 / 2  (in the norm of R^-1)

With D_k = a_k / u_k and S their sum, a change dw of the coefficients brings

    da = g - D sum(g) / S + M z,   z_k = dw_k.x,   M = diag(D) - D D^T / S,   g_k = r_k / u_k - D_k e_k
    d xi = (sum(g) + sum_k D_k (z_k - z_y)) / S,   du_k = d xi - (z_k - z_y) + e_k

with e_k = xi - s_k - u_k, which is 0 but for rounding, r = -a u for the predicted direction, and
r = mu - a u - da du for the corrected one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml.communicators import Table
from hpcml.kernels.overshoot import N_CODES, overshoot_code

__all__ = ["CrammerSingerPasses"]

Floats = NDArray[np.float64]


class _Rows(NamedTuple):
    """The rows of a shard that have a price, and their state."""

    live: NDArray[np.bool_]
    X: Any
    price: Floats
    own: NDArray[np.bool_]  # [k = y]
    a: Floats
    u: Floats
    residual: Floats  # xi - s - u


def _margins(X: Any, w: Floats, n_classes: int) -> Floats:
    W = w.reshape(n_classes, -1)
    return X @ W[:, :-1].T + W[:, -1]


def _rows(
    X: Any, y: Floats, weights: Floats | None, a: Floats, u: Floats, xi: Floats, w: Floats, price: float
) -> _Rows:
    c = np.full(len(y), price) if weights is None else price * weights
    live = c > 0
    X, own = X[live], y[live].astype(np.intp)[:, np.newaxis] == np.arange(a.shape[1])
    s = _beyond(_margins(X, w, a.shape[1]), own) + ~own
    return _Rows(live, X, c[live], own, a[live], u[live], xi[live, np.newaxis] - s - u[live])


def _beyond(margins: Floats, own: NDArray[np.bool_]) -> Floats:
    """Return every margin less that of the row's class."""
    return margins - margins[own][:, np.newaxis]


def _balanced(at: _Rows, g: Floats) -> Floats:
    """Return g - D sum(g) / S."""
    D = at.a / at.u
    return g - D * (g.sum(axis=1) / D.sum(axis=1))[:, np.newaxis]


def _direction(at: _Rows, r: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Return da, du and d xi for products that are to change by r."""
    D, ahead = at.a / at.u, _beyond(z, at.own)
    g = r / at.u - D * at.residual
    d_xi = (g + D * ahead).sum(axis=1) / D.sum(axis=1)
    du = d_xi[:, np.newaxis] - ahead + at.residual
    return (r - at.a * du) / at.u, du, d_xi


def _predicted(at: _Rows, vectors: Floats) -> tuple[Floats, Floats, Floats]:
    return _direction(at, -at.a * at.u, _margins(at.X, vectors[1], at.a.shape[1]))


def _corrected(at: _Rows, vectors: Floats, barrier: float) -> tuple[Floats, Floats, Floats]:
    da, du, _ = _predicted(at, vectors)
    return _direction(at, barrier - at.a * at.u - da * du, _margins(at.X, vectors[2], at.a.shape[1]))


def _sums(X: Any, of_rows: Floats) -> Floats:
    """Return the sum of a vector of every row times (x, 1), one after another for all classes."""
    return np.column_stack([np.asarray(X.T @ of_rows).T, of_rows.sum(axis=0)]).ravel()


def _overshoot(at: _Rows, da: Floats, du: Floats) -> Floats:
    found = np.zeros(N_CODES)
    ratios = np.maximum(-da / at.a, -du / at.u)
    found[overshoot_code(float(ratios.max(initial=0.0)))] = 1.0
    return found


# -- functions of a shard ------------------------------------------------------------------------------------


def _start(y: Floats, price: float, n_classes: int, weights: Floats | None = None) -> dict[str, Floats]:
    c = np.full(len(y), price) if weights is None else price * weights
    own = y.astype(np.intp)[:, np.newaxis] == np.arange(n_classes)
    return {
        "a": np.repeat(c[:, np.newaxis] / n_classes, n_classes, axis=1),
        "u": 1.0 + own,
        "xi": 2.0 * np.ones(len(y)),
    }


def _step(
    X: Any, y: Floats, a: Floats, u: Floats, xi: Floats, vectors: Floats, price: float, barrier: float,
    step: float, weights: Floats | None = None,
) -> dict[str, Floats]:  # fmt: skip
    at = _rows(X, y, weights, a, u, xi, vectors[0], price)
    da, du, d_xi = _corrected(at, vectors, barrier)
    a, u, xi = a.copy(), u.copy(), xi.copy()
    a[at.live] += step * da
    u[at.live] += step * du
    xi[at.live] += step * d_xi
    return {"a": a, "u": u, "xi": xi}


def _equations(
    X: Any,
    y: Floats,
    a: Floats,
    u: Floats,
    xi: Floats,
    w: Floats,
    price: float,
    weights: Floats | None = None,
) -> dict[str, Any]:
    at = _rows(X, y, weights, a, u, xi, w, price)
    s = _beyond(_margins(at.X, w, a.shape[1]), at.own) + ~at.own
    return {
        "gram": _gram(at),
        "pull": _sums(at.X, at.price[:, np.newaxis] * at.own - at.a),
        "target": -_sums(at.X, _balanced(at, -at.a - at.a / at.u * at.residual)),
        "products": (at.a * at.u).sum(),
        "live": float(at.a.size),
        "primal": at.price @ s.max(axis=1),
        "dual": at.a[~at.own].sum(),
    }


def _gram(at: _Rows) -> Floats:
    """Return sum M kron (x, 1)(x, 1)^T."""
    X = at.X.toarray() if sparse.issparse(at.X) else at.X
    X = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    D, (K, e) = at.a / at.u, (at.a.shape[1], X.shape[1])
    S = D.sum(axis=1)
    S_but = D @ (1.0 - np.eye(K))  # the sum of the others
    found = np.zeros((K, e, K, e))
    for k in range(K):
        for l in range(k, K):
            # D_k - D_k^2 / S = sum of D_k D_m / S over m != k, which does not cancel
            M = D[:, k] / S * (S_but[:, k] if k == l else -D[:, l])
            found[k, :, l] = (X * M[:, np.newaxis]).T @ X
            found[l, :, k] = found[k, :, l].T
    return found.reshape(K * e, K * e)


def _correct(
    X: Any, y: Floats, a: Floats, u: Floats, xi: Floats, vectors: Floats, price: float,
    weights: Floats | None = None,
) -> dict[str, Any]:  # fmt: skip
    at = _rows(X, y, weights, a, u, xi, vectors[0], price)
    da, du, _ = _predicted(at, vectors)
    return {
        "centering": -_sums(at.X, _balanced(at, 1.0 / at.u)),
        "correction": _sums(at.X, _balanced(at, da * du / at.u)),
        "cross": (da * du).sum(),
        "overshoot": _overshoot(at, da, du),
    }


def _limit(
    X: Any, y: Floats, a: Floats, u: Floats, xi: Floats, vectors: Floats, price: float, barrier: float,
    weights: Floats | None = None,
) -> dict[str, Floats]:  # fmt: skip
    at = _rows(X, y, weights, a, u, xi, vectors[0], price)
    da, du, _ = _corrected(at, vectors, barrier)
    return {"overshoot": _overshoot(at, da, du)}


def _of_one(sums: dict[str, Floats]) -> dict[str, Floats]:
    """Return the sums of one model as those of several."""
    return {name: np.asarray(part)[np.newaxis] for name, part in sums.items()}


class CrammerSingerPasses:
    """The passes for all classes at once, of one model.

    Parameters
    ----------
    table : Table
        Holds X, numbers of classes as ``y``, and perhaps ``weights``; at least one row must have a weight.
    n_classes : int
    price : float
        Weight of the loss of every row.
    """

    def __init__(self, table: Table, n_classes: int, price: float) -> None:
        self._table, self._n_classes, self._price = table, n_classes, price

    def begin(self) -> None:
        self._table.map_rows(_start, price=self._price, n_classes=self._n_classes)

    def equations(self, vectors: Floats, barrier: Floats, step: Floats) -> dict[str, Floats]:
        (own_barrier,), (own_step,), own = barrier, step, vectors[:, 0]
        self._table.map_rows(_step, vectors=own, barrier=own_barrier, step=own_step, price=self._price)
        return _of_one(self._table.map_reduce(_equations, w=own[0] + own_step * own[2], price=self._price))

    def correct(self, vectors: Floats) -> dict[str, Floats]:
        return _of_one(self._table.map_reduce(_correct, vectors=vectors[:, 0], price=self._price))

    def limit(self, vectors: Floats, barrier: Floats) -> dict[str, Floats]:
        own = {"vectors": vectors[:, 0], "price": self._price, "barrier": barrier[0]}
        return _of_one(self._table.map_reduce(_limit, **own))

    def keep(self, models: list[int]) -> None:
        """Do nothing: there is one model."""

    def end(self) -> None:
        self._table.drop("a", "u", "xi")
