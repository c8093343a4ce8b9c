"""Objectives of linear models over the rows of a table: values, gradients and curvature."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.communicators.serial import SerialTable

__all__ = ["Objective"]

Floats = NDArray[np.float64]

#: Strength of a sample's additional penalty, in curvatures at 0 of one row.
UNCERTAIN = 4.0


@dataclass(frozen=True)
class Objective:
    """``F(W) = scale * sum_i w_i l(y_i, W x_i) + sum (l2 / 2 W^2 + l1 |W|)``.

    A problem is a vector of parameters that depend on each other. Under the multinomial loss there is one,
    with the parameters of all columns; under the other losses every column of coefficients is a problem of
    its own, and all of them share the passes over the rows. Methods take and return one row per problem.

    Parameters
    ----------
    table : Table
        Row arrays ``X``, ``y`` and perhaps ``weights``, as the kernels of `linear_loss` take them.
    loss : str
        A loss of these kernels.
    scale : float
        Factor of the sum of the losses.
    l2, l1 : ndarray of shape (K, d + 1)
        Strengths of the penalties of every parameter; the last column is that of the intercepts.
    positive : ndarray of shape (K,)
        Class that is +1 in every column; what it says is ignored by losses of regression and multinomial.
    total_weight : float
        Sum of the weights of the rows.
    itemsize : int
        Bytes of a value of X.
    weighted : bool
        Whether the table has row weights.
    epsilon : float
        Of the loss "squared_epsilon_insensitive".
    fit_intercept : bool
        Without, the last column of the parameters stays 0.
    """

    table: Table
    loss: str
    scale: float
    l2: Floats
    l1: Floats
    positive: Floats
    total_weight: float
    itemsize: int
    weighted: bool = False
    epsilon: float = 0.0
    fit_intercept: bool = True

    @property
    def coupled(self) -> bool:
        """Whether all columns are one problem."""
        return self.loss == "multinomial"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of problems, and of the parameters of each."""
        K, e = self.l2.shape
        return (1, K * e) if self.coupled else (K, e)

    def of(self, problems: NDArray[np.intp]) -> Objective:
        """Return the objective of some of the problems."""
        if len(problems) == self.shape[0]:
            return self
        return dataclasses.replace(
            self, l2=self.l2[problems], l1=self.l1[problems], positive=self.positive[problems]
        )

    # -- samples ---------------------------------------------------------------------------------------------

    def table_of_sample(self, n_sampled: int) -> SerialTable:
        """Return rows at equal distances, as a table of this process."""
        numbers = np.arange(n_sampled, dtype=np.int64) * self.table.n_rows // n_sampled
        names = ("X", "y", "weights") if self.weighted else ("X", "y")
        return SerialTable({name: self.table.take(numbers, name) for name in names})

    def of_sample(self, table: Table) -> Objective:
        """Return the objective that a sample of the rows stands for.

        Its l2 penalty is a little stronger, by what the sample's optimum is uncertain, so that a sample whose
        classes can be told apart has an optimum.
        """
        n_sampled = table.n_rows
        total = float(table.rows("weights").sum()) if self.weighted else float(n_sampled)
        if total == 0.0:
            total = 1.0
        scale = self.scale * self.total_weight / total
        sample = dataclasses.replace(self, table=table, scale=scale, total_weight=total)
        diagonal = (sample.diagonal(np.zeros(self.shape)) - self.l2.reshape(self.shape)).reshape(
            self.l2.shape
        )
        return dataclasses.replace(sample, l2=self.l2 + UNCERTAIN / n_sampled * diagonal)

    # -- values ----------------------------------------------------------------------------------------------

    def evaluate(self, P: Floats) -> tuple[Floats, Floats]:
        """Return the value of every problem without its l1 part, and the gradient."""
        found = self.table.map_reduce("linear_gradient", **self._at(P), **self._loss)
        return self._value(found["loss"], P), self._gradient(found["gradient"], P)

    def values(self, P: Floats) -> Floats:
        """Return the value of every problem, with its l1 part."""
        return self.evaluate(P)[0] + (self.l1.reshape(P.shape) * np.abs(P)).sum(axis=1)

    def hessian(self, P: Floats) -> Floats:
        """Return the Hessian of every problem, of shape (problems, parameters, parameters)."""
        n_problems, size = self.shape
        if self.coupled:
            W = self._columns(P)
            found = self.table.map_reduce("multinomial_hessian", W=W)["hessian"]
            H = self.scale * found.transpose(0, 2, 1, 3).reshape(1, size, size)
            self._make_definite(H[0])
        else:
            H = self.scale * self.table.map_reduce("linear_hessian", **self._at(P), **self._loss)["hessian"]
        return self._penalised(H, self.l2.reshape(n_problems, size))

    def blocks(self, P: Floats) -> Floats:
        """Return the Hessian's blocks on the diagonal, one for every column, of shape (K, d + 1, d + 1)."""
        H = self.scale * self.table.map_reduce("linear_hessian", **self._at(P), **self._loss)["hessian"]
        return self._penalised(H, self.l2)

    def diagonal(self, P: Floats) -> Floats:
        """Return the diagonal of the Hessian of every problem."""
        D = self.scale * self.table.map_reduce("linear_diagonal", **self._at(P), **self._loss)["diagonal"]
        D += self.l2
        if not self.fit_intercept:
            D[:, -1] = 1.0
        return D.reshape(self.shape)

    def symmetric(self, P: Floats) -> Floats:
        """Return parameters less their mean over the classes, where that is what the optimum has.

        The multinomial loss does not change when all classes get the same parameters added, and an l2
        penalty is least for those of mean 0; an l1 penalty is not.
        """
        if not self.coupled:
            return P
        W = self._columns(P)
        mean = np.where((self.l1 == 0).all(axis=0), W.mean(axis=0), 0.0)
        return (W - mean).reshape(P.shape)

    # -- parts -----------------------------------------------------------------------------------------------

    @property
    def _loss(self) -> dict[str, str | float]:
        return {"loss": self.loss, "epsilon": self.epsilon}

    def _columns(self, P: Floats) -> Floats:
        return np.ascontiguousarray(P.reshape(self.l2.shape))

    def _at(self, P: Floats) -> dict[str, Floats]:
        return {"W": self._columns(P), "positive": self.positive}

    def _value(self, losses: Floats, P: Floats) -> Floats:
        losses = np.array([losses.sum()]) if self.coupled else losses
        return self.scale * losses + 0.5 * (self.l2.reshape(P.shape) * P**2).sum(axis=1)

    def _gradient(self, gradient: Floats, P: Floats) -> Floats:
        G = self.scale * gradient + self.l2 * self._columns(P)
        if not self.fit_intercept:
            G[:, -1] = 0.0
        return G.reshape(self.shape)

    def _penalised(self, H: Floats, l2: Floats) -> Floats:
        """Add the l2 penalty, and give parameters that stay 0 a row of the unit matrix."""
        i = np.arange(H.shape[1])
        H[:, i, i] += l2
        if not self.fit_intercept:
            last = i[self.l2.shape[1] - 1 :: self.l2.shape[1]]
            H[:, last, :] = H[:, :, last] = 0.0
            H[:, last, last] = 1.0
        return H

    def _make_definite(self, H: Floats) -> None:
        """Give directions in which the loss is flat, equal changes of all classes, some curvature.

        Where there is no penalty the Hessian is singular along them. The gradient has no part there, so the
        Newton step stays the same.
        """
        K, e = self.l2.shape
        B = H.reshape(K, e, K, e)
        for j in np.flatnonzero(((self.l2 == 0) & (self.l1 == 0)).all(axis=0)):
            B[:, j, :, j] += np.einsum("kk->", B[:, j, :, j]) / K
