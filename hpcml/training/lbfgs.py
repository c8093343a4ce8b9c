"""L-BFGS steps from a preconditioner, of many problems together.

D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
Programming 45 (1989), 503-528. With steps s, changes y of the gradient along them and z = M y for a
preconditioner M, their two loops need inner products alone, and end with a sum of multiples of M g, s and z
(W. Chen, Z. Wang, J. Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014). So a step reads the vectors
twice: for their products with the gradient and for the sum. Products of two vectors are differences of those
with gradients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy

from hpcml.training.linear_objective import Objective
from hpcml.training.preconditioners import Preconditioner
from hpcml.training.proximal import least_subgradient

__all__ = ["NEAR_BY_DIAGONAL", "LbfgsSteps"]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: How much above the minimum, relative to it, steps from a Hessian and from its diagonal may leave a value.
#: The first leaves scores of test rows within some 1e-6 of the optimum's, because one more step follows that
#: needs no pass over the rows; with the second it would take too long.
NEAR, NEAR_BY_DIAGONAL = 2e-8, 2e-7
#: Pairs of steps and gradients that are kept; more bring little (Liu and Nocedal 1989).
MOST_PAIRS = 10
#: Memory for them, in numbers; and how many get theirs at a time.
PAIRS_MEMORY = 5_000_000
SLOTS_AT_ONCE = 3


def _dot(A: Floats, B: Floats) -> Floats:
    """Return the inner product of every row of A with that of B."""
    return np.asarray(np.einsum("ij,ij->i", A, B))


class LbfgsSteps:
    """L-BFGS steps from a preconditioner; orthant-wise ones where there is an l1 penalty.

    Parameters
    ----------
    objective : Objective
    precondition : Preconditioner
    near : float
        As `hpcml.training.newton_steps.Steps` has it.
    """

    def __init__(self, objective: Objective, precondition: Preconditioner, near: float = NEAR) -> None:
        self.near = near
        self._objective = objective
        self.finite = np.full(objective.shape[0], precondition.finite)
        self._l1 = objective.l1
        self._with_l1 = bool(objective.l1.any())
        self._precondition = precondition
        self._most_pairs = max(3, min(MOST_PAIRS, PAIRS_MEMORY // (2 * objective.l1.size)))
        self._inverse: _Inverse | None = None
        self._known: tuple[Problems, Floats] | None = None  # what the last decrement has got

    def of(self, problems: Problems) -> LbfgsSteps:
        own = LbfgsSteps(self._objective.of(problems), self._precondition.of(problems), self.near)
        own._most_pairs = self._most_pairs
        return own

    def _times_inverse(self, i: Problems, G: Floats, V: Floats) -> Floats:
        """Multiply subgradients V, where the gradients are G, by about the inverse of the Hessian."""
        if self._inverse is None:
            self._inverse = _Inverse(self._objective.shape, self._most_pairs)
        solved = self._solve(i, G)
        products = self._inverse.at(i, G, solved)
        if V is not G:
            solved, products = self._solve(i, V), self._inverse.products(i, V)
        return self._inverse.times(i, solved, products)

    def _subgradient(self, i: Problems, P: Floats, G: Floats) -> Floats:
        return least_subgradient(P, G, self._l1[i]) if self._with_l1 else G

    def _solve(self, i: Problems, R: Floats) -> Floats:
        whole = R
        if len(i) < len(self.finite):
            whole = np.zeros(self._objective.shape)
            whole[i] = R
        found = self._objective.symmetric(self._precondition(self._objective.symmetric(whole)))
        return found if whole is R else found[i]

    def directions(self, i: Problems, P: Floats, G: Floats) -> tuple[Floats, Floats]:
        V = self._subgradient(i, P, G)
        if self._known is None:
            D = -self._times_inverse(i, G, V)
        else:
            known, found = self._known
            at = np.minimum(np.searchsorted(known, i), len(known) - 1)
            D, new = -found[at], known[at] != i
            if new.any():
                g = G[new]
                D[new] = -self._times_inverse(i[new], g, V[new] if self._with_l1 else g)
        if self._with_l1:
            D[(D * V >= 0) & (self._l1[i] > 0)] = 0.0  # only downhill, entry by entry
        promised = _dot(V, D)
        lost = ~(promised < 0)
        if lost.any():  # rounding has spoilt the pairs
            D[lost] = -V[lost] / np.maximum(np.abs(V[lost]).max(axis=1, keepdims=True), 1.0)
            promised[lost] = _dot(V, D)[lost]
        return D, promised

    def trial(self, i: Problems, P: Floats, G: Floats, D: Floats) -> Floats:
        if not self._with_l1:
            return P + D
        V = least_subgradient(P, G, self._l1[i])
        orthant = np.where(P != 0, np.sign(P), -np.sign(V))
        left = ((P + D) * orthant <= 0) & (self._l1[i] > 0)
        return np.where(left, 0.0, P + D)

    def accepted(self, i: Problems, step: Floats, change: Floats) -> None:
        self._known = None
        if self._inverse is not None:
            self._inverse.learn(i, step, change)

    def decrement(self, i: Problems, P: Floats, G: Floats) -> Floats:
        V = self._subgradient(i, P, G)
        self._known = i, self._times_inverse(i, G, V)
        return 0.5 * _dot(V, self._known[1])

    def last_step(self) -> Floats | None:
        return None if self._with_l1 or self._known is None else -self._known[1]


class _Inverse:
    """About the inverse of the Hessian of every problem, by its last steps and changes of the gradient.

    Pair k of a problem lies in slot k modulo their number. A new one is complete when the preconditioner has
    been applied to the gradient at the end of its step, so that the change of that is z.

    Parameters
    ----------
    shape : tuple of int
        Problems, and parameters of each.
    most_pairs : int
    """

    def __init__(self, shape: tuple[int, int], most_pairs: int) -> None:
        n, m = shape[0], most_pairs
        self._m = m
        self._vectors = np.zeros((n, 2, 0, shape[1]))  # s of every slot; z, or y of a new pair
        self._sy = np.ones((n, m, m))  # products of s with its y and with those of younger pairs
        self._yz = np.zeros((n, m, m))
        self._count, self._is_new = np.zeros(n, dtype=np.intp), np.zeros(n, dtype=bool)
        self._sizes = np.ones(n)  # of the steps, relative to the preconditioner's
        self._solved, self._with_gradient = np.zeros(shape), np.zeros((n, 2, m))  # at the last gradient

    def learn(self, i: Problems, step: Floats, change: Floats) -> None:
        """Note a step of problems, and the change of their gradients."""
        curvature = _dot(step, change)
        fine = curvature > np.finfo(float).eps * _dot(change, change)
        if not fine.all():
            i, step, change, curvature = i[fine], step[fine], change[fine], curvature[fine]
        if i.size:
            slot = self._count[i] % self._m
            self._make_room(int(slot.max()) + 1)
            self._vectors[i, 0, slot], self._vectors[i, 1, slot] = step, change
            self._sy[i, slot, slot] = curvature
            self._is_new[i] = True

    def _make_room(self, n_slots: int) -> None:
        n, _, room, size = self._vectors.shape
        if n_slots > room:
            more = np.zeros((n, 2, min(self._m, n_slots + SLOTS_AT_ONCE - 1), size))
            if room:
                more[:, :, :room] = self._vectors
            self._vectors = more

    def at(self, i: Problems, G: Floats, solved: Floats) -> Floats:
        """Complete new pairs of problems, at whose ends the gradient is G, and M G; return its `products`."""
        new = self._is_new[i]
        p, slot = i[new], self._count[i[new]] % self._m
        if p.size:
            z = (solved if new.all() else solved[new]) - self._of(p, self._solved)
            own = _dot(self._vectors[p, 1, slot], z)
            self._vectors[p, 1, slot] = z
        products = self.products(i, G)
        if p.size:
            change = products[new] - self._with_gradient[p]
            curvature = self._sy[p, slot, slot]
            self._sy[p, :, slot] = change[:, 0]
            self._yz[p, :, slot] = self._yz[p, slot] = change[:, 1]
            self._sy[p, slot, slot], self._yz[p, slot, slot] = curvature, own
            self._sizes[p] = np.divide(curvature, own, where=own > 0, out=self._sizes[p])
            self._count[p] += 1
            self._is_new[p] = False
        self._solved[i], self._with_gradient[i] = solved, products
        return products

    def products(self, i: Problems, V: Floats) -> Floats:
        """Return the products of V with s and z of every slot, (problems, 2, slots)."""
        vectors, found = self._flat(i), np.zeros((len(i), 2, self._m))
        room = vectors.shape[1] // 2
        found[:, :, :room] = np.matmul(vectors, V[:, :, np.newaxis]).reshape(len(i), 2, room)
        return found

    def _flat(self, i: Problems) -> Floats:
        """Return the vectors of problems: s of every slot that there is, then z."""
        n, _, room, size = self._vectors.shape
        return self._of(i, self._vectors.reshape(n, 2 * room, size))

    @staticmethod
    def _of(i: Problems, every: Floats) -> Floats:
        """Return the part of some problems; that of all is not copied."""
        return every if len(i) == len(every) else every[i]

    def times(self, i: Problems, solved: Floats, products: Floats) -> Floats:
        """Return the inverse times what `products` are of: the two loops, of inner products."""
        m, count, sizes, each = self._m, self._count[i], self._sizes[i], np.arange(len(i))
        if not count.any():
            return sizes[:, np.newaxis] * solved
        with_s, with_z, sy, yz = products[:, 0], products[:, 1], self._sy[i], self._yz[i]
        a, left = np.zeros((len(i), m)), np.zeros((len(i), m))
        slots = [(count - 1 - age) % m for age in range(min(m, int(count.max())))]
        for age, slot in enumerate(slots):
            found = (with_s[each, slot] - _dot(sy[each, slot], a)) / sy[each, slot, slot]
            a[each, slot] = np.where(age < count, found, 0.0)
        for age, slot in reversed(list(enumerate(slots))):
            from_z = sizes * (with_z[each, slot] - _dot(yz[each, slot], a))
            b = (from_z + _dot(sy[each, :, slot], left)) / sy[each, slot, slot]
            left[each, slot] = np.where(age < count, a[each, slot] - b, 0.0)
        vectors = self._flat(i)
        room = vectors.shape[1] // 2
        factors = np.concatenate([left[:, :room], -sizes[:, np.newaxis] * a[:, :room]], axis=1)
        result = np.matmul(factors[:, np.newaxis], vectors)[:, 0]
        # added in place, without room for the multiples
        for row, size, own in zip(result, sizes, solved, strict=True):
            daxpy(own, row, a=size)
        return np.asarray(result)
