"""The search protocol of logistic regression and linear support vector machines; see `hpcml.protocol`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from hpcml import blas, communicators
from hpcml.communicators import Communicator
from hpcml.linear_model.classifier import margins_of
from hpcml.protocol import Batch
from hpcml.training.classes import encoded
from hpcml.training.grids import weights_alone
from hpcml.training.inputs import FLOATS, checked_weights
from hpcml.training.linear_grid import MOST_FOLDS, Folds, folds_of
from hpcml.training.search_batches import merged_parameters
from hpcml.validation import check_whole_table, has_callbacks

__all__ = ["GridRows", "SharedPasses", "hashable"]

#: Margins of so many bytes are held at once, and rows of so many are cut out of the table.
HELD_BYTES = 64 << 20
BLOCK_BYTES = 8 << 20
#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")
#: What the models of a batch share.
_SHARED = "all models step together: one pass over the rows a step, and one preconditioner for all folds"


@dataclass(frozen=True)
class GridRows:
    """The validated table: rows, numbers of the classes or targets, classes or None, weights or None."""

    X: Any
    y: NDArray[np.float64]
    classes: NDArray[Any] | None
    weights: NDArray[np.float64] | None


def hashable(value: Any) -> Any:
    """Return something that is equal for equal parameters of the same type."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return type(value).__name__, value
    return joblib.hash(value)


class SharedPasses:
    """Linear models of a grid that share every pass over the rows.

    A class says with `_grid_key` which candidates go together, and fits them in `_fit_together`.
    """

    def _grid_key(self) -> tuple[Any, ...]:
        """Return what the candidates of a batch have in common; raise if this one cannot share."""
        raise NotImplementedError

    def _fit_together(
        self, communicator: Communicator, rows: GridRows, models: Sequence[Any], folds: Folds
    ) -> dict[tuple[int, int], Any]:
        """Return fitted estimators by place among the models and among the folds."""
        raise NotImplementedError

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Cut a grid into batches whose models step together; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        candidates : list of dict
            Settings of parameters.
        n_folds : int
            Number of folds.

        Returns
        -------
        list of Batch
            One for each group of candidates that differ in nothing but the strength of the penalty, `tol`,
            `max_iter` and what has no effect, and for up to 63 folds.

        Raises
        ------
        ValueError, TypeError
            If a candidate has a parameter that is not allowed, or one under which fits share nothing.
        """
        groups: dict[Any, list[int]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fits will tell
            for i, parameters in enumerate(merged_parameters(self, candidates)):
                groups.setdefault(self._checked_key(type(self)(**parameters)), []).append(i)
        made = []
        for group in groups.values():
            for first in range(0, n_folds, MOST_FOLDS):
                folds = tuple(range(first, min(first + MOST_FOLDS, n_folds)))
                weights = (1.0 / len(group),) * len(group)
                made.append(Batch(tuple(group), folds, float(len(group) * len(folds)), _SHARED, weights))
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

    def fit_grid(
        self,
        X: Any,
        y: Any,
        candidates: dict[int, dict[str, Any]],
        folds: dict[int, tuple[Any, Any]],
        *,
        responses: Sequence[str],
        fit_params: Mapping[str, Any],
    ) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
        """Fit a batch, all of its models at once; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        X, y : array-like
            The whole table and target.
        candidates : dict of int to dict
            Settings by index of the candidate.
        folds : dict of int to (train, test)
            Row indices by index of the fold.
        responses : sequence of str
            Which of the estimator's methods to call on the test rows.
        fit_params : mapping
            ``sample_weight`` of all rows, or nothing.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` is within the rounding of one step of the separate fit; `values` maps each response to
            what the method of `fitted` returns for the test rows.

        Raises
        ------
        ValueError
            If folds train on a row more than once; and at the end, if there are folds that cannot share.
        """
        weights = weights_alone(fit_params)
        missing = [name for name in responses if not hasattr(self, name)]
        if missing:
            raise AttributeError(f"{type(self).__name__} has no {', '.join(missing)}.")
        check_whole_table(f"a grid of {type(self).__name__}")
        numbers = list(candidates)
        models = [type(self)(**each) for each in merged_parameters(self, list(candidates.values()))]
        with communicators.current() as communicator, blas.one_thread():
            rows = _rows_of(communicator, models[0], X, y, weights)
            names = {name: vars(models[0])[name] for name in _NAMES if name in vars(models[0])}
            train = {j: np.asarray(split[0]) for j, split in folds.items()}
            codes = None if rows.classes is None else rows.y
            every = folds_of(train, codes, rows.classes, rows.weights, len(rows.y))
            shared = every.that_have_all()
            found = models[0]._fit_together(communicator, rows, models, shared) if shared.numbers else {}
        for j, number in enumerate(shared.numbers):
            fitted = [found[i, j] for i in range(len(numbers))]
            for model in fitted:
                vars(model).update(names)
            test = np.asarray(folds[number][1])
            for i, values in _responses(fitted, rows.X, test, responses):
                yield numbers[i], number, fitted[i], values
        if len(shared.numbers) < len(folds):
            raise ValueError(
                "the training rows of a fold lack a class or all weight: nothing is shared there"
            )


def _rows_of(communicator: Communicator, model: Any, X: Any, y: Any, weights: Any) -> GridRows:
    """Return the validated table; `model` learns the features' names."""
    X, y = validate_data(model, X, y, accept_sparse="csr", dtype=FLOATS, order="C", **model._grid_validation)
    checked = checked_weights(weights, X.shape[0], negative=False)
    if not model._grid_classes:
        return GridRows(X, np.ascontiguousarray(y, dtype=np.float64), None, checked)
    classes, codes = encoded(communicator, y)
    return GridRows(X, codes, classes, checked)


def _cut(X: Any, rows: NDArray[Any]) -> Any:
    """Return rows of a table; those that follow each other as a view."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first == len(rows) and first >= 0 and (np.diff(rows) == 1).all():
        return X[first:last]
    return X.take(rows, axis=0) if isinstance(X, np.ndarray) else X[rows]


def _responses(
    fitted: Sequence[Any], X: Any, test: NDArray[Any], responses: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the models of a fold by place, with what their methods say of the test rows."""
    if not responses:
        yield from ((i, {}) for i in range(len(fitted)))
        return
    test = np.flatnonzero(test) if test.dtype == bool else test
    coefs = [np.atleast_2d(model.coef_) for model in fitted]
    K = len(coefs[0])
    itemsize = max(X.dtype.itemsize, coefs[0].dtype.itemsize)
    at_once = max(1, HELD_BYTES // max(1, len(test) * K * itemsize))
    bytes_of_a_row = max(1, (X.nnz * 3 // max(1, X.shape[0]) if hasattr(X, "nnz") else X.shape[1]) * itemsize)
    step = max(1, BLOCK_BYTES // bytes_of_a_row)
    for first in range(0, len(fitted), at_once):
        some = fitted[first : first + at_once]
        coef = np.concatenate(coefs[first : first + at_once])
        intercept = np.concatenate([np.broadcast_to(np.ravel(model.intercept_), K) for model in some])
        origin = getattr(some[0], "_origin", None)
        parts = [
            margins_of(_cut(X, test[start : start + step]), coef, intercept, origin).T
            for start in range(0, len(test), step)
        ]
        margins = np.concatenate(parts, axis=1) if parts else np.empty((len(coef), 0))
        for at, model in enumerate(some):
            own = margins[at * K : (at + 1) * K]
            own = own[0] if K == 1 else np.ascontiguousarray(own.T)
            yield first + at, {name: model._response_of(name, own) for name in responses}
