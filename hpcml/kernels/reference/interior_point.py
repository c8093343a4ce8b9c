"""Passes of the interior-point method for losses that are sums of hinges.

A row x with target y and weight p has hinges t_j = o_j - s_j (w, b).(x, 1), each priced c_j max(0, t_j):

    hinge                 s = 1 for the class +1, else -1;  o = 1
    epsilon_insensitive   s = (1, -1);  o = (y - epsilon, -y - epsilon)

Its dual variable alpha lies between 0 and c, z = c - alpha is what is left, u = `lower` and v = `upper` are
the multipliers of the two bounds. In the optimum u - v = -t and alpha u = z v = 0; on the way there both
products are to become a barrier mu. Hinges whose price is 0 count nowhere; the state of rows whose weight is
0 means nothing.

There are M models, which differ in prices and in the class +1. Each is computed as if it were alone.
"""

from typing import NamedTuple

import numpy as np

from hpcml.kernels.overshoot import N_CODES, overshoot_code

#: alpha stays so far below its price, relative to it, that what is left is a number with some digits.
GAP_TO_PRICE = 2.0**-50


class Hinges(NamedTuple):
    """The hinges of some rows; arrays of shape (n, J)."""

    s: np.ndarray
    o: np.ndarray
    c: np.ndarray


def _hinges(y, weights, loss, positive, epsilon, price, other_price):
    y = y[:, np.newaxis]
    if loss == "hinge":
        s = np.where(y == positive, 1.0, -1.0)
        o, c = np.ones_like(s), np.where(y == positive, price, other_price)
    else:
        s = np.broadcast_to([1.0, -1.0], (len(y), 2))
        o, c = s * y - epsilon, np.full((len(y), 2), price)
    return Hinges(s, o, c if weights is None else c * weights[:, np.newaxis])


def _margins(X, vectors):
    return X @ vectors[:, :-1].T + vectors[:, -1]


def _sums(X, of_rows):
    """Return the sum of a number of every row times (x, 1)."""
    return np.append(X.T @ of_rows, of_rows.sum())


class _Point:
    """What the passes need of the state: D = 1 / (u / alpha + v / z), t, and the directions.

    The linearised conditions, eliminated down to the coefficients, give for a change dw of them

        d alpha = D (q - s dw.x),  du = (r_u - u d alpha) / alpha,  dv = (r_v + v d alpha) / z,
        q = t + r_u / alpha + u - r_v / z - v

    with r_u = -alpha u, r_v = -z v for the predicted direction (then q = t), and for the corrected one with
    r_u = mu - alpha u - d alpha du, r_v = mu - z v + d alpha dv, the products those of the predicted one.
    """

    def __init__(self, X, alpha, lower, upper, hinges, margin):
        live = hinges.c > 0
        self.X, self.hinges, self.live = X, hinges, live
        self.a, self.u, self.v = (np.where(live, value, 1.0) for value in (alpha, lower, upper))
        self.z = np.where(live, hinges.c - alpha, 1.0)
        self.t = np.where(live, hinges.o - hinges.s * margin[:, np.newaxis], 0.0)
        self.D = np.where(live, self.a * self.z / (self.u * self.z + self.v * self.a), 0.0)

    def predicted(self, slope):
        da = self.D * (self.t - self.hinges.s * slope[:, np.newaxis])
        return da, -self.u - self.u * da / self.a, -self.v + self.v * da / self.z

    def corrected(self, predicted, slope, barrier):
        da, du, dv = predicted
        r_u, r_v = barrier - self.a * self.u - da * du, barrier - self.z * self.v + da * dv
        q = self.t + barrier * (1 / self.a - 1 / self.z) - da * du / self.a - da * dv / self.z
        da = self.D * (q - self.hinges.s * slope[:, np.newaxis])
        return da, (r_u - self.u * da) / self.a, (r_v + self.v * da) / self.z

    def overshoot(self, direction):
        da, du, dv = direction
        ratios = np.stack([-da / self.a, da / self.z, -du / self.u, -dv / self.v])[:, self.live]
        found = np.zeros(N_CODES)
        found[overshoot_code(ratios.max(initial=0.0))] = 1.0
        return found

    def pulled(self, of_hinges):
        return _sums(self.X, np.where(self.live, self.hinges.s * of_hinges, 0.0).sum(axis=1))


def _each(alpha, lower, upper, vectors, positive, price, other_price, more):
    """Yield for every model its states (views), vectors, and parameters."""
    J = alpha.shape[1] // len(price)
    for m in range(len(price)):
        at = slice(m * J, (m + 1) * J)
        states = alpha[:, at], lower[:, at], upper[:, at]
        yield (
            states,
            vectors[:, m],
            (positive[m], price[m], other_price[m]),
            tuple(array[m] for array in more),
        )


def _of_all(results):
    """Return the parts of all models, stacked."""
    return tuple(np.stack(parts) for parts in zip(*results, strict=True))


def interior_start(y, weights, loss, positive, epsilon, price, other_price, least, n_threads=1):
    """Return alpha = c/2, and u - v = -t at coefficients 0 with both at least `least`."""
    of_models = zip(positive, price, other_price, strict=True)
    hinges = [_hinges(y, weights, loss, one, epsilon, own, other) for one, own, other in of_models]
    o, c = (np.concatenate(parts, axis=1) for parts in list(zip(*hinges, strict=True))[1:])
    return c / 2, np.maximum(-o, 0.0) + least, np.maximum(o, 0.0) + least


def interior_gram(
    X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon, price, other_price, barrier, step
):
    """Return sums of D x x^T, s alpha x, s D t x, alpha u + z v, hinges, c max(0, t), o alpha."""
    models = _each(alpha, lower, upper, vectors, positive, price, other_price, (barrier, step))
    return _of_all(_gram(X, y, weights, loss, epsilon, *model) for model in models)


def _gram(X, y, weights, loss, epsilon, states, vectors, prices, more):
    positive, price, other_price = prices
    (alpha, lower, upper), (barrier, step) = states, more
    hinges = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    margin, predicted, corrected = _margins(X, vectors).T
    before = _Point(X, alpha, lower, upper, hinges, margin)
    da, du, dv = before.corrected(before.predicted(predicted), corrected, barrier)
    alpha[...] = np.where(before.live, np.minimum(before.a + step * da, hinges.c * (1 - GAP_TO_PRICE)), 0.0)
    lower[...], upper[...] = before.u + step * du, before.v + step * dv
    here = _Point(X, alpha, lower, upper, hinges, margin + step * corrected)
    live, h = here.live, here.D.sum(axis=1)
    last = _sums(X, h)
    inner = (
        (X.T @ (X.multiply(h[:, np.newaxis]).tocsr())).toarray()
        if hasattr(X, "multiply")
        else (X.T @ (X * h[:, np.newaxis]))
    )
    gram = np.block([[inner, last[:-1, np.newaxis]], [last[np.newaxis]]])
    return (
        gram,
        here.pulled(here.a),
        here.pulled(here.D * here.t),
        np.sum(here.a * here.u + here.z * here.v, where=live),
        live.sum(),
        np.sum(hinges.c * np.maximum(here.t, 0.0), where=live),
        np.sum(hinges.o * here.a, where=live),
    )


def interior_correct(
    X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon, price, other_price
):
    """Return sums of s D (1/alpha - 1/z) x, -s D (da du/alpha + da dv/z) x, da du - da dv, and codes."""
    models = _each(alpha, lower, upper, vectors, positive, price, other_price, ())
    return _of_all(_correct(X, y, weights, loss, epsilon, *model) for model in models)


def _correct(X, y, weights, loss, epsilon, states, vectors, prices, more):
    positive, price, other_price = prices
    hinges = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    margin, predicted = _margins(X, vectors).T
    here = _Point(X, *states, hinges, margin)
    da, du, dv = here.predicted(predicted)
    return (
        here.pulled(here.D * (1 / here.a - 1 / here.z)),
        here.pulled(-here.D * (da * du / here.a + da * dv / here.z)),
        np.sum(da * du - da * dv, where=here.live),
        here.overshoot((da, du, dv)),
    )


def interior_step(
    X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon, price, other_price, barrier
):
    """Return the shards by the code of the largest ratio -dx/x of the corrected direction."""
    models = _each(alpha, lower, upper, vectors, positive, price, other_price, (barrier,))
    return _of_all(_step(X, y, weights, loss, epsilon, *model) for model in models)[0]


def _step(X, y, weights, loss, epsilon, states, vectors, prices, more):
    positive, price, other_price = prices
    hinges = _hinges(y, weights, loss, positive, epsilon, price, other_price)
    margin, predicted, corrected = _margins(X, vectors).T
    here = _Point(X, *states, hinges, margin)
    return (here.overshoot(here.corrected(here.predicted(predicted), corrected, more[0])),)
