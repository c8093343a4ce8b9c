"""The search protocol of logistic regression and linear support vector machines; see `hpcml.protocol`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import blas, communicators
from hpcml.communicators import Communicator, Table
from hpcml.linear_model.classifier import margins_of
from hpcml.protocol import Batch
from hpcml.training.classes import encoded
from hpcml.training.grids import (
    MOST_FOLDS,
    Fits,
    GridFit,
    GridMixin,
    candidate_estimators,
    cut,
    held_out,
    rows_of,
)
from hpcml.training.inputs import FLOATS, as_rows, checked_weights, validate_data
from hpcml.training.linear_grid import Folds, folds_of
from hpcml.validation import has_callbacks

__all__ = ["GridRows", "SharedPasses"]

#: Margins of so many bytes are held at once.
HELD_BYTES = 64 << 20
#: Rows of a stretch, relative to the test rows in it, up to which it is read as a whole.
NEARLY_ALL = 1.1


@dataclass(frozen=True)
class GridRows:
    """The validated table.

    Attributes
    ----------
    table : Table
        With the row arrays ``X``, ``y`` (numbers of the classes, or targets), ``held`` and perhaps
        ``weights``.
    X : ndarray or sparse matrix
        This rank's rows.
    classes : ndarray or None
    weighted : bool
    """

    table: Table
    X: Any
    classes: NDArray[Any] | None
    weighted: bool


class SharedPasses(GridMixin):
    """Linear models of a grid that share every pass over the rows.

    A class says with `_grid_key` which candidates go together, and fits them in `_fit_together`.
    """

    #: `fit_grid` also runs on every rank of an MPI job, with its rows.
    grid_over_shards = True

    @property
    def _grid_shared(self) -> str:
        """What the models of a batch share."""
        return "all models step together: one pass over the rows a step, and one preconditioner for all folds"

    def _grid_key(self) -> tuple[Any, ...]:
        """Return what the candidates of a batch have in common; raise if this one cannot share."""
        raise NotImplementedError

    def _fit_together(
        self, rows: GridRows, models: Sequence[Any], folds: Folds
    ) -> dict[tuple[int, int], Any]:
        """Return fitted estimators by place among the models and among the folds."""
        raise NotImplementedError

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        # those of a batch differ in nothing but the strength of the penalty, `tol`, `max_iter` and what has
        # no effect
        groups: dict[Any, list[int]] = {}
        models = candidate_estimators(self, candidates)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fits will tell
            for i, model in enumerate(models):
                groups.setdefault(self._checked_key(model), []).append(i)
        made = []
        for group in groups.values():
            costs = dict.fromkeys(group, 1.0)
            shared = models[group[0]]._grid_shared
            made += cut(costs, n_folds, shared, folds_at_once=MOST_FOLDS, counted=False)
        return made

    def _checked_key(self, model: Any) -> tuple[Any, ...]:
        key: tuple[Any, ...] = model._grid_key()
        for name in ("warm_start", "verbose"):
            if getattr(model, name, False):
                raise ValueError(
                    f"{name} must be off for models that step together. Got {getattr(model, name)!r} instead."
                )
        if has_callbacks(self):
            raise ValueError("callbacks are told about the iterations of a fit of its own only.")
        return key

    def _fit_grid(self, batch: GridFit) -> Fits:
        numbers, models = list(batch.candidates), list(batch.estimators(self).values())
        with (
            communicators.current() as communicator,
            blas.one_thread(),
            self._grid_rows(communicator, models[0], batch) as rows,
        ):
            n_classes = None if rows.classes is None else len(rows.classes)
            every = folds_of(
                communicator, rows.table, list(batch.folds), n_classes=n_classes, weighted=rows.weighted
            )
            shared = every.that_have_all()
            found = models[0]._fit_together(rows, models, shared) if shared.numbers else {}
        for j, number in enumerate(shared.numbers):
            fitted = [found[i, j] for i in range(len(numbers))]
            for i, values in _responses(fitted, rows.X, batch.folds[number][1], batch.responses):
                yield numbers[i], number, fitted[i], values
        if len(shared.numbers) < len(batch.folds):
            raise ValueError(
                "the training rows of a fold lack a class or all weight: nothing is shared there"
            )

    @contextmanager
    def _grid_rows(self, communicator: Communicator, model: Any, batch: GridFit) -> Iterator[GridRows]:
        """Hold the validated table, as `model` reads it."""
        X, y = validate_data(
            self,
            batch.X,
            batch.y,
            accept_sparse="csr",
            dtype=FLOATS,
            order="C",
            ensure_min_samples=communicators.least_rows(),
            **model._grid_validation,
        )
        weights = checked_weights(batch.weights, X.shape[0], negative=False)
        held = held_out(X.shape[0], [train for train, _ in batch.folds.values()])
        classes = None
        if model._grid_classes:
            classes, y = encoded(communicator, y)
        y = np.ascontiguousarray(y, dtype=np.float64)
        with communicator.put(X=as_rows(X), y=y, weights=weights, held=held) as table:
            yield GridRows(table, X, classes, weights is not None)


def _responses(
    fitted: Sequence[Any], X: Any, test: NDArray[Any], responses: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the models of a fold by place, with what their methods say of the test rows."""
    if not responses:
        yield from ((i, {}) for i in range(len(fitted)))
        return
    coefs = [np.atleast_2d(model.coef_) for model in fitted]
    K = len(coefs[0])
    itemsize = max(X.dtype.itemsize, coefs[0].dtype.itemsize)
    at_once = max(1, HELD_BYTES // max(1, len(test) * K * itemsize))
    bytes_of_a_row = max(1, (X.nnz * 3 // max(1, X.shape[0]) if hasattr(X, "nnz") else X.shape[1]) * itemsize)
    for first in range(0, len(fitted), at_once):
        some = fitted[first : first + at_once]
        coef = np.concatenate(coefs[first : first + at_once])
        intercept = np.concatenate([np.broadcast_to(np.ravel(model.intercept_), K) for model in some])
        origin = getattr(some[0], "_origin", None)
        margins = _test_margins(X, test, bytes_of_a_row, coef, intercept, origin)
        for at, model in enumerate(some):
            own = margins[at * K : (at + 1) * K]
            own = own[0] if K == 1 else np.ascontiguousarray(own.T)
            yield first + at, {name: model._response_of(name, own) for name in responses}


def _test_margins(X: Any, test: NDArray[Any], bytes_of_a_row: int, *model: Any) -> NDArray[Any]:
    """Return the margins of the test rows, (columns, rows); `margins_of` takes `model` after the rows.

    Where nearly all rows of a stretch are test rows, as with folds that are not shuffled, all of them are
    read where they are.
    """
    if isinstance(X, np.ndarray) and len(test):
        first, stop = int(test.min()), int(test.max()) + 1
        if first >= 0 and stop - first <= NEARLY_ALL * len(test):
            return np.ascontiguousarray(margins_of(X[first:stop], *model)[test - first].T)
    parts = [margins_of(block, *model).T for _, block in rows_of(X, test, bytes_of_a_row)]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(model[0]), 0))
