"""Searches over grids of parameters that compute shared work once."""

import numbers
import time
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
import sklearn
from sklearn import model_selection
from sklearn.base import clone, is_classifier
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import get_tags, indexable

import hpcml
from hpcml import config
from hpcml.model_selection.arguments import Routed, check_arguments, check_refit_metric, route
from hpcml.model_selection.drawn import Drawn, draw_seed, draw_splits, with_seed
from hpcml.model_selection.execution import run, tasks_of
from hpcml.model_selection.fingerprint import fingerprint
from hpcml.model_selection.fitting import Evaluation, Record
from hpcml.model_selection.journal import Journal
from hpcml.model_selection.plan import Plan, make_plan, reason_not_to_share
from hpcml.model_selection.results import cv_results, insert_error_scores, report_failed_fits
from hpcml.model_selection.rows import n_rows, take_params
from hpcml.model_selection.scoring import Scoring
from hpcml.model_selection.verify import Evidence, Verification, verify
from hpcml.progress import Progress
from hpcml.validation import check_whole_table, has_callbacks

__all__ = ["GridSearchCV", "RandomizedSearchCV"]


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
        X : array-like of shape (n_samples, n_features)
            Training rows; a square matrix for estimators of precomputed kernels or distances.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Target.
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
        check_arguments(self)
        check_whole_table(type(self).__name__)
        if has_callbacks(self):
            return self._fit_with_callbacks(X, y, params)
        scoring = Scoring(self.scoring, self.estimator, self.error_score)
        if scoring.named is not None:
            check_refit_metric(self.refit, scoring.named)
        X, y = indexable(X, y)
        params = take_params(params, n_rows(X))
        routed = route(self, scoring, params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        journal = self._open_journal(X, y, cv, params)
        try:
            drawn, records = self._search(X, y, cv, scoring, routed, journal)
        finally:
            if journal is not None:
                journal.close()
        self._summarise(drawn, records, scoring)
        seconds = time.perf_counter() - start
        if self.refit:
            self._refit(X, y, routed.fit, drawn)
        self._evidence = Evidence(X, y, params, drawn.splits, None if self.plan_.resumed else seconds)
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
        shares = reason_not_to_share(self.estimator) is None
        drawn = Drawn(splits, candidates, draw_seed(self.estimator, candidates) if shares else None)
        if journal is not None:
            journal.begin(drawn.encoded(n_rows(X), self._spaces()))
        return drawn

    def _search(
        self, X: Any, y: Any, cv: Any, scoring: Scoring, routed: Routed, journal: Journal | None
    ) -> tuple[Drawn, list[Record]]:
        drawn = self._draw(X, y, cv, routed, journal)
        n_folds, n_candidates = len(drawn.splits), len(drawn.candidates)
        if self.verbose > 0:
            print(
                f"Fitting {n_folds} folds for each of {n_candidates} candidates, "
                f"totalling {n_candidates * n_folds} fits"
            )
        if n_folds * n_candidates == 0:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        estimator = self._seeded(drawn.seed)
        candidates = [with_seed(parameters, drawn.seed) for parameters in drawn.candidates]
        plan = make_plan(estimator, candidates, n_folds)
        plan.seed = drawn.seed
        finished = {} if journal is None else {(r["candidate"], r["fold"]): r for r in journal.records}
        plan.resumed = len(finished)
        evaluation = Evaluation(
            scoring=scoring,
            responses=scoring.responses(estimator, y) if plan.batches else None,
            fit_params=routed.fit,
            score_params=routed.score,
            return_train_score=bool(self.return_train_score),
            error_score=self.error_score,
            verbose=int(self.verbose),
            n_candidates=n_candidates,
            n_folds=n_folds,
            settings=config.snapshot(),
        )
        tasks = tasks_of(plan, estimator, X, y, candidates, drawn.splits, finished, evaluation)
        with Progress(n_candidates * n_folds, "fits", int(self.verbose)) as progress:
            progress.skip(len(finished))

            def take(records: list[Record]) -> None:
                plan.fallbacks += [r.pop("separate") for r in records if "separate" in r]
                if journal is not None:
                    journal.add(records)
                finished.update({(record["candidate"], record["fold"]): record for record in records})
                progress.advance(len(records))

            if tasks:
                run(tasks, self.n_jobs, self.pre_dispatch, take, in_rounds=journal is not None)
        self.plan_ = plan
        self.n_splits_ = n_folds
        return drawn, [finished[i, j] for i in range(n_candidates) for j in range(n_folds)]

    def _summarise(self, drawn: Drawn, records: list[Record], scoring: Scoring) -> None:
        report_failed_fits(records, self.error_score)
        if callable(self.scoring):
            insert_error_scores(records, self.error_score)
        results = cv_results(drawn.candidates, self.n_splits_, records, bool(self.return_train_score))
        scores = records[0]["test_scores"]
        self.multimetric_ = isinstance(scores, dict)
        if self.multimetric_ and scoring.named is None:
            check_refit_metric(self.refit, scores)
        if self.refit or not self.multimetric_:
            metric = self.refit if self.multimetric_ else "score"
            self.best_index_ = _best_index(self.refit, metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        self.scorer_ = scoring.public
        self.cv_results_ = results

    def _seeded(self, seed: int | None) -> Any:
        estimator = clone(self.estimator)
        if seed is not None and estimator.get_params(deep=False)["random_state"] is None:
            estimator.set_params(random_state=seed)
        return estimator

    def _refit(self, X: Any, y: Any, fit_params: Mapping[str, Any], drawn: Drawn) -> None:
        parameters = with_seed(self.best_params_, drawn.seed)
        self.best_estimator_ = self._seeded(drawn.seed).set_params(**clone(parameters, safe=False))
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


def _best_index(refit: Any, metric: Any, results: Mapping[str, Any]) -> Any:
    if not callable(refit):
        return results[f"rank_test_{metric}"].argmin()
    index = refit(results)
    if not isinstance(index, numbers.Integral):
        raise TypeError("best_index_ returned is not an integer")
    if not 0 <= int(index) < len(results["params"]):
        raise IndexError("best_index_ index out of range")
    return index


class GridSearchCV(SharingSearch, model_selection.GridSearchCV):
    """Search over every candidate of a grid, computing what candidates and folds share once.

    Drop-in for scikit-learn's class of the same name: what is not described here is as there. Estimators
    that can share work (`hpcml.protocol`) are fitted in batches, with scores equal to those of separate
    fits; any other one is fitted candidate by fold.

    Parameters
    ----------
    estimator : estimator object
        Not fitted.
    param_grid : dict or list of dict
        Lists of values by name of parameter.
    scoring : str, callable, list, tuple, dict or None, default=None
        One metric or several; None is the estimator's `score`.
    n_jobs : int or None, default=None
        joblib's workers; None is 1 unless a joblib context says otherwise. Each runs its batches with the
        thread budget (`hpcml.config_context`) divided by the workers, so that None already uses all cores.
    refit : bool, str or callable, default=True
        Whether, and by which metric or rule, to fit the best candidate on all rows.
    cv : int, splitter, iterable or None, default=None
        Splits; None is 5 folds.
    verbose : int, default=0
        From 1 on what is to do goes to stdout and progress to stderr; from 2 on every fit is told of.
    pre_dispatch : int or str, default='2*n_jobs'
        As in joblib.
    error_score : 'raise' or number, default=numpy.nan
        Score of a fit that fails.
    return_train_score : bool, default=False
        Whether to score the training rows too.
    journal : path-like, optional
        File in which finished fits are kept. The same search with the same journal, after whatever ended the
        first, does only what is missing and gives the same result; another search is refused.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_,
    multimetric_, classes_, n_features_in_, feature_names_in_
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, how much work was asked for and how much was done.

    Notes
    -----
    An estimator that shares and has ``random_state=None`` gets one seed for the whole search
    (``plan_.seed``), drawn from NumPy's global generator; the refit uses it too. A search with callbacks
    (`set_callbacks`) runs scikit-learn's own `fit`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'C': 10}
    >>> print(search.plan_)
    9 fits asked for; 9 done
    """

    _space = ("param_grid",)

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Iterable[Any]]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class RandomizedSearchCV(SharingSearch, model_selection.RandomizedSearchCV):
    """Search over candidates drawn at random, computing what candidates and folds share once.

    Drop-in for scikit-learn's class of the same name: what is not described here is as there, and what is not
    specific to the drawing is as in `GridSearchCV`.

    Parameters
    ----------
    estimator : estimator object
        Not fitted.
    param_distributions : dict or list of dict
        Lists of values, or distributions with a method ``rvs``, by name of parameter.
    n_iter : int, default=10
        How many candidates to draw.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score, journal
        As in `GridSearchCV`. A journal keeps the candidates that were drawn.
    random_state : int, RandomState instance or None, default=None
        Seed of the drawing of candidates.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_,
    multimetric_, classes_, n_features_in_, feature_names_in_
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, how much work was asked for and how much was done.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection import RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = RandomizedSearchCV(SVC(), {"C": loguniform(1e-2, 1e2)}, n_iter=4, cv=3, random_state=0)
    >>> len(search.fit(X, y).cv_results_["params"])
    4
    """

    _space = ("param_distributions", "n_iter", "random_state")

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state))
