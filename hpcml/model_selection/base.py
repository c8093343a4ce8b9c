"""What our searches have in common: `fit` over the shared plan, the refit, `verify`."""

import numbers
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import sklearn
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags, indexable

import hpcml
from hpcml.model_selection import row_sharded
from hpcml.model_selection.arguments import Routed, check_arguments, check_refit_metric, route
from hpcml.model_selection.candidates import with_parameters
from hpcml.model_selection.drawn import Drawn, draw_seed, draw_splits, narrow_classes, with_seed
from hpcml.model_selection.evaluation import Options, evaluate
from hpcml.model_selection.fingerprint import fingerprint
from hpcml.model_selection.fitting import Record
from hpcml.model_selection.journal import Journal
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.results import (
    NO_FITS,
    cv_results,
    insert_error_scores,
    print_fits,
    report_failed_fits,
)
from hpcml.model_selection.rows import n_rows, take_params
from hpcml.model_selection.scoring import Scoring
from hpcml.model_selection.verify import Evidence, Verification, verify
from hpcml.validation import has_callbacks

__all__ = ["Found", "SharingSearch"]


@dataclass(frozen=True)
class Found:
    """What the fits of a search came to.

    Parameters
    ----------
    drawn : Drawn
        All candidates in the order of ``cv_results_``, and the splits of those in `rows`.
    records : list of dict
        Candidate by candidate, and by fold within.
    rows : sequence of int
        Candidates that were evaluated on the splits in `drawn`.
    more : mapping, optional
        Further columns of ``cv_results_``.
    seconds : float, optional
        What the candidates in `rows` took, where there are others.
    part : str
        What these candidates are of the search.
    """

    drawn: Drawn
    records: list[Record]
    rows: Sequence[int]
    more: Mapping[str, Any] | None = None
    seconds: float | None = None
    part: str = "the whole grid"


class SharingSearch:
    """What our searches add to scikit-learn's: `fit` by shared batches, the journal, `verify`."""

    # what the candidates come from; all of it enters the fingerprint of a journal
    _space: tuple[str, ...] = ()

    # set by scikit-learn's classes
    estimator: Any
    scoring: Any
    n_jobs: int | None
    refit: Any
    cv: Any
    verbose: int
    pre_dispatch: int | str
    error_score: Any
    return_train_score: bool
    journal: str | PathLike[str] | None

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Evaluate all candidates by cross-validation, and refit the best one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `hpcml.open_rows` returns
            Training rows; a square matrix for estimators of precomputed kernels or distances. Under
            ``communicator="mpi"`` every rank gives its own rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Target; None where `X` holds it.
        **params : dict of str to object
            Parameters of the estimator's ``fit``, the scorers (``sample_weight``) and the splitter
            (``groups``), sent as scikit-learn sends them. Those with one entry a row are cut to each fold.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is not allowed, or every fit fails.
        hpcml.errors.JournalMismatch
            If the journal is of another search.
        """
        start = time.perf_counter()
        self.check()
        if row_sharded.is_wanted():
            row_sharded.fit_over_shards(self, X, y, params)
            return self
        X, y = row_sharded.unpacked(X, y)
        if has_callbacks(self):
            return self._fit_with_callbacks(X, y, params)
        scoring = Scoring(self.scoring, self.estimator, self.error_score)
        if scoring.named is not None:
            check_refit_metric(self.refit, scoring.named)
        X, y = indexable(X, y)
        params = take_params(params, n_rows(X))
        routed = route(self, scoring, params)
        cv = check_cv(self.cv, narrow_classes(y), classifier=is_classifier(self.estimator))
        journal = self._open_journal(X, y, cv, params)
        try:
            found = self._search(X, y, cv, scoring, routed, journal)
        finally:
            if journal is not None:
                journal.close()
        self._summarise(found, scoring)
        seconds = time.perf_counter() - start if found.seconds is None else found.seconds
        if self.refit:
            self._refit(X, y, routed.fit, found.drawn.seed)
        told = None if self.plan_.resumed else seconds
        self._evidence = Evidence(X, y, params, found.drawn.splits, told, found.rows, found.part)
        return self

    def verify(self, n: int = 5) -> Verification:
        """Compare with scikit-learn: its own search, and its estimators in the place of hpcml's.

        Parameters
        ----------
        n : int
            How many candidates to fit again, on the same splits: the best one and others drawn at random.

        Returns
        -------
        Verification
            Scores of both, whether the same candidate wins among those, and how much faster this search
            was. It is printed as a table too.

        Raises
        ------
        ValueError
            If `n` is less than 1, or the search has no data: it is not fitted, or was pickled or copied
            since.
        """
        return verify(self, n)

    def __sklearn_tags__(self) -> Any:
        inherited: Any = super()
        tags = inherited.__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags

    def __getstate__(self) -> Any:
        # the training table is the caller's, not a part of the result
        inherited: Any = super().__getstate__()
        state = dict(inherited)
        state.pop("_evidence", None)
        return state

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If one is not allowed.
        """
        check_arguments(self)

    def first_candidates(self, X: Any, y: Any, n_folds: int) -> list[dict[str, Any]]:
        """Return the candidates that are evaluated first, before anything is known of them."""
        return self._candidates()

    def _candidates(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _spaces(self) -> Any:
        return getattr(self, self._space[0])

    def _open_journal(self, X: Any, y: Any, cv: Any, params: Mapping[str, Any]) -> Journal | None:
        if self.journal is None:
            return None
        identity = {"hpcml's version": hpcml.__version__, "scikit-learn's version": sklearn.__version__}
        compared = {"X": X, "y": y, **params, "estimator": self.estimator}
        compared |= {name: getattr(self, name) for name in self._space}
        compared |= {"scoring": self.scoring, "cv": cv, "error_score": self.error_score}
        compared |= {"return_train_score": bool(self.return_train_score)}
        compared |= {"metadata routing": sklearn.get_config()["enable_metadata_routing"]}
        identity |= {name: fingerprint(value, name) for name, value in compared.items()}
        return Journal(self.journal, identity)

    def _draw(self, X: Any, y: Any, cv: Any, routed: Routed, journal: Journal | None) -> Drawn:
        if journal is not None and journal.drawn is not None:
            return Drawn.decoded(journal.drawn, self._spaces())
        splits = draw_splits(cv, X, y, routed.split)
        candidates = self._candidates()
        drawn = Drawn(splits, candidates, draw_seed(self.estimator, candidates))
        if journal is not None:
            journal.begin(drawn.encoded(n_rows(X), self._spaces()))
        return drawn

    def _search(
        self, X: Any, y: Any, cv: Any, scoring: Scoring, routed: Routed, journal: Journal | None
    ) -> Found:
        drawn = self._draw(X, y, cv, routed, journal)
        n_folds, n_candidates = len(drawn.splits), len(drawn.candidates)
        if self.verbose > 0:
            print_fits(n_candidates, n_folds)
            if journal is not None and journal.records:
                print(f"{len(journal.records)} of them are read from the journal {self.journal}")
        if n_folds * n_candidates == 0:
            raise ValueError(NO_FITS)
        plan, records = evaluate(
            clone(self.estimator),
            X,
            y,
            drawn.candidates,
            drawn.splits,
            scoring=scoring,
            routed=routed,
            seed=drawn.seed,
            options=self._options(),
            finished={} if journal is None else {(r["candidate"], r["fold"]): r for r in journal.records},
            keep=None if journal is None else journal.add,
        )
        self.plan_ = plan
        self.n_splits_ = n_folds
        return Found(drawn, records, range(n_candidates))

    def _options(self) -> Options:
        return Options(
            n_jobs=self.n_jobs,
            pre_dispatch=self.pre_dispatch,
            error_score=self.error_score,
            return_train_score=bool(self.return_train_score),
            verbose=int(self.verbose),
        )

    def _summarise(self, found: Found, scoring: Scoring) -> None:
        records = found.records
        report_failed_fits(records, self.error_score)
        if callable(self.scoring):
            insert_error_scores(records, self.error_score)
        train = bool(self.return_train_score)
        results = cv_results(found.drawn.candidates, self.n_splits_, records, train, found.more)
        scores = records[0]["test_scores"]
        self.multimetric_ = isinstance(scores, dict)
        if self.multimetric_ and scoring.named is None:
            check_refit_metric(self.refit, scores)
        if self.refit or not self.multimetric_:
            metric = self.refit if self.multimetric_ else "score"
            self.best_index_ = self._best_index(metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        self.scorer_ = scoring.public
        self.cv_results_ = results

    def _best_index(self, metric: Any, results: Mapping[str, Any]) -> Any:
        if not callable(self.refit):
            return results[f"rank_test_{metric}"].argmin()
        index = self.refit(results)
        if not isinstance(index, numbers.Integral):
            raise TypeError("best_index_ returned is not an integer")
        if not 0 <= int(index) < len(results["params"]):
            raise IndexError("best_index_ index out of range")
        return index

    def _refit(self, X: Any, y: Any, fit_params: Mapping[str, Any], seed: int | None) -> None:
        parameters = with_seed(self.estimator, [self.best_params_], seed)[0]
        self.best_estimator_ = with_parameters(self.estimator, parameters)
        start = time.perf_counter()
        target = () if y is None else (y,)
        self.best_estimator_.fit(X, *target, **fit_params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _fit_with_callbacks(self, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
        """Let scikit-learn fit: callbacks follow single fits, of which a batch has none."""
        if self.journal is not None:
            raise ValueError(
                f"The 'journal' parameter of {type(self).__name__} must be None for a search with callbacks. "
                f"Got {self.journal!r} instead."
            )
        super().fit(X, y, **params)  # type: ignore[misc]
        reason = "callbacks follow every single fit, so scikit-learn's own search ran"
        n = len(self.cv_results_["params"])
        self.plan_ = Plan(n, self.n_splits_, separate=dict.fromkeys(range(n), reason))
        self.__dict__.pop("_evidence", None)
        return self
