"""What families of estimators have in common whose candidates share work; see `hpcml.protocol`."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from hpcml import blas, communicators
from hpcml.communicators import Communicator
from hpcml.kernels.csr import CSR
from hpcml.protocol import Batch
from hpcml.training.inputs import as_rows

__all__ = [
    "MOST_FOLDS",
    "Failed",
    "Fits",
    "FoldByFold",
    "GridFit",
    "GridMixin",
    "candidate_estimators",
    "cut",
    "hashable",
    "held_out",
    "merged_parameters",
    "numbers_of",
    "response_values",
    "rows_of",
]

#: Folds whose rows one int64 tells.
MOST_FOLDS = 63
#: Rows are gathered so many bytes at a time.
BLOCK_BYTES = 8 << 20
#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")
#: Values that nobody can change.
_PLAIN = (str, int, float, type(None))

#: Candidate, fold, fitted estimator or `Failed`, responses on the test rows.
Fits = Generator[tuple[int, int, Any, dict[str, Any]], None, None]


@dataclass(frozen=True)
class Failed:
    """A candidate that has no result.

    Parameters
    ----------
    error : Exception
        What was raised.
    """

    error: Exception


@dataclass(frozen=True)
class GridFit:
    """What is fitted together: the arguments of `GridMixin.fit_grid`, with the numbers of the folds' rows."""

    X: Any
    y: Any
    weights: Any
    candidates: dict[int, dict[str, Any]]
    folds: dict[int, tuple[NDArray[Any], NDArray[Any]]]
    responses: Sequence[str]
    kept: dict[int, Any] | None = None

    def estimators(self, estimator: Any) -> dict[int, Any]:
        """Return an estimator for every candidate; see `candidate_estimators`."""
        return dict(
            zip(self.candidates, candidate_estimators(estimator, self.candidates.values()), strict=True)
        )


class GridMixin:
    """The search protocol: a family says in `_plan_grid` and `_fit_grid` what its candidates share."""

    #: Whether `fit` takes `sample_weight`.
    _grid_weights = True

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Return the batches; raise if a candidate is not allowed, or shares nothing."""
        raise NotImplementedError

    def _fit_grid(self, batch: GridFit) -> Fits:
        """Yield as `fit_grid` does, and `Failed` for what is to be fitted on its own.

        The table is validated by `self`, which thereby learns the names of the features.
        """
        raise NotImplementedError

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Cut a grid into batches whose candidates share work; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        candidates : list of dict
            Settings of parameters.
        n_folds : int
            Number of folds.

        Returns
        -------
        list of Batch

        Raises
        ------
        ValueError, TypeError
            If a candidate has a parameter that is not allowed, or one under which nothing is shared.
        """
        return self._plan_grid(candidates, n_folds)

    def fit_grid(
        self,
        X: Any,
        y: Any,
        candidates: dict[int, dict[str, Any]],
        folds: dict[int, tuple[Any, Any]],
        *,
        responses: Sequence[str],
        fit_params: Mapping[str, Any],
        kept: dict[int, Any] | None = None,
    ) -> Fits:
        """Fit the candidates of a batch together; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        X, y : array-like
            The whole table and targets.
        candidates : dict of int to dict
            Settings by index of the candidate.
        folds : dict of int to (train, test)
            Row indices by index of the fold.
        responses : sequence of str
            Which of the estimator's methods to call on the test rows.
        fit_params : mapping
            ``sample_weight`` of all rows if `fit` takes it, or nothing.
        kept : dict of int to object, optional
            Only of a class with `grid_resources`: what is left for a halving search's next round, by fold.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` equals the separate fit; `values` maps each response to its values on the test rows.

        Raises
        ------
        ValueError
            At the end, if there are fits that share nothing after all: the reason of the first.
        """
        taken = {"sample_weight"} if self._grid_weights else set()
        others = sorted(set(fit_params) - taken)
        if others:
            takes = ", ".join(taken) or "no further arguments"
            raise TypeError(f"fit takes {takes}. Got {', '.join(others)} instead.")
        missing = [name for name in responses if not hasattr(self, name)]
        if missing:
            raise AttributeError(f"{type(self).__name__} has no {', '.join(missing)}.")
        numbers = {j: (numbers_of(train), numbers_of(test)) for j, (train, test) in folds.items()}
        batch = GridFit(X, y, fit_params.get("sample_weight"), candidates, numbers, responses, kept)
        error: Exception | None = None
        with contextlib.closing(self._fit_grid(batch)) as fits:
            for i, j, fitted, values in fits:
                if isinstance(fitted, Failed):
                    error = error or fitted.error
                    continue
                # not before `values` are there: the test rows have no names
                fitted.__dict__.update({name: vars(self)[name] for name in _NAMES if name in vars(self)})
                yield i, j, fitted, values
        if error is not None:
            raise error


class FoldByFold(GridMixin):
    """Candidates that step together over the rows of one fold, which are a table of their own.

    A family gives `_check_values(parameters)`, `_grid_table` and `_fit_fold`.
    """

    #: `fit_grid` also runs on every rank of an MPI job, with its rows.
    grid_over_shards = True

    def _grid_table(self, X: Any, weights: Any) -> tuple[Any, NDArray[np.float64] | None]:
        """Return the validated table, of which rows can be taken, and the weights."""
        raise NotImplementedError

    @staticmethod
    def _fit_fold(
        estimators: Mapping[int, Any],
        rows: Any,
        weights: NDArray[np.float64] | None,
        communicator: Communicator,
    ) -> Iterator[tuple[int, Any]]:
        """Fit estimators on the rows of a fold; yield them, or `Failed`."""
        raise NotImplementedError

    def _fit_grid(self, batch: GridFit) -> Fits:
        # an error on one rank, of the checks too, ends the fit on all
        with blas.one_thread(), communicators.current() as communicator:
            table, weights = self._grid_table(batch.X, batch.weights)
            for j, (train, test) in batch.folds.items():
                rows = as_rows(table[train])
                some = None if weights is None else weights[train]
                test_rows = table[test] if batch.responses and len(test) else None
                estimators = dict(zip(batch.candidates, self._each(batch.candidates.values()), strict=True))
                for i, fitted in self._fit_fold(estimators, rows, some, communicator):
                    failed = isinstance(fitted, Failed)
                    yield i, j, fitted, {} if failed else response_values(fitted, batch.responses, test_rows)

    def _each(self, candidates: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Return an estimator for every candidate; raise if one can not be fitted beside others."""
        estimators = candidate_estimators(self, candidates)
        for estimator in estimators:
            estimator._check_values(vars(estimator))
            if estimator.verbose:
                raise ValueError("verbose must be 0 for candidates that share a pass: it follows one fit.")
        return estimators


def merged_parameters(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return all parameters of every candidate; raise if it has others.

    Parameters
    ----------
    estimator : estimator
        Its parameters are those of a candidate unless this sets them.
    candidates : iterable of mapping
        Settings of parameters.
    """
    base = estimator.get_params(deep=False)
    merged = []
    for settings in candidates:
        unknown = sorted(set(settings) - set(base))
        if unknown:
            raise ValueError(
                f"Parameters of {type(estimator).__name__} must be among {', '.join(base)}. "
                f"Got {', '.join(unknown)} instead."
            )
        merged.append({**base, **settings})
    return merged


def candidate_estimators(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return an estimator for every candidate, each with copies of its own, as scikit-learn's clones have.

    Parameters
    ----------
    estimator : estimator
        Gives the parameters that a candidate does not set; none of them may be an estimator.
    candidates : iterable of mapping
        Settings of parameters.

    Raises
    ------
    ValueError
        If a candidate sets something that is not a parameter.
    """
    return [
        type(estimator)(
            **{
                name: value if isinstance(value, _PLAIN) else copy.deepcopy(value)
                for name, value in parameters.items()
            }
        )
        for parameters in merged_parameters(estimator, candidates)
    ]


def cut(
    costs: Mapping[int, float], n_folds: int, shared: str, *, folds_at_once: int = 1, counted: bool = True
) -> list[Batch]:
    """Return batches that each cover some candidates on as many folds as go together.

    Parameters
    ----------
    costs : mapping of int to float
        Relative time of a separate fit of each candidate, not 0.
    n_folds : int
    shared : str
        What is shared.
    folds_at_once : int, default=1
    counted : bool, default=True
        Whether a batch is one fit a fold, instead of one a candidate and fold.

    Examples
    --------
    >>> from hpcml.training.grids import cut
    >>> cut({0: 1.0, 1: 3.0}, 2, "a pass")[1].weights
    (0.25, 0.75)
    >>> [batch.folds for batch in cut({0: 1.0, 1: 1.0}, 5, "a Gram matrix", folds_at_once=3)]
    [(0, 1, 2), (3, 4)]
    """
    if not costs:
        return []
    total = sum(costs.values())
    weights = tuple(cost / total for cost in costs.values())
    text = shared if len(costs) > 1 or folds_at_once > 1 else "nothing: there is no other candidate"
    made = []
    for first in range(0, n_folds, folds_at_once):
        folds = tuple(range(first, min(first + folds_at_once, n_folds)))
        asked, done = {"fits": len(costs) * len(folds)}, {"fits": len(folds)}
        if not counted:
            asked, done = {}, {}
        made.append(Batch(tuple(costs), folds, total * len(folds), text, weights, asked, done, threaded=True))
    return made


def hashable(value: Any) -> Any:
    """Return something that is equal for equal parameters of the same type."""
    if value is None or isinstance(value, (str, int, float, np.generic)):
        return type(value).__name__, value
    return joblib.hash(value)


def response_values(fitted: Any, responses: Sequence[str], rows: Any) -> dict[str, Any]:
    """Return what a fitted estimator's methods say of some rows, by their names; nothing for None."""
    return {} if rows is None else {name: getattr(fitted, name)(rows) for name in responses}


def numbers_of(rows: Any) -> NDArray[Any]:
    """Return the numbers of the rows of a fold, which may be told by a mask.

    Examples
    --------
    >>> from hpcml.training.grids import numbers_of
    >>> numbers_of([False, True, True]).tolist()
    [1, 2]
    """
    rows = np.asarray(rows)
    if rows.dtype == bool:
        return np.flatnonzero(rows)
    return rows if len(rows) else rows.astype(np.intp)


def held_out(n_rows: int, trains: Sequence[Any]) -> NDArray[np.int64]:
    """Return for every row the folds that do not train on it, as bits.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    trains : sequence of ndarray of int
        Numbers of the training rows of every fold.

    Raises
    ------
    ValueError
        If there are more than 63 folds, or if a fold trains on a row more than once.

    Examples
    --------
    >>> from hpcml.training.grids import held_out
    >>> held_out(4, [[0, 1], [1, 2, 3]]).tolist()
    [2, 0, 1, 1]
    """
    if len(trains) > MOST_FOLDS:
        raise ValueError(f"folds of a batch must be {MOST_FOLDS} at most. Got {len(trains)} instead.")
    held = np.zeros(n_rows, dtype=np.uint8 if len(trains) <= 8 else np.int64)
    for j, train in enumerate(trains):
        out = np.full(n_rows, 1 << j, dtype=held.dtype)
        out[train] = 0
        if np.count_nonzero(out) != n_rows - len(train):
            raise ValueError(f"fold {j} of the batch trains on rows more than once")
        held = held | out
    return held.astype(np.int64)


def rows_of(X: Any, numbers: NDArray[Any], bytes_of_a_row: int | None = None) -> Iterator[tuple[slice, Any]]:
    """Cut rows out of a table a block at a time.

    Parameters
    ----------
    X : ndarray, sparse array or CSR of shape (n, d)
        The table.
    numbers : ndarray of int
        The rows.
    bytes_of_a_row : int or None, default=None
        None for those of a dense row.

    Yields
    ------
    (slice, ndarray, sparse array or CSR) : tuple
        Where the rows are among those of `numbers`; rows that follow each other are a view.
    """
    step = max(1, BLOCK_BYTES // max(1, bytes_of_a_row or X.shape[1] * X.dtype.itemsize))
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        first, last = int(some[0]), int(some[-1]) + 1
        contiguous = last - first == len(some) and first >= 0 and (np.diff(some) == 1).all()
        if isinstance(X, CSR):
            block = X.rows(first, last) if contiguous else CSR.of(X.to_scipy()[some])
        else:
            block = X[first:last] if contiguous else X[some]
        yield slice(start, start + len(some)), block
