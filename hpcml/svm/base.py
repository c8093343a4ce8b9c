"""What LinearSVC and LinearSVR have in common: the objective, its two methods, coefficients."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from hpcml import communicators
from hpcml.communicators import Table
from hpcml.counterparts import ToSklearnMixin
from hpcml.linear_model.linear_grid import GridRows, SharedPasses
from hpcml.training.classes import total_weight
from hpcml.training.inputs import FLOATS, INTERCEPT_SCALINGS, as_rows, checked_weights, validate_data
from hpcml.training.interior_point import Hinges, Solution, minimise_hinges
from hpcml.training.linear_grid import Folds, minimise_together, problems_of
from hpcml.training.linear_objective import Objective, origin_of
from hpcml.training.newton import OVERFLOWED, minimise
from hpcml.validation import (
    BOOLEAN,
    RANDOM_STATE,
    VERBOSE,
    InvalidParameterError,
    UnsupportedError,
    check_parameters,
    integer,
    one_of,
    real,
)

__all__ = ["ALLOWED", "LinearModel"]

Floats = NDArray[np.float64]

#: What the parameters of both classes may be.
ALLOWED = {
    "dual": (BOOLEAN, one_of("auto")),
    "tol": (real(0.0, closed="neither"),),
    "C": (real(0.0, closed="neither"),),
    "fit_intercept": (BOOLEAN,),
    "intercept_scaling": (real(0.0, closed="neither"),),
    "verbose": (VERBOSE,),
    "random_state": (RANDOM_STATE,),
    "max_iter": (integer(0),),
}

#: Features up to which the interior-point method solves its equations.
MOST_FEATURES = 2000
#: Gap of the interior-point method, relative to the objective, for a unit of ``tol``: the last iterations are
#: so fast that two more, at the default down to 1e-9, give coefficients with seven digits.
GAP_OF_TOL = 1e-5
#: Size of the gradient, relative to that where all coefficients are 0, for a unit of ``tol``: at the default
#: the objective is within 1e-6 of its minimum also for ten thousands of features, whose gradient says less.
GRADIENT_OF_TOL = 1e-2
#: Losses and penalties that scikit-learn's solver combines, and with which values of ``dual``.
COMBINATIONS: dict[str, dict[str, tuple[bool, ...]]] = {
    "hinge": {"l2": (True,)},
    "squared_hinge": {"l1": (False,), "l2": (False, True)},
    "epsilon_insensitive": {"l2": (True,)},
    "squared_epsilon_insensitive": {"l2": (False, True)},
}


#: What hinges of a batch share.
_SHARED_HINGES = "the models of a fold step together: one pass over the rows serves up to 16 of them"


def _given(weights: Floats) -> dict[str, Floats]:
    return {"given": weights}


def _fold_weights(held: NDArray[np.int64], bit: int, given: Floats | None = None) -> dict[str, Floats]:
    trained = (held >> bit & 1 == 0).astype(np.float64)
    return {"weights": trained if given is None else trained * given}


class LinearModel(SharedPasses, ToSklearnMixin, BaseEstimator):
    """Base of the two estimators."""

    dual: Any
    tol: float
    C: float
    fit_intercept: bool
    intercept_scaling: float
    verbose: int
    random_state: Any
    max_iter: int
    loss: str
    coef_: Any
    intercept_: Any
    n_iter_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- fit -------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, y: Any, sample_weight: Any, allowed: Any) -> tuple[Any, Any, Floats | None]:
        """Return parameters, rows and weights checked; parameters against `allowed` too."""
        check_parameters(type(self).__name__, self.get_params(deep=False), ALLOWED | allowed)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=FLOATS,
            order="C",
            ensure_min_samples=communicators.least_rows(),
        )
        return as_rows(X), y, checked_weights(sample_weight, X.shape[0], negative=False)

    def _check_combination(self, penalty: str, n_samples: int, n_features: int) -> None:
        """Raise for what scikit-learn's solver cannot combine either."""
        duals = COMBINATIONS[self.loss].get(penalty)
        dual = self.dual
        if dual == "auto":
            few = n_samples < n_features
            dual = few if few in (duals or ()) else not few
        if duals is None:
            text = f"The combination of penalty='{penalty}' and loss='{self.loss}' is not supported"
        elif bool(dual) not in duals:
            text = (
                f"The combination of penalty='{penalty}' and loss='{self.loss}' are not supported when "
                f"dual={dual}"
            )
        else:
            return
        raise InvalidParameterError(
            f"Unsupported set of arguments: {text}, Parameters: penalty={penalty!r}, loss={self.loss!r}, "
            f"dual={dual!r}"
        )

    def _check_width(self, n_features: int) -> None:
        if self._is_hinge and n_features > MOST_FEATURES:
            raise UnsupportedError(
                f"The 'loss' parameter of {type(self).__name__} must be 'squared_{self.loss}' for more than "
                f"{MOST_FEATURES} features. Got {self.loss!r} and {n_features} features instead, which hpcml "
                "does not support; scikit-learn's estimator of the same name does."
            )

    def _penalty(self, n_features: int, without_intercept: float) -> Floats:
        """Return the strength of the penalty of every coefficient, the intercept's last.

        scikit-learn's solver gives rows another feature that is always `intercept_scaling`, and penalises its
        coefficient v as the others: intercept_^2 / intercept_scaling^2 is v^2.
        """
        strengths = np.ones(n_features + 1)
        scaling = np.clip(float(self.intercept_scaling), *INTERCEPT_SCALINGS)
        strengths[-1] = scaling**-2.0 if self.fit_intercept else without_intercept
        return strengths

    def _limit(self) -> tuple[float, int]:
        """Return what ends the interior-point method: the gap, and most iterations."""
        return float(self.tol) * GAP_OF_TOL, int(self.max_iter)

    def _fit_hinges(self, table: Table, hinges: Hinges, n_features: int) -> None:
        n_models = len(hinges.price)
        penalty = np.tile(self._penalty(n_features, np.inf), (n_models, 1))
        limits = [self._limit()] * n_models
        self._set_solutions(minimise_hinges(table, hinges, penalty, limits, verbose=int(self.verbose)))

    def _set_solutions(self, found: Sequence[Solution]) -> None:
        n_iter, converged = [one.n_iter for one in found], [one.converged for one in found]
        self._set_fitted(np.array([one.coef for one in found]), n_iter, converged)

    def _objective(self, table: Table, X: Any, penalty: str, strengths: Floats, **given: Any) -> Objective:
        """Return the objective of problems with the strengths of their penalty, and what else is given."""
        nothing = np.zeros_like(strengths)
        # an l1 penalty of the intercept is one of a sum of parameters where there is an origin
        origin = origin_of(table, X.shape[1]) if penalty == "l2" or not self.fit_intercept else None
        return Objective(
            table,
            self.loss,
            l2=strengths if penalty == "l2" else nothing,
            l1=np.sqrt(strengths) if penalty == "l1" else nothing,
            itemsize=X.dtype.itemsize,
            fit_intercept=bool(self.fit_intercept),
            origin=origin,
            **given,
        )

    def _minimised(
        self, table: Table, rows: Any, weighted: bool, penalty: str, positive: Floats, epsilon: float = 0.0
    ) -> tuple[Floats, list[int], list[bool]]:
        """Return coefficients, iterations and whether they suffice, for every class of `positive`."""
        strengths = np.tile(self._penalty(rows.shape[1], 0.0), (len(positive), 1))
        nothing = np.zeros_like(strengths)
        objective = self._objective(
            table,
            rows,
            penalty,
            strengths,
            scale=float(self.C),
            positive=positive,
            total_weight=total_weight(table, weighted),
            weighted=weighted,
            epsilon=epsilon,
        )
        self._origin = objective.origin
        _, gradient = objective.evaluate(nothing)
        tol = float(self.tol) * GRADIENT_OF_TOL * float(np.abs(gradient).max(axis=1).min())
        tol = max(tol, np.finfo(np.float64).tiny)
        found = minimise(objective, nothing, tol, int(self.max_iter), self._told if self.verbose else None)
        if found.overflowed.any():
            warnings.warn(OVERFLOWED.strip(), ConvergenceWarning, stacklevel=3)
        return found.parameters, found.n_iter.tolist(), found.converged.tolist()

    # -- grids -----------------------------------------------------------------------------------------------

    _grid_validation: ClassVar[dict[str, Any]] = {}

    @property
    def _is_hinge(self) -> bool:
        """Whether the loss is one that the interior-point method minimises."""
        return self.loss in ("hinge", "epsilon_insensitive")

    @property
    def _grid_shared(self) -> str:
        return _SHARED_HINGES if self._is_hinge else super()._grid_shared

    def _check_shared(self, penalty: str) -> None:
        """Raise for what no fit allows; numbers of rows and features do not matter to any shared one."""
        self._check_combination(penalty, 1, 1)

    def _hinges_together(
        self,
        rows: GridRows,
        models: Sequence[Any],
        folds: Folds,
        hinges_of: Callable[[int, Sequence[float]], Hinges],
    ) -> dict[tuple[int, int], Any]:
        """Return new estimators by place among the models and among the folds.

        `hinges_of` returns those of a fold for some strengths, candidate after candidate. The models of a
        fold step together; rows that it does not train on have weight 0, in the table too from then on.
        """
        d = rows.X.shape[1]
        self._check_width(d)
        fitted = {}
        if rows.weighted:
            rows.table.map_rows(_given)
        for j, bit in enumerate(folds.bits):
            hinges = hinges_of(j, [float(model.C) for model in models])
            K = len(hinges.price) // len(models)
            penalty = np.repeat([model._penalty(d, np.inf) for model in models], K, axis=0)
            limits = [model._limit() for model in models for _ in range(K)]
            rows.table.map_rows(_fold_weights, bit=int(bit))
            found = minimise_hinges(rows.table, hinges, penalty, limits)
            for i, model in enumerate(models):
                fitted[i, j] = type(self)(**model.get_params(deep=False))
                fitted[i, j]._set_solutions(found[i * K : (i + 1) * K])
        return fitted

    def _minimised_together(
        self,
        rows: GridRows,
        models: Sequence[Any],
        folds: Folds,
        penalty: str,
        positive: Floats,
        factors: Floats | None = None,
        epsilon: float = 0.0,
    ) -> dict[tuple[int, int], Any]:
        """Return new estimators with coefficients, by place among the models and among the folds.

        Every class of `positive` is a problem; `factors` are those of classes, by fold and class of
        `positive`.
        """
        d, n_columns = rows.X.shape[1], len(positive)
        shape = len(models), len(folds.numbers), n_columns
        candidate, fold, column = problems_of(*shape)
        C = np.array([float(model.C) for model in models])[candidate]
        strengths = np.array([model._penalty(d, 0.0) for model in models])[candidate]
        if factors is None:
            totals, whole = folds.sums.sum(axis=1)[fold], np.full(len(fold), folds.whole.sum())
        else:
            totals = np.einsum("fkc,fc->fk", factors, folds.sums)[fold, column]
            whole = (factors @ folds.whole)[fold, column]
        objective = self._objective(
            rows.table,
            rows.X,
            penalty,
            strengths,
            scale=C,
            positive=positive[column],
            total_weight=totals,
            weighted=rows.weighted,
            epsilon=epsilon,
            folds=folds.bits[fold],
            factors=None if factors is None else factors[fold, column],
            alike=candidate * n_columns + column,
            whole_weight=whole,
            dense=not sparse.issparse(rows.X),
        )
        # the gradient where all coefficients are 0 is that of the first candidate, times C
        first = np.flatnonzero(candidate == 0)
        _, gradient = objective.of(first).evaluate(np.zeros((len(first), d + 1)))
        sizes = np.abs(gradient).max(axis=1).reshape(shape[1:]) / C[0]
        if factors is None or n_columns == 1:  # columns that are minimised together end together
            sizes[:] = sizes.min(axis=1, keepdims=True)
        tol = np.array([float(model.tol) for model in models])[candidate] * GRADIENT_OF_TOL
        tol = np.maximum(tol * C * sizes[fold, column], np.finfo(np.float64).tiny)
        max_iter = np.array([int(model.max_iter) for model in models])[candidate]
        found = minimise_together(objective, tol, max_iter, candidate)
        parameters = found.parameters.reshape(*shape, -1)
        n_iter, converged = found.n_iter.reshape(shape), found.converged.reshape(shape)
        if found.overflowed.any():
            warnings.warn(OVERFLOWED.strip(), ConvergenceWarning, stacklevel=4)
        fitted = {}
        for i, model in enumerate(models):
            own = model.get_params(deep=False)
            for j in range(shape[1]):
                one = type(self)(**own)
                one._origin = objective.origin
                one._set_fitted(parameters[i, j], n_iter[i, j].tolist(), converged[i, j].tolist())
                fitted[i, j] = one
        return fitted

    @staticmethod
    def _told(n_iter: int, parameters: Floats, gradient: float) -> None:
        print(f"Newton {n_iter}: largest gradient {gradient:.3g}", file=sys.stderr)

    def _set_fitted(self, parameters: Floats, n_iter: list[int], converged: list[bool]) -> None:
        self.coef_ = np.ascontiguousarray(parameters[:, :-1])
        self.intercept_ = parameters[:, -1].copy() if self.fit_intercept else 0.0
        self.n_iter_ = max(n_iter)
        if self.n_iter_ >= self.max_iter or not all(converged):
            warnings.warn(
                "Liblinear failed to converge, increase the number of iterations. (It is hpcml's method, in "
                f"its place, that ended after {self.n_iter_} of max_iter={self.max_iter} iterations.)",
                ConvergenceWarning,
                stacklevel=3,
            )
