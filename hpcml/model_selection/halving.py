"""Successive halving: many candidates with few resources, the best of them with more, sharing in each round.

K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016; Z. Karnin, T. Koren and O. Somekh, "Almost optimal exploration in multi-armed bandits",
ICML 2013.
"""

import math
import numbers
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn import model_selection
from sklearn.base import clone, is_classifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - lets scikit-learn show its classes
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils import resample
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from hpcml.model_selection.arguments import Routed
from hpcml.model_selection.base import Found, SharingSearch
from hpcml.model_selection.drawn import Drawn, draw_seed, draw_splits
from hpcml.model_selection.evaluation import evaluate
from hpcml.model_selection.fitting import Record
from hpcml.model_selection.journal import Journal
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.results import NO_FITS, print_fits, report_failed_fits
from hpcml.model_selection.rounds import Rounds, reason_to_start_anew
from hpcml.model_selection.rows import n_rows
from hpcml.model_selection.scoring import Scoring

__all__ = ["HalvingGridSearchCV", "HalvingRandomSearchCV"]

# Rows of a class that a fold needs in the first round: one to train on and one to test on.
_ROWS_A_FOLD = 2


@dataclass
class _Schedule:
    """How much each round gets."""

    factor: float
    min_resources: int
    max_resources: int
    n_required: int
    n_possible: int
    aggressive: bool

    @property
    def n_rounds(self) -> int:
        return self.n_required if self.aggressive else min(self.n_possible, self.n_required)

    def resources(self, number: int) -> int:
        """Return what every candidate of a round gets."""
        power = number
        if self.aggressive:  # first rounds with the least, until the rest fits
            power = max(0, number - self.n_required + self.n_possible)
        return min(int(self.factor**power * self.min_resources), self.max_resources)


class HalvingSearch(SharingSearch):
    """What the halving searches have in common: rounds, each of which is one shared plan.

    A round goes on from the one before where the estimator can (`hpcml.protocol`).
    """

    journal = None
    factor: float
    resource: str
    max_resources: Any
    min_resources: Any
    aggressive_elimination: bool
    random_state: Any

    def check(self) -> None:
        """Check the parameters; there is only one metric to choose the best of a round by."""
        super().check()
        if isinstance(self.scoring, (list, tuple, dict)):
            raise ValueError(
                f"The 'scoring' parameter of {type(self).__name__} must be a scorer's name, a callable or "
                f"None. Got {self.scoring!r} instead."
            )

    def first_candidates(self, X: Any, y: Any, n_folds: int) -> list[dict[str, Any]]:
        """Return the candidates of the first round."""
        least, most = self._bounds(X, y, n_folds)
        candidates = self._drawn(least, most)
        schedule = self._schedule(len(candidates), least, most)
        return self._with_resources(candidates, schedule.resources(0))

    def _bounds(self, X: Any, y: Any, n_folds: int) -> tuple[int, int]:
        """Return the least and the most that a candidate may get.

        Raises
        ------
        ValueError
            If parameters do not go together.
        """
        if self.resource != "n_samples" and self.resource not in self.estimator.get_params():
            raise ValueError(
                f"Cannot use resource={self.resource} which is not supported by estimator "
                f"{type(self.estimator).__name__}"
            )
        if self.min_resources == getattr(self, "n_candidates", None) == "exhaust":
            raise ValueError("n_candidates and min_resources cannot be both set to 'exhaust'.")
        least = self.min_resources
        if least in ("smallest", "exhaust"):
            least = 1
            if self.resource == "n_samples":
                least = n_folds * _ROWS_A_FOLD
                if is_classifier(self.estimator):
                    check_classification_targets(y)
                    target = np.asarray(y)
                    least *= len(np.unique(column_or_1d(target) if target.ndim == 2 else target))
        most = self.max_resources
        if most == "auto":
            if self.resource != "n_samples":
                raise ValueError("resource can only be 'n_samples' when max_resources='auto'")
            most = n_rows(X)
        if least > most:
            raise ValueError(f"min_resources_={least} is greater than max_resources_={most}.")
        if least == 0:
            raise ValueError(f"min_resources_={least}: you might have passed an empty dataset X.")
        return least, most

    def _drawn(self, least: int, most: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _schedule(self, n_candidates: int, least: int, most: int) -> _Schedule:
        n_required = 1 + math.floor(math.log(n_candidates, self.factor))
        if self.min_resources == "exhaust":  # so that the last round gets as much as there is
            least = max(least, int(most // self.factor ** (n_required - 1)))
        n_possible = 1 + math.floor(math.log(most // least, self.factor))
        return _Schedule(self.factor, least, most, n_required, n_possible, self.aggressive_elimination)

    def _with_resources(self, candidates: list[dict[str, Any]], n_resources: int) -> list[dict[str, Any]]:
        if self.resource == "n_samples":
            return candidates
        return [{**parameters, self.resource: n_resources} for parameters in candidates]

    def _splits(
        self, splits: list[tuple[Any, Any]], n_resources: int, n_samples: int
    ) -> list[tuple[Any, Any]]:
        if self.resource != "n_samples":
            return splits
        fraction = n_resources / n_samples

        def part(rows: Any) -> Any:
            n = int(fraction * len(rows))
            return resample(rows, replace=False, random_state=self.random_state, n_samples=n)

        return [(part(train), part(test)) for train, test in splits]

    def _begun(self, X: Any, y: Any) -> tuple[list[dict[str, Any]], _Schedule]:
        """Draw the first candidates and plan the rounds.

        Raises
        ------
        ValueError
            If there is nothing to fit, or candidates set the resource themselves.
        """
        least, self.max_resources_ = self._bounds(X, y, self.n_splits_)
        candidates = self._drawn(least, self.max_resources_)
        if not candidates or not self.n_splits_:
            raise ValueError(NO_FITS)
        if self.resource != "n_samples" and any(self.resource in one for one in candidates):
            raise ValueError(
                f"Cannot use parameter {self.resource} as the resource since it is part of the searched "
                "parameters."
            )
        schedule = self._schedule(len(candidates), least, self.max_resources_)
        self.min_resources_ = schedule.min_resources
        self.n_required_iterations_, self.n_possible_iterations_ = schedule.n_required, schedule.n_possible
        self.n_iterations_ = schedule.n_rounds
        self._tell(schedule)
        return candidates, schedule

    def _search(
        self, X: Any, y: Any, cv: Any, scoring: Scoring, routed: Routed, journal: Journal | None
    ) -> Found:
        _check_repeatable(cv)
        self.n_splits_ = cv.get_n_splits(X, y, **routed.split)
        candidates, schedule = self._begun(X, y)
        splits = draw_splits(cv, X, y, routed.split)
        seed = draw_seed(self.estimator, candidates)
        self.n_resources_, self.n_candidates_ = [], []
        self.plan_ = Plan(0, self.n_splits_, seed=seed)
        rows: list[dict[str, Any]] = []
        records: list[Record] = []
        anew = reason_to_start_anew(self.estimator, self.resource)
        rounds = Rounds(schedule.n_rounds) if anew is None else None
        self.plan_.rounds = f"rounds start anew: {anew}" if anew else "each round goes on from the one before"
        for number in range(schedule.n_rounds):
            n_resources = schedule.resources(number)
            self.n_resources_.append(n_resources)
            self.n_candidates_.append(len(candidates))
            candidates = self._with_resources(candidates, n_resources)
            own_splits = self._splits(splits, n_resources, n_rows(X))
            if self.verbose:
                print("-" * 10)
                print(f"iter: {number}\nn_candidates: {len(candidates)}\nn_resources: {n_resources}")
                print_fits(len(candidates), self.n_splits_)
            start = time.perf_counter()
            plan, new = evaluate(
                clone(self.estimator),
                X,
                y,
                candidates,
                own_splits,
                scoring=scoring,
                routed=routed,
                seed=seed,
                options=self._options(),
                rounds=rounds,
            )
            seconds = time.perf_counter() - start
            if all(record["fit_error"] is not None for record in new):
                report_failed_fits(new, self.error_score)  # raises
            _add(self.plan_, plan)
            first = len(rows)
            rows += candidates
            records += new
            best = _best(_means(new, self.n_splits_), math.ceil(len(candidates) / self.factor))
            candidates = [candidates[i] for i in best]
            if rounds is not None:
                rounds.go_on_with(best)
        if rounds is not None and schedule.n_rounds > 1 and not rounds.went_on:
            self.plan_.rounds = "rounds start anew: no fit could go on from a smaller one"
        self.n_remaining_candidates_ = len(candidates)
        more = {
            "iter": np.repeat(np.arange(schedule.n_rounds), self.n_candidates_),
            "n_resources": np.repeat(self.n_resources_, self.n_candidates_),
        }
        last = range(first, len(rows))
        return Found(Drawn(own_splits, rows, seed), records, last, more, seconds, "the last iteration")

    def _tell(self, schedule: _Schedule) -> None:
        if self.verbose:
            print(f"n_iterations: {schedule.n_rounds}")
            print(f"n_required_iterations: {schedule.n_required}")
            print(f"n_possible_iterations: {schedule.n_possible}")
            print(f"min_resources_: {schedule.min_resources}")
            print(f"max_resources_: {schedule.max_resources}")
            print(f"aggressive_elimination: {self.aggressive_elimination}")
            print(f"factor: {self.factor}")

    def _best_index(self, metric: Any, results: Mapping[str, Any]) -> Any:
        """Return the best candidate of the last round."""
        last = np.flatnonzero(results["iter"] == self.n_iterations_ - 1)
        scores = results["mean_test_score"][last]
        best = last[0 if np.isnan(scores).all() else np.nanargmax(scores)]
        self.best_score_ = results["mean_test_score"][best]
        return best


def _check_repeatable(cv: Any) -> None:
    """Raise if a splitter gives other folds every time."""
    # one that has no parameter shuffle draws if it has a random_state
    draws = getattr(cv, "shuffle", True)
    if draws and not isinstance(getattr(cv, "random_state", 0), numbers.Integral):
        raise ValueError(
            "The cv parameter must yield consistent folds across calls to split(). Set its random_state "
            "to an int, or set shuffle=False."
        )


def _means(records: list[Record], n_folds: int) -> Any:
    scores = [record["test_scores"] for record in records]
    if any(isinstance(score, dict) for score in scores):
        raise ValueError("scoring of a halving search must return one number, not a dict.")
    return np.average(np.array(scores, dtype=np.float64).reshape(-1, n_folds), axis=1)


def _best(means: Any, n: int) -> list[int]:
    """Return the numbers of the n best candidates, the best one last; those without a score come first."""
    order = np.roll(np.argsort(means), np.count_nonzero(np.isnan(means)))
    return [int(i) for i in order[-n:]]


def _add(whole: Plan, part: Plan) -> None:
    """Add the plan of a round."""
    n = whole.n_candidates
    whole.n_candidates += part.n_candidates
    whole.batches += [replace(b, candidates=tuple(n + i for i in b.candidates)) for b in part.batches]
    whole.separate |= {n + i: reason for i, reason in part.separate.items()}
    whole.fallbacks += part.fallbacks


class HalvingGridSearchCV(HalvingSearch, model_selection.HalvingGridSearchCV):
    """Search over a grid by successive halving; the candidates of a round share what they can.

    Drop-in for scikit-learn's class of the same name, whose parameters and attributes it has.

    Parameters
    ----------
    estimator, param_grid, factor, resource, max_resources, min_resources, aggressive_elimination, cv,
    scoring, refit, error_score, return_train_score, random_state, n_jobs, verbose
        As in scikit-learn.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, n_resources_, n_candidates_, ...
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, over all rounds; ``plan_.rounds`` says whether each went on from the one before.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.ensemble import RandomForestClassifier
    >>> from hpcml.model_selection import HalvingGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"max_depth": [1, 2, 5, None], "min_samples_split": [2, 10]}
    >>> forest = RandomForestClassifier(n_estimators=5, random_state=0)
    >>> search = HalvingGridSearchCV(forest, grid, cv=3, random_state=0).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([8, 3], [50, 150])
    >>> print(search.plan_)
    33 fits asked for, 165 trees; 30 grown; rounds start anew: each draws rows of its own
    """

    def _drawn(self, least: int, most: int) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class HalvingRandomSearchCV(HalvingSearch, model_selection.HalvingRandomSearchCV):
    """Search over candidates drawn at random by successive halving; those of a round share what they can.

    Drop-in for scikit-learn's class of the same name, whose parameters and attributes it has.

    Parameters
    ----------
    estimator, param_distributions, n_candidates, factor, resource, max_resources, min_resources,
    aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, n_jobs, verbose
        As in scikit-learn.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, n_resources_, n_candidates_, ...
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, over all rounds; ``plan_.rounds`` says whether each went on from the one before.

    Examples
    --------
    >>> from scipy.stats import randint
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.ensemble import RandomForestClassifier
    >>> from hpcml.model_selection import HalvingRandomSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> space = {"max_depth": randint(1, 9)}
    >>> forest = RandomForestClassifier(random_state=0)
    >>> search = HalvingRandomSearchCV(
    ...     forest, space, resource="n_estimators", max_resources=27, n_candidates=9, cv=3, random_state=0
    ... ).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [1, 3, 9])
    >>> print(search.plan_)
    39 fits asked for, 81 trees; 27 grown; each round goes on from the one before
    """

    def _drawn(self, least: int, most: int) -> list[dict[str, Any]]:
        n = most // least if self.n_candidates == "exhaust" else self.n_candidates
        return list(ParameterSampler(self.param_distributions, n, random_state=self.random_state))
