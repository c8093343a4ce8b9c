"""Objectives of linear models over the rows of a table: values, gradients and curvature."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.communicators.serial import SerialTable
from hpcml.kernels import lookup
from hpcml.training.linear_penalty import L2Penalty

__all__ = ["Objective", "apart", "origin_of"]

Floats = NDArray[np.float64]

#: Strength of a sample's additional penalty, in curvatures at 0 of one row.
UNCERTAIN = 4.0
#: Share of the standard error of a sample's gradient that is left at its optimum: the step from there to the
#: optimum of all rows is ten times as long.
LEFT_OF_SAMPLE = 0.1
#: Rows, at equal distances, whose mean is the origin; and how many of their deviations a feature's mean is
#: away from 0 at least where it is subtracted: with fewer, margins keep enough digits.
ROWS_OF_AN_ORIGIN = 256
FAR = 16.0
#: A fold is unlike the others where second moments of its features differ from those of all rows: by so many
#: powers of 2 for most features, or by twice as many for so many of them.
UNLIKE = 0.5
SHARE_UNLIKE = 0.2
#: Number of a fold that leaves no row out.
NO_FOLD = 63


def apart(n: int, n_rows: int) -> NDArray[np.int64]:
    """Return the numbers of n of so many rows, at equal distances."""
    return np.arange(n, dtype=np.int64) * n_rows // n


def origin_of(table: Table, n_features: int) -> Floats | None:
    """Return values near features that are far from 0, to be subtracted from dense rows; None if none is.

    Sums of products with such features have no digits left for what differs between rows, and Hessians are
    badly conditioned. The difference from a value near them is exact.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    n_features : int

    Returns
    -------
    ndarray of shape (n_features,) or None
        In the precision of the rows; 0 for features that are not far from it.
    """
    n = min(table.n_rows, ROWS_OF_AN_ORIGIN)
    rows = table.take(apart(n, table.n_rows))
    if not isinstance(rows, np.ndarray) or not n_features:
        return None
    dtype, rows = rows.dtype, rows.astype(np.float64)
    mean = rows.mean(axis=0)
    far = np.abs(mean) > FAR * np.sqrt(((rows - mean) ** 2).mean(axis=0))
    return np.where(far, mean.astype(dtype).astype(np.float64), 0.0) if far.any() else None


@dataclass(frozen=True)
class Objective:
    """``F_p(W) = scale_p sum_i w_i l(y_i, W x_i) + sum (l2_p / 2 W^2 + l1_p |W|)`` for every problem p.

    A problem is a vector of parameters that depend on each other: under the multinomial loss those of all
    classes, class after class, under the other losses a column of coefficients. All problems share the passes
    over the rows. Methods take and return one row per problem.

    With an origin the intercepts among the parameters are those of the rows less the origin; the penalties
    are of those that belong to the rows themselves, see `moved_back`.

    Parameters
    ----------
    table : Table
        Row arrays ``X``, ``y`` and perhaps ``weights`` and ``held``, as the kernels of `linear_loss` take
        them.
    loss : str
        A loss of these kernels.
    scale : float or ndarray of shape (problems,)
        Factor of the sum of the losses.
    l2, l1 : ndarray of shape (problems, parameters)
        Strengths of the penalties of every parameter; an intercept comes after the d coefficients of its
        column.
    positive : ndarray of shape (problems,)
        Class that is +1 in a problem; what it says is ignored by losses of regression and multinomial.
    total_weight : float or ndarray of shape (problems,)
        Sum of the weights of the rows.
    whole_weight : ndarray of shape (problems,), optional
        The same, with the rows that a fold leaves out; only with `folds` and `alike`.
    itemsize : int
        Bytes of a value of X.
    weighted : bool
        Whether the table has row weights.
    epsilon : float
        Of the loss "squared_epsilon_insensitive".
    fit_intercept : bool
        Without, the intercepts stay 0.
    classes : int
        Columns of a problem: 1 but under the multinomial loss.
    folds : ndarray of int64 of shape (problems,), optional
        Fold of every problem: rows whose set ``held`` has it do not count.
    factors : ndarray of shape (problems, classes), optional
        Of the weights of the rows of every class.
    origin : ndarray of shape (d,), optional
        What `origin_of` found. Not with an l1 penalty of intercepts.
    alike : ndarray of int of shape (problems,), optional
        Problems with the same number differ in nothing but their fold, and have their optimum near each
        other.
    dense : bool
        Whether rows are no sparse matrix; False, though they are none, computes margins once for every fold.
    """

    table: Table
    loss: str
    scale: Any
    l2: Floats
    l1: Floats
    positive: Floats
    total_weight: Any
    itemsize: int
    weighted: bool = False
    epsilon: float = 0.0
    fit_intercept: bool = True
    classes: int = 1
    folds: NDArray[np.int64] | None = None
    factors: Floats | None = None
    origin: Floats | None = None
    alike: NDArray[np.intp] | None = None
    whole_weight: Floats | None = None
    dense: bool = False

    def __post_init__(self) -> None:
        for name in ("scale", "total_weight"):
            value = np.broadcast_to(np.asarray(getattr(self, name), dtype=np.float64), len(self.l2))
            object.__setattr__(self, name, value)

    @property
    def coupled(self) -> bool:
        """Whether problems have several columns, of which the multinomial loss sees the differences."""
        return self.loss == "multinomial"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of problems, and of the parameters of each."""
        return self.l2.shape  # type: ignore[return-value]

    @property
    def parameters(self) -> int:
        """Parameters of a column, its intercept among them."""
        return self.l2.shape[1] // self.classes

    @functools.cached_property
    def l2_penalty(self) -> L2Penalty:
        """The l2 part, with what the origin and intercepts that stay 0 change."""
        return L2Penalty(self.l2, self.classes, self.fit_intercept, self.origin)

    def of(self, problems: NDArray[np.intp]) -> Objective:
        """Return the objective of some of the problems."""
        if len(problems) == self.shape[0]:
            return self
        names = (
            "scale", "l2", "l1", "positive", "total_weight", "folds", "factors", "alike", "whole_weight"
        )  # fmt: skip
        parts = {name: getattr(self, name) for name in names}
        cut: dict[str, Any] = {name: None if part is None else part[problems] for name, part in parts.items()}
        return dataclasses.replace(self, **cut)

    def shared(self) -> tuple[Objective, NDArray[np.intp], NDArray[np.intp]]:
        """Return one problem over all rows for those that are alike.

        Returns
        -------
        objective : Objective
            This one, if no problems are alike.
        chosen : ndarray of int
            Which problems have been taken.
        spread : ndarray of int of shape (problems,)
            Problem of `objective` that each one of this is like.

        A problem that is like no other keeps its fold.
        """
        if self.alike is None:
            every = np.arange(len(self.l2))
            return self, every, every
        _, chosen, spread, counts = np.unique(
            self.alike, return_index=True, return_inverse=True, return_counts=True
        )
        alone, own, folds = counts == 1, self.of(chosen), None
        if self.folds is not None and alone.any():  # over the rows of its own fold
            folds = np.where(alone, self.folds[chosen], NO_FOLD)
        total = own.total_weight
        if own.whole_weight is not None:  # more rows weigh as much as those of a fold, beside the penalty
            total = np.where(alone, total, own.whole_weight)
        scale = own.scale * own.total_weight / total
        kept = {"scale": scale, "total_weight": total, "folds": folds, "alike": None, "whole_weight": None}
        return dataclasses.replace(own, **kept), chosen, spread

    def told_apart(self, sample: Table) -> Objective:
        """Return the objective with no problem alike another whose fold has other rows than most have.

        Folds are compared by the second moments of their rows, each relative to that of all rows.

        Parameters
        ----------
        sample : Table
            Some of the rows, with ``held``.
        """
        if self.alike is None or self.folds is None:
            return self
        _, first, own = np.unique(self.folds, return_index=True, return_inverse=True)
        if len(first) == 1:
            return self
        probe = dataclasses.replace(
            self.of(first),
            table=sample,
            l2=np.zeros((len(first), self.shape[1])),
            fit_intercept=True,
            alike=None,
        )
        nothing = np.zeros(probe.shape)
        of_all = dataclasses.replace(probe.of(np.arange(1)), folds=None).diagonal(nothing[:1])
        of_folds = probe.diagonal(nothing)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = of_folds / of_folds[:, -1:] / (of_all / of_all[:, -1:])
        ratios = np.where(np.isfinite(ratios), ratios, 1.0)
        away = np.abs(np.log2(np.clip(ratios, 1e-3, 1e3)))
        unlike = (np.median(away, axis=1) > UNLIKE) | ((away > 2 * UNLIKE).mean(axis=1) > SHARE_UNLIKE)
        if not unlike.any():
            return self
        after = self.alike.max() + 1 + np.arange(len(self.alike))
        return dataclasses.replace(self, alike=np.where(unlike[own], after, self.alike))

    def moved(self, P: Floats) -> Floats:
        """Return parameters with the intercepts of rows less the origin."""
        return self.l2_penalty.moved(P, 1.0)

    def moved_back(self, P: Floats) -> Floats:
        """Return parameters with the intercepts that belong to the rows themselves."""
        return self.l2_penalty.moved(P, -1.0)

    # -- samples ---------------------------------------------------------------------------------------------

    def table_of_sample(self, n_sampled: int) -> SerialTable:
        """Return rows at equal distances, as a table of this process."""
        numbers = apart(n_sampled, self.table.n_rows)
        names = ["X", "y"] + ["weights"] * self.weighted + ["held"] * (self.folds is not None)
        return SerialTable({name: self.table.take(numbers, name) for name in names})

    def sampling_error(self, n_rows: int) -> Floats:
        """Return the greatest entry of the gradient at which a sample of so many rows is solved."""
        return np.asarray(LEFT_OF_SAMPLE / np.sqrt(n_rows) * self.scale * self.total_weight)

    def of_sample(self, table: Table) -> Objective:
        """Return the objective that a sample of the rows stands for.

        Its l2 penalty is a little stronger, by what the sample's optimum is uncertain, so that a sample whose
        classes can be told apart has an optimum.
        """
        total = self._weights_of(table)
        total = np.where(total > 0, total, 1.0)
        scale = self.scale * self.total_weight / total
        sample = dataclasses.replace(self, table=table, scale=scale, total_weight=total)
        losses = dataclasses.replace(sample, l2=0.0 * self.l2, fit_intercept=True)
        diagonal = losses.diagonal(np.zeros(self.shape))
        return dataclasses.replace(sample, l2=self.l2 + UNCERTAIN / table.n_rows * diagonal)

    def _weights_of(self, table: Table) -> Floats:
        """Return the sum of the weights of the rows of a table of this process, for every problem."""
        weights = table.rows("weights") if self.weighted else np.ones(table.n_rows)
        y = None if self.factors is None else table.rows("y").astype(np.intp)
        held = None if self.folds is None else table.rows("held")
        totals = np.empty(len(self.l2))
        for p in range(len(self.l2)):
            w = weights
            if held is not None and self.folds is not None:
                w = w * (1 - (held >> self.folds[p] & 1))
            if y is not None and self.factors is not None:
                w = w * self.factors[p][y]
            totals[p] = w.sum()
        return totals

    # -- values ----------------------------------------------------------------------------------------------

    def evaluate(self, P: Floats) -> tuple[Floats, Floats]:
        """Return the value of every problem without its l1 part, and the gradient."""
        found = self._reduce("linear_gradient", P)
        losses = found["loss"].reshape(self.classes, -1).sum(axis=0)
        G = self._rows(found["gradient"])
        values, slopes = self.l2_penalty.at(P)
        G = self.l2_penalty.constrained(G)
        G += slopes
        return self.scale * losses + values, G

    def evaluate_alike(self, P: Floats, spread: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Evaluate every problem at parameters of those that are alike, ``P[spread]``.

        Margins of dense rows are computed once for all folds, unless these weigh classes differently.
        """
        if not self.dense or self.coupled or self.folds is None or self.factors is not None:
            return self.evaluate(P[spread])
        each, fold = np.unique(self.folds, return_inverse=True)
        positive = np.empty(len(P))
        positive[spread] = self.positive
        given = {"W": self._columns(P, self.origin), "positive": positive, "each": each, "problems": len(P)}
        more = {"loss": self.loss, "epsilon": self.epsilon, "origin": self.origin}
        found = self.table.map_reduce("linear_gradient_of_folds", **given, **more)
        G = self.scale[:, np.newaxis] * found["gradient"].transpose(0, 2, 1)[fold, spread]
        values, slopes = self.l2_penalty.at(P[spread])
        return self.scale * found["loss"][fold, spread] + values, self.l2_penalty.constrained(G) + slopes

    def values(self, P: Floats) -> Floats:
        """Return the value of every problem, with its l1 part."""
        return self.evaluate(P)[0] + (self.l1 * np.abs(P)).sum(axis=1)

    def hessian(self, P: Floats) -> Floats:
        """Return the Hessian of every problem, of shape (problems, parameters, parameters)."""
        if not self.coupled:
            return self.blocks(P)
        each = [self.penalised_hessian(self.losses_hessian(p, P[p]), p, p) for p in range(len(P))]
        return np.array(each).reshape(len(P), *2 * self.shape[1:])

    def losses_hessian(self, problem: int, p: Floats) -> Floats:
        """Return the Hessian of the losses of a problem with all its columns, at its parameters."""
        own = self.of(np.array([problem]))
        if not self.coupled:
            return np.asarray(own.losses_blocks(p[np.newaxis])[0])
        W, size = self._columns(p[np.newaxis], self.origin), self.shape[1]
        given = {name: getattr(own, name) for name in ("folds", "factors", "origin")}
        found = self.table.map_reduce("multinomial_hessian", W=W, **given)["hessian"]
        return np.asarray(own.scale * found.transpose(0, 2, 1, 3).reshape(size, size))

    def penalised_hessian(self, losses: Floats, problem: int, source: int) -> Floats:
        """Return the Hessian of a problem whose losses' part is what `losses_hessian` gave for another."""
        H = losses[np.newaxis] * (self.scale[problem] / self.scale[source])
        own = self.of(np.array([problem]))
        if self.coupled:
            own._make_definite(H[0])
        return np.asarray(own.l2_penalty.added_to(H)[0])

    def blocks_at_zero(self) -> Floats:
        """Return a class's block of the Hessian of every multinomial problem where all parameters are 0.

        There all classes are as likely, and the Hessian times parameters whose mean over the classes is 0 is
        ``sum_i w_i x_i x_i^T / classes`` times those of every class, and the penalty.
        """
        first, own = np.unique(self.same_at_zero(), return_inverse=True)
        few, e = self.of(first), self.parameters
        H = few.losses_blocks(np.zeros(few.shape)).reshape(len(first), -1, e, e)[:, 0]
        scales = self.scale / few.scale[own] * self.classes / (self.classes - 1)
        of_class = dataclasses.replace(self.l2_penalty, l2=self.l2[:, :e], classes=1)
        return of_class.added_to(H[own] * scales[:, np.newaxis, np.newaxis])

    def same_at_zero(self) -> NDArray[np.intp]:
        """Return for every problem the first whose losses are the same, but for the scale, where all is 0."""
        keys: list[NDArray[Any]] = [self.positive[:, np.newaxis]]
        keys += [] if self.folds is None else [self.folds[:, np.newaxis]]
        keys += [] if self.factors is None else [self.factors]
        _, first, inverse = np.unique(np.hstack(keys), axis=0, return_index=True, return_inverse=True)
        return np.asarray(first[inverse.ravel()])

    def margins(self, rows: Any, P: Floats) -> Floats:
        """Return the margins of some rows, of shape (n, problems, classes)."""
        found = lookup("linear_margins")(rows, self.origin, self._columns(P, self.origin))
        return np.asarray(found.reshape(len(found), self.classes, -1).swapaxes(1, 2), dtype=np.float64)

    def blocks(self, P: Floats) -> Floats:
        """Return the Hessian's blocks on the diagonal: (problems * classes, d + 1, d + 1)."""
        return self.l2_penalty.added_to(self.losses_blocks(P))

    def diagonal(self, P: Floats) -> Floats:
        """Return the diagonal of the Hessian of every problem."""
        if self.origin is not None and not self.fit_intercept:  # that of the rows themselves
            found = self._reduce("linear_diagonal", P, origin=None)
        else:
            found = self._reduce("linear_diagonal", P)
        D = self._rows(found["diagonal"]) + self.l2_penalty.diagonal()
        if not self.fit_intercept:
            D[:, self.parameters - 1 :: self.parameters] = 1.0
        return D

    def diagonal_at_zero(self) -> Floats:
        """Return the diagonal where all parameters are 0; problems that are alike have that of all rows."""
        shared, _, spread = self.shared()
        first, own = np.unique(shared.same_at_zero(), return_inverse=True)
        few = dataclasses.replace(shared.of(first), l2=np.zeros((len(first), self.shape[1])))
        D = few.diagonal(np.zeros(few.shape)) / few.scale[:, np.newaxis]
        D = self.scale[:, np.newaxis] * D[own[spread]]
        return D + self.l2_penalty.diagonal()

    def symmetric(self, P: Floats) -> Floats:
        """Return parameters less their mean over the classes, where that is what the optimum has.

        The multinomial loss does not change when all classes get the same parameters added, and an l2
        penalty is least for those of mean 0; an l1 penalty is not.
        """
        if not self.coupled:
            return P
        W = P.reshape(len(P), self.classes, -1)
        free = (self.l1.reshape(W.shape) == 0).all(axis=1, keepdims=True)
        return (W - np.where(free, W.mean(axis=1, keepdims=True), 0.0)).reshape(P.shape)

    # -- parts -----------------------------------------------------------------------------------------------

    def _reduce(self, kernel: str, P: Floats, **changed: Any) -> dict[str, Floats]:
        given: dict[str, Any] = {
            "W": self._columns(P, changed.get("origin", self.origin)),
            "positive": self.positive,
            "folds": self.folds,
            "factors": self.factors,
            "problems": len(P),
            "loss": self.loss,
            "epsilon": self.epsilon,
            "origin": self.origin,
            **changed,
        }
        return self.table.map_reduce(kernel, **given)

    def _columns(self, P: Floats, origin: Floats | None) -> Floats:
        """Return the columns as kernels take them: the first of every problem, then the second of each ..."""
        W = P.reshape(len(P), self.classes, -1).swapaxes(0, 1)
        if origin is not None and not self.fit_intercept:  # w x = w (x - o) + w o
            W = np.concatenate([W[..., :-1], W[..., :-1] @ origin[:, np.newaxis]], axis=2)
        return np.ascontiguousarray(W.reshape(-1, W.shape[2]))

    def _rows(self, columns: Floats) -> Floats:
        """Return sums over the rows, (d + 1, classes * problems), times the scale, as one row a problem."""
        parts = columns.reshape(len(columns), self.classes, -1).transpose(2, 1, 0)
        return np.multiply(parts, self.scale[:, np.newaxis, np.newaxis], order="C").reshape(self.shape)

    def losses_blocks(self, P: Floats) -> Floats:
        """Return the Hessians of the losses of all columns, those of a problem one after the other."""
        H = self._reduce("linear_hessian", P)["hessian"]
        e = H.shape[1]
        H = (
            H.reshape(self.classes, -1, e, e).swapaxes(0, 1)
            * self.scale[:, np.newaxis, np.newaxis, np.newaxis]
        )
        return H.reshape(-1, e, e)

    def _make_definite(self, H: Floats) -> None:
        """Give directions in which the loss is flat, equal changes of all classes, some curvature.

        Where there is no penalty the Hessian is singular along them. The gradient has no part there, so the
        Newton step stays the same.
        """
        K, e = self.classes, self.parameters
        B = H.reshape(K, e, K, e)
        flat = ((self.l2 == 0) & (self.l1 == 0)).reshape(-1, K, e).all(axis=(0, 1))
        for j in np.flatnonzero(flat):
            B[:, j, :, j] += np.einsum("kk->", B[:, j, :, j]) / K
