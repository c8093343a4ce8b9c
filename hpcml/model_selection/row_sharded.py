"""Searches over rows that the ranks of an MPI job share: every rank runs the search on its own rows.

Folds are drawn once over the rows of all ranks, in the order of the ranks, and every rank takes its part of
each. Fits compute on the training rows of all ranks together, one all-reduce a step. What they say of the
test rows is gathered, so that every rank scores the whole fold and ends with the same results. Where the rows
of a fold are in ascending order, as those of `KFold` and its kind are, a fit has the bits that it has in one
process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from traceback import format_exc
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline

from hpcml import communicators, config
from hpcml.data.rows import Rows
from hpcml.errors import WorkerLost
from hpcml.model_selection.arguments import Routed, check_refit_metric, route
from hpcml.model_selection.candidates import with_parameters
from hpcml.model_selection.drawn import Drawn, draw_seed, draw_splits
from hpcml.model_selection.evaluation import plan_candidates
from hpcml.model_selection.fingerprint import fingerprint
from hpcml.model_selection.fitting import Record, fits_together
from hpcml.model_selection.identity import is_own
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.rank_rows import Shards, cut
from hpcml.model_selection.results import NO_FITS
from hpcml.model_selection.rows import n_rows, take_params, take_rows
from hpcml.model_selection.scoring import Scoring, StoredResponses
from hpcml.protocol import Batch
from hpcml.validation import check_whole_table, has_callbacks

__all__ = ["evaluate_shards", "fit_over_shards", "is_wanted", "unpacked"]


def is_wanted() -> bool:
    """Say whether the ranks of a job share the rows."""
    return config.communicator() == "mpi"


def unpacked(X: Any, y: Any) -> tuple[Any, Any]:
    """Return table and target of what `hpcml.open_rows` returns; anything else as it is."""
    if not isinstance(X, Rows):
        return X, y
    if y is not None:
        raise ValueError("y must be None where X are the rows of open_rows, which hold the target.")
    return X.X, X.y


# -- what may be fitted ------------------------------------------------------------------------------------


def _check_estimators(value: Any, name: str) -> None:
    """Raise unless an estimator, and every one inside it, computes on the rows of all ranks together."""
    if isinstance(value, Pipeline):
        for step, inner in value.steps:
            _check_estimators(inner, f"{name}__{step}")
    elif isinstance(value, BaseEstimator) and not is_own(value):
        raise ValueError(
            f"{name} must be an estimator of hpcml, or a Pipeline of such, under communicator='mpi': any "
            f"other one would be fitted on the rows of each rank alone. Got {type(value).__name__} instead."
        )


# -- fits --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Search:
    """What all fits of a search over shards have in common."""

    estimator: Any
    shards: Shards
    y: Any  # this rank's
    whole_y: Any
    scoring: Scoring
    responses: tuple[str, ...] | None
    routed: Routed
    score_params: Mapping[str, Any]  # of all rows
    error_score: Any
    return_train_score: bool

    def single(self, i: int, j: int, parameters: Mapping[str, Any], split: tuple[Any, Any]) -> Record:
        """Fit a candidate on the training rows of a fold, and score it."""
        record: Record = {"candidate": i, "fold": j, "fit_error": None}
        start = time.perf_counter()

        def fit() -> tuple[Any, dict[str, Any]]:
            fitted = with_parameters(self.estimator, parameters)
            train = self.shards.own(split[0])
            target = () if self.y is None else (cut(self.y, train),)
            params = take_params(self.routed.fit, n_rows(self.shards.X), train)
            fitted.fit(cut(self.shards.X, train), *target, **params)
            return fitted, self._responses_of(fitted, split[1])

        found, error, text = self.agreed(fit)
        record["fit_time"] = time.perf_counter() - start
        if text is not None:
            if self.error_score == "raise":
                raise error if error is not None else WorkerLost(f"another rank raised\n{text}")
            record |= {"fit_error": text, "score_time": 0.0, "test_scores": self.scoring.failed()}
            if self.return_train_score:
                record["train_scores"] = self.scoring.failed()
            return record
        fitted, values = found
        return self._scored(record, fitted, values, split)

    def together(
        self, batch: Batch, candidates: Mapping[int, Mapping[str, Any]], splits: Sequence[tuple[Any, Any]]
    ) -> tuple[list[Record], str | None]:
        """Fit a batch, and return what was scored on all ranks, and why there is no more."""
        records: list[Record] = []

        def fit() -> None:
            with closing(self._fits(batch, candidates, splits)) as found:
                records.extend(found)

        text = self.agreed(fit)[2]
        n_common = min(self.shards.communicator.gather(len(records)))
        return records[:n_common], None if text is None else text.rstrip().rpartition("\n")[2]

    def _fits(
        self, batch: Batch, candidates: Mapping[int, Mapping[str, Any]], splits: Sequence[tuple[Any, Any]]
    ) -> Generator[Record, None, None]:
        """Yield the fits of the estimator's `fit_grid`, which takes this rank's rows of every fold."""
        folds = {j: (self.shards.own(splits[j][0]), self.shards.own(splits[j][1])) for j in batch.folds}
        chosen, told = {i: candidates[i] for i in batch.candidates}, (self.responses, self.routed.fit)
        fits = fits_together(self.estimator, self.shards.X, self.y, chosen, folds, *told)
        weights = dict(zip(batch.candidates, batch.weights, strict=True))
        start = time.perf_counter()
        for i, j, fitted, values in fits:
            spent = (time.perf_counter() - start) * weights[i]
            record: Record = {"candidate": i, "fold": j, "fit_error": None, "fit_time": spent}
            yield self._scored(record, fitted, values if len(folds[j][1]) else {}, splits[j])

    def agreed(self, fit: Callable[[], Any]) -> tuple[Any, Exception | None, str | None]:
        """Return what a fit found, its error here, and the error's text where a rank has one."""
        found, error, text = None, None, None
        communicator = self.shards.communicator
        try:
            with communicator:  # an error on one rank ends the fit of all
                found = fit()
        except Exception as raised:
            error, text = raised, format_exc()
        told = communicator.gather((text, isinstance(error, WorkerLost)))
        texts = [each for each, _ in sorted(told, key=lambda each: each[1]) if each is not None]
        return found, error, texts[0] if texts else None

    def _responses_of(self, fitted: Any, rows: np.ndarray) -> dict[str, Any]:
        """Return what a fit says of this rank's part of some rows."""
        own = self.shards.own(rows)
        if self.responses is None or not len(own):
            return {}
        X = cut(self.shards.X, own)
        return {name: getattr(fitted, name)(X) for name in self.responses}

    def _scored(
        self, record: Record, fitted: Any, values: Mapping[str, Any], split: tuple[Any, Any]
    ) -> Record:
        start = time.perf_counter()
        record["test_scores"] = self._score(fitted, values, split[1])
        record["score_time"] = time.perf_counter() - start
        if self.return_train_score:
            values = self._responses_of(fitted, split[0])
            record["train_scores"] = self._score(fitted, values, split[0])
        return record

    def _score(self, fitted: Any, values: Mapping[str, Any], rows: np.ndarray) -> Any:
        """Return the scores on rows of all ranks, of which this one has told its `values`."""
        gathered = {name: self.shards.gathered(values.get(name), rows) for name in self.responses or ()}

        def table() -> Any:
            own = self.shards.own(rows)
            return self.shards.gathered(cut(self.shards.X, own) if len(own) else None, rows)

        params = take_params(self.score_params, self.shards.n_rows, rows)
        y = take_rows(self.whole_y, rows)
        if self.responses is None:
            scored, X = fitted, table()
        else:
            scored = StoredResponses(fitted, table, gathered)
            X = scored.rows
        with config.config_context(communicator="serial"):  # every rank scores all rows
            return self.scoring.score(scored, X, y, params)


def evaluate_shards(
    estimator: Any,
    shards: Shards,
    y: Any,
    whole_y: Any,
    drawn: Drawn,
    *,
    scoring: Scoring,
    routed: Routed,
    error_score: Any,
    return_train_score: bool,
) -> tuple[Plan, list[Record]]:
    """Fit and score every candidate on every fold of rows that ranks share.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    shards : Shards
    y : array-like or None
        Target of this rank's rows.
    whole_y : array-like or None
        That of all rows.
    drawn : Drawn
        The same on every rank.
    scoring : Scoring
    routed : Routed
        With this rank's entries of what has one entry a row.
    error_score : 'raise' or float
    return_train_score : bool

    Returns
    -------
    (Plan, list of dict)
        The same on every rank.
    """
    n_folds = len(drawn.splits)
    plan, seeded = plan_candidates(estimator, drawn.candidates, n_folds, drawn.seed)
    if plan.batches and not getattr(plan.sharing, "grid_over_shards", False):
        batched = {i for batch in plan.batches for i in batch.candidates}
        reason = f"the grid of {type(estimator).__name__} shares work where one process has all rows"
        plan.batches, plan.separate = [], plan.separate | dict.fromkeys(sorted(batched), reason)
    search = _Search(
        estimator,
        shards,
        y,
        whole_y,
        scoring,
        None if whole_y is None else scoring.responses(estimator, whole_y),
        routed,
        shards.gathered_params(routed.score),
        error_score,
        return_train_score,
    )
    records: dict[tuple[int, int], Record] = {}
    for batch in plan.batches:
        shared, missing = search.together(batch, dict(enumerate(seeded)), drawn.splits)
        records |= {(record["candidate"], record["fold"]): record for record in shared}
        if missing is not None:
            plan.fallbacks += [missing] * (len(batch.candidates) * len(batch.folds) - len(shared))
    for i in range(len(seeded)):
        for j, split in enumerate(drawn.splits):
            if (i, j) not in records:
                records[i, j] = search.single(i, j, seeded[i], split)
    found = [records[i, j] for i in range(len(seeded)) for j in range(n_folds)]
    # the clocks of rank 0, so that the results are the same on every rank
    return plan, [
        {**own, "fit_time": first[0], "score_time": first[1]}
        for own, first in zip(
            found, shards.communicator.bcast([(r["fit_time"], r["score_time"]) for r in found]), strict=True
        )
    ]


# -- the search --------------------------------------------------------------------------------------------


@contextmanager
def _threads(n_jobs: int | None) -> Iterator[None]:
    """Let the fits of a rank use so many threads: there are no tasks for joblib."""
    with config.config_context(n_threads=None if n_jobs is None else effective_n_jobs(n_jobs)):
        yield


def _as_on_rank_0(
    communicator: Any, splits: list[tuple[Any, Any]], candidates: list[dict[str, Any]], estimator: Any
) -> Drawn:
    """Return what was drawn on rank 0; splits, which are large, travel only where ranks drew others."""
    candidates, seed = communicator.bcast((candidates, draw_seed(estimator, candidates)))
    digests = communicator.gather(fingerprint(splits, "cv"))
    if len(set(digests)) > 1:
        splits = communicator.bcast(splits)
    return Drawn(splits, candidates, seed)


def fit_over_shards(search: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Run a search over rows that the ranks of an MPI job share; every rank calls it with its own.

    Parameters
    ----------
    search : GridSearchCV or RandomizedSearchCV
        Its parameters are checked.
    X : array-like or hpcml.data.rows.Rows
        This rank's rows, in memory or as `hpcml.open_rows` returns them.
    y : array-like, optional
        Their target; None with rows that hold it.
    params : mapping
        Further parameters of ``fit``; arrays with one entry a row hold those of this rank's rows.

    Returns
    -------
    search
        Fitted, with the same results on every rank. Each needs memory for the target and one response of all
        rows; and for the test rows of a fold where a scorer looks at the rows themselves.

    Raises
    ------
    ValueError
        If the search has a journal, callbacks or rounds, or an estimator is not hpcml's.
    """
    from hpcml.model_selection.base import Found, SharingSearch  # which calls this

    if type(search)._search is not SharingSearch._search or has_callbacks(search):
        check_whole_table(type(search).__name__)
    with communicators.current() as communicator, _threads(search.n_jobs):
        if search.journal is not None:
            raise ValueError("journal must be None under communicator='mpi', whose ranks fit together.")
        X, y = unpacked(X, y)
        shards = Shards.of(communicator, X)
        _check_estimators(search.estimator, "estimator")
        scoring = Scoring(search.scoring, search.estimator, search.error_score)
        if scoring.named is not None:
            check_refit_metric(search.refit, scoring.named)
        routed = route(search, scoring, take_params(params, n_rows(X)))
        whole_y = None if y is None else shards.gathered(np.asarray(y))
        placeholder = np.broadcast_to(0.0, (shards.n_rows, 1))  # splitters ask for the number of rows
        cv = check_cv(search.cv, whole_y, classifier=is_classifier(search.estimator))
        splits = draw_splits(cv, placeholder, whole_y, shards.gathered_params(routed.split))
        candidates = search._candidates()
        drawn = _as_on_rank_0(communicator, splits, candidates, search.estimator)
        for i, parameters in enumerate(drawn.candidates):
            for name, value in parameters.items():
                _check_estimators(value, f"{name} of candidate {i}")
        if not drawn.splits or not drawn.candidates:
            raise ValueError(NO_FITS)
        plan, records = evaluate_shards(
            clone(search.estimator),
            shards,
            y,
            whole_y,
            drawn,
            scoring=scoring,
            routed=routed,
            error_score=search.error_score,
            return_train_score=bool(search.return_train_score),
        )
        search.plan_, search.n_splits_ = plan, len(drawn.splits)
        search._summarise(Found(drawn, records, range(len(drawn.candidates))), scoring)
        if search.refit:
            search._refit(X, y, routed.fit, drawn.seed)
        vars(search).pop("_evidence", None)  # verify compares in one process
        return search
