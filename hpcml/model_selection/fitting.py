"""What one worker does: fit a candidate on a fold, or a whole batch of them, and score."""

import numbers
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from traceback import format_exc
from typing import Any

from joblib.logger import short_format_time
from sklearn.base import clone

from hpcml import config
from hpcml.model_selection.candidates import copied, with_parameters
from hpcml.model_selection.planning import sharing_of
from hpcml.model_selection.rounds import Kept
from hpcml.model_selection.rows import n_rows, take_params, take_rows, take_table
from hpcml.model_selection.scoring import Scoring, StoredResponses
from hpcml.protocol import Batch

__all__ = ["BatchTask", "Evaluation", "Record", "SingleTask", "fits_together"]

#: Scores, times and the error of one candidate on one fold.
Record = dict[str, Any]

# Width to which the lines of verbose > 1 are filled with dots, as scikit-learn does.
_LINE = 80


@dataclass(frozen=True)
class Evaluation:
    """What all fits of a search have in common; goes to the workers.

    Parameters
    ----------
    scoring : Scoring
    responses : tuple of str, or None
        Responses that a shared fit is asked for; None gives the scorers the fitted estimator.
    fit_params, score_params : mapping
        Whole, not yet cut to a fold.
    return_train_score : bool
    error_score : 'raise' or float
    verbose : int
    n_candidates, n_folds : int
    settings : mapping
        Snapshot of the configuration, with the task's share of the threads.
    keep_fitted : bool
        Whether records hold the fitted estimators; for single fits only.
    """

    scoring: Scoring
    responses: tuple[str, ...] | None
    fit_params: Mapping[str, Any]
    score_params: Mapping[str, Any]
    return_train_score: bool
    error_score: Any
    verbose: int
    n_candidates: int
    n_folds: int
    settings: Mapping[str, Any]
    keep_fitted: bool = False

    def announce(self, candidate: int, fold: int, parameters: Mapping[str, Any]) -> None:
        """Print scikit-learn's line at the start of a fit, from verbose=10 on."""
        if self.verbose > 9:
            line = f"[CV{self._progress(candidate, fold)}] START {_described(parameters)}"
            print(line.ljust(_LINE, "."))

    def report(self, candidate: int, fold: int, parameters: Mapping[str, Any], record: Record) -> None:
        """Print scikit-learn's line at the end of a fit, from verbose=2 on."""
        if self.verbose <= 1:
            return
        text = _described(parameters)
        text += ";" if text else ""
        if self.verbose > 2:
            text += self._scores(record)
        text += f" total time={short_format_time(record['fit_time'] + record['score_time'])}"
        start = f"[CV{self._progress(candidate, fold)}] END "
        print(start + text.rjust(_LINE - len(start), "."))

    def _progress(self, candidate: int, fold: int) -> str:
        text = f" {fold + 1}/{self.n_folds}" if self.verbose > 2 else ""
        return text + (f"; {candidate + 1}/{self.n_candidates}" if self.verbose > 9 else "")

    def _scores(self, record: Record) -> str:
        test, train = record["test_scores"], record.get("train_scores")
        if not isinstance(test, dict):
            both = f"{test:.3f}" if train is None else f"(train={train:.3f}, test={test:.3f})"
            return f", score={both}"
        shown = ""
        for name in sorted(test):
            first = "" if not isinstance(train, dict) else f"train={train[name]:.3f}, "
            shown += f" {name}: ({first}test={test[name]:.3f})"
        return shown


def _described(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={parameters[name]}" for name in sorted(parameters))


class _Fold:
    """The rows of one fold, cut when they are first needed and kept until they are dropped."""

    def __init__(
        self, estimator: Any, X: Any, y: Any, split: tuple[Any, Any], evaluation: Evaluation
    ) -> None:
        self._estimator, self._X, self._y = estimator, X, y
        self._rows = {"train": split[0], "test": split[1]}
        self._score_params = evaluation.score_params
        self._kept: dict[tuple[str, str], Any] = {}

    def X(self, part: str) -> Any:
        """Return the table of the ``"train"`` or ``"test"`` rows."""
        against = None if part == "train" else self._rows["train"]
        return self._keep("X", part, lambda rows: take_table(self._estimator, self._X, rows, against))

    def y(self, part: str) -> Any:
        """Return the target of the rows."""
        return self._keep("y", part, lambda rows: take_rows(self._y, rows))

    def params(self, part: str) -> dict[str, Any]:
        """Return the scorers' parameters for the rows."""
        return self._keep("params", part, lambda rows: take_params(self._score_params, n_rows(self._X), rows))

    def drop(self) -> None:
        """Let go of the tables of rows, which are the large things."""
        for part in self._rows:
            self._kept.pop(("X", part), None)

    def _keep(self, what: str, part: str, cut: Callable[[Any], Any]) -> Any:
        if (what, part) not in self._kept:
            self._kept[what, part] = cut(self._rows[part])
        return self._kept[what, part]


def _score(
    fitted: Any, values: Mapping[str, Any] | None, fold: _Fold, evaluation: Evaluation, record: Record
) -> None:
    """Add scores to a record: from the responses on the test rows, or, where these are None, by scorers that
    see the fitted estimator."""

    def seen(part: str, known: Mapping[str, Any] | None) -> tuple[Any, Any]:
        if known is None:
            return fitted, fold.X(part)
        stored = StoredResponses(fitted, lambda: fold.X(part), known)  # rows are cut if they are asked for
        return stored, stored.rows

    score, test = evaluation.scoring.score, seen("test", values)
    start = time.perf_counter()
    record["test_scores"] = score(*test, fold.y("test"), fold.params("test"))
    record["score_time"] = time.perf_counter() - start
    if evaluation.return_train_score:
        train = seen("train", None if values is None else {})
        record["train_scores"] = score(*train, fold.y("train"), fold.params("train"))


@dataclass(frozen=True)
class SingleTask:
    """Fit one candidate on one fold, as scikit-learn's search does.

    Called in a worker; returns a list of one `Record`.
    """

    estimator: Any
    X: Any
    y: Any
    candidate: int
    fold: int
    parameters: Mapping[str, Any]
    split: tuple[Any, Any]
    evaluation: Evaluation

    def __call__(self) -> list[Record]:
        """Fit, score, and keep the error instead where ``error_score`` says so."""
        with config.restored(self.evaluation.settings):
            return [self._run()]

    def _run(self) -> Record:
        evaluation, (train, _) = self.evaluation, self.split
        evaluation.announce(self.candidate, self.fold, self.parameters)
        estimator = with_parameters(self.estimator, self.parameters)
        fold = _Fold(estimator, self.X, self.y, self.split, evaluation)
        fit_params = take_params(evaluation.fit_params, n_rows(self.X), train)
        record: Record = {"candidate": self.candidate, "fold": self.fold, "fit_error": None}
        start = time.perf_counter()
        X_train, y_train, _ = fold.X("train"), fold.y("train"), fold.X("test")
        try:
            estimator.fit(X_train, **fit_params) if y_train is None else estimator.fit(
                X_train, y_train, **fit_params
            )
        except Exception:
            record["fit_time"], record["score_time"] = time.perf_counter() - start, 0.0
            if not isinstance(evaluation.error_score, numbers.Number):
                raise
            record["fit_error"] = format_exc()
            record["test_scores"] = evaluation.scoring.failed()
            if evaluation.return_train_score:
                record["train_scores"] = evaluation.scoring.failed()
        else:
            record["fit_time"] = time.perf_counter() - start
            _score(estimator, None, fold, evaluation, record)
        if evaluation.keep_fitted:
            record["estimator"] = estimator
        evaluation.report(self.candidate, self.fold, self.parameters, record)
        return record


def fits_together(
    estimator: Any,
    X: Any,
    y: Any,
    candidates: Mapping[int, Mapping[str, Any]],
    folds: Mapping[int, tuple[Any, Any]],
    responses: tuple[str, ...] | None,
    fit_params: Mapping[str, Any],
    kept: Kept | None = None,
) -> Any:
    """Start the `fit_grid` of an estimator, or of what stands for it, and return what it yields."""
    return sharing_of(clone(estimator)).fit_grid(
        X,
        y,
        {i: copied(parameters) for i, parameters in candidates.items()},
        folds,
        responses=responses or (),
        fit_params=take_params(fit_params, n_rows(X)),
        **({} if kept is None else {"kept": kept.of_folds}),
    )


@dataclass(frozen=True)
class BatchTask:
    """Fit a batch by the estimator's `fit_grid`, and score what is left of it.

    Called in a worker; returns one `Record` a pair that is left. The batch is always fitted whole: what its
    fits share may depend on all of them, and a resumed search must give the same bits. A pair that `fit_grid`
    cannot serve is fitted on its own, so that its error is the one that a separate fit would raise.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    X, y : array-like
        The whole tables.
    batch : Batch
    candidates : mapping of int to dict
    folds : mapping of int to (train, test)
    pairs : frozenset of (int, int)
        What is left to do: candidate and fold.
    evaluation : Evaluation
    kept : Kept, optional
        What the round before has left, in a halving search whose rounds go on from each other; what this one
        leaves is in the last record of each fold, as ``"left"``.
    """

    estimator: Any
    X: Any
    y: Any
    batch: Batch
    candidates: Mapping[int, Mapping[str, Any]]
    folds: Mapping[int, tuple[Any, Any]]
    pairs: frozenset[tuple[int, int]]
    evaluation: Evaluation
    kept: Kept | None = None

    @property
    def cost(self) -> float:
        """The batch's, for backends that deal tasks to workers."""
        return self.batch.cost

    @property
    def parameters(self) -> frozenset[str]:
        """Names that the candidates vary, for backends that name their jobs."""
        return frozenset(name for parameters in self.candidates.values() for name in parameters)

    def __call__(self) -> list[Record]:
        """Fit together, score, and fit on its own what could not be served."""
        with config.restored(self.evaluation.settings):
            records, reason = self._together()
        done = {(record["candidate"], record["fold"]) for record in records}
        for candidate, fold in sorted(self.pairs - done):
            parts = self.candidates[candidate], self.folds[fold]
            single = SingleTask(self.estimator, self.X, self.y, candidate, fold, *parts, self.evaluation)
            records += [{**record, "separate": reason} for record in single()]
        return records

    def _together(self) -> tuple[list[Record], str | None]:
        """Fit the whole batch, as `plan_grid` cut it, and score what is left of it."""
        folds = {
            j: _Fold(self.estimator, self.X, self.y, split, self.evaluation)
            for j, split in self.folds.items()
        }
        records: list[Record] = []
        fitted_candidates: list[int] = []
        spent, reason = 0.0, None
        start = time.perf_counter()
        try:
            fits = iter(self._fit_grid())
            while True:
                start = time.perf_counter()
                try:
                    i, j, fitted, values = next(fits)
                except StopIteration:
                    break
                finally:
                    spent += time.perf_counter() - start
                fitted_candidates.append(i)
                for other in folds.keys() - {j}:  # the tables of one fold at a time
                    folds[other].drop()
                if (i, j) in self.pairs:
                    records.append(self._scored(i, j, fitted, values, folds[j]))
        except _ScoringError as error:
            raise error.original from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        self._charge(records, fitted_candidates, spent)
        if self.kept is not None:
            for j, record in {record["fold"]: record for record in records}.items():
                left = self.kept.left(j)
                if left is not None:
                    record["left"] = left
        for record in records:
            i, j = record["candidate"], record["fold"]
            self.evaluation.report(i, j, self.candidates[i], record)
        return records, reason

    def _fit_grid(self) -> Any:
        told = self.evaluation.responses, self.evaluation.fit_params, self.kept
        return fits_together(self.estimator, self.X, self.y, self.candidates, dict(self.folds), *told)

    def _scored(self, i: int, j: int, fitted: Any, values: Mapping[str, Any], fold: _Fold) -> Record:
        self.evaluation.announce(i, j, self.candidates[i])
        record: Record = {"candidate": i, "fold": j, "fit_error": None, "fit_time": 0.0}
        try:
            known = None if self.evaluation.responses is None else values
            _score(fitted, known, fold, self.evaluation, record)
        except Exception as error:
            raise _ScoringError(error) from error
        return record

    def _charge(self, records: list[Record], fitted_candidates: list[int], spent: float) -> None:
        """Share the time of the fits among them by the weights of the batch."""
        weights = dict(zip(self.batch.candidates, self.batch.weights, strict=True))
        total = sum(weights[i] for i in fitted_candidates)
        for record in records:
            share = weights[record["candidate"]] / total if total > 0 else 1 / len(fitted_candidates)
            record["fit_time"] = spent * share


class _ScoringError(Exception):
    """Carries what a scorer raised past the handler of errors in fits."""

    def __init__(self, original: Exception) -> None:
        super().__init__(str(original))
        self.original = original
