"""Candidates by folds, planned and evaluated: what every search and every curve is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcml import config
from hpcml.model_selection.arguments import Routed
from hpcml.model_selection.candidates import with_parameters
from hpcml.model_selection.drawn import with_seed
from hpcml.model_selection.execution import run, tasks_of
from hpcml.model_selection.fitting import Evaluation, Record
from hpcml.model_selection.pipelines import SharedPipeline
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.planning import make_plan
from hpcml.model_selection.rounds import Rounds
from hpcml.model_selection.scoring import Scoring
from hpcml.progress import Progress

__all__ = ["Options", "evaluate", "plan_candidates"]


@dataclass(frozen=True)
class Options:
    """How candidates are evaluated; as in scikit-learn's searches."""

    n_jobs: int | None = None
    pre_dispatch: int | str = "2*n_jobs"
    error_score: Any = "raise"
    return_train_score: bool = False
    verbose: int = 0
    progress: bool = True


def plan_candidates(
    estimator: Any, candidates: Sequence[Mapping[str, Any]], n_folds: int, seed: int | None
) -> tuple[Plan, list[dict[str, Any]]]:
    """Plan candidates, and return them with the seed they share.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    candidates : sequence of dict
    n_folds : int
    seed : int or None

    Returns
    -------
    (Plan, list of dict)

    Raises
    ------
    ValueError
        If a candidate sets something that is not a parameter.
    """
    _check_names(estimator, candidates)
    seeded = with_seed(estimator, candidates, seed)
    plan = make_plan(estimator, seeded, n_folds)
    plan.seed = seed
    return plan, seeded


def _check_names(estimator: Any, candidates: Sequence[Mapping[str, Any]]) -> None:
    """Let the estimator refuse names; which there are depends on the estimators among the values."""
    known = set(estimator.get_params(deep=True))
    seen = set()
    for parameters in candidates:
        inner = tuple(id(value) if hasattr(value, "get_params") else None for value in parameters.values())
        key = tuple(parameters), inner
        if key not in seen and (any(inner) or not known.issuperset(parameters)):
            with_parameters(estimator, parameters)
        seen.add(key)


def evaluate(
    estimator: Any,
    X: Any,
    y: Any,
    candidates: Sequence[Mapping[str, Any]],
    splits: list[tuple[Any, Any]],
    *,
    scoring: Scoring,
    routed: Routed,
    seed: int | None,
    options: Options,
    finished: Mapping[tuple[int, int], Record] | None = None,
    keep: Callable[[list[Record]], None] | None = None,
    refuse: str | None = None,
    rounds: Rounds | None = None,
) -> tuple[Plan, list[Record]]:
    """Fit and score every candidate on every fold, sharing what can be shared.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    X, y : array-like
        The whole tables.
    candidates : sequence of dict
    splits : list of (train, test)
    scoring : Scoring
    routed : Routed
        Parameters of fit and of the scorers.
    seed : int or None
        What candidates without ``random_state`` share.
    options : Options
    finished : mapping, optional
        Records by (candidate, fold) of an earlier run.
    keep : callable, optional
        Gets the records of each task as soon as they come.
    refuse : str, optional
        Why nothing may be shared: every fit must be there afterwards, in its record.
    rounds : Rounds, optional
        What rounds of a halving search leave for each other.

    Returns
    -------
    (Plan, list of dict)
        The records candidate by candidate, and by fold within.
    """
    n_folds, n_candidates = len(splits), len(candidates)
    if refuse is None:
        plan, seeded = plan_candidates(estimator, candidates, n_folds, seed)
    else:
        seeded = [dict(parameters) for parameters in candidates]
        plan = Plan(n_candidates, n_folds, separate=dict.fromkeys(range(n_candidates), refuse))
    records = dict(finished or {})
    plan.resumed = len(records)
    evaluation = Evaluation(
        scoring=scoring,
        responses=_responses(plan, scoring, estimator, y, seeded),
        fit_params=routed.fit,
        score_params=routed.score,
        return_train_score=options.return_train_score,
        error_score=options.error_score,
        verbose=options.verbose,
        n_candidates=n_candidates,
        n_folds=n_folds,
        settings=config.snapshot(),
        keep_fitted=refuse is not None,
    )
    kept = [None] * len(plan.batches) if rounds is None else rounds.begin(plan)
    tasks = tasks_of(plan, estimator, X, y, seeded, splits, records, evaluation, kept)
    with Progress(n_candidates * n_folds, "fits", options.verbose if options.progress else 0) as progress:
        progress.skip(len(records))

        def take(new: list[Record]) -> None:
            plan.fallbacks += [r.pop("separate") for r in new if "separate" in r]
            for record in new:
                if rounds is not None and "left" in record:
                    rounds.leave(record["candidate"], record["fold"], record.pop("left"))
            if keep is not None:
                keep(new)
            records.update({(record["candidate"], record["fold"]): record for record in new})
            progress.advance(len(new))

        if tasks:
            run(tasks, options.n_jobs, options.pre_dispatch, take, in_rounds=keep is not None)
    return plan, [records[i, j] for i in range(n_candidates) for j in range(n_folds)]


def _responses(
    plan: Plan, scoring: Scoring, estimator: Any, y: Any, candidates: list[dict[str, Any]]
) -> tuple[str, ...] | None:
    """Return what shared fits compute for the scorers on the test rows; None: scorers see the fits."""
    if not plan.batches:
        return None
    if not isinstance(plan.sharing, SharedPipeline):
        return scoring.responses(estimator, y)
    batched = sorted({i for batch in plan.batches for i in batch.candidates})
    kinds = plan.sharing.representatives([candidates[i] for i in batched])
    if scoring.default:  # those that score themselves otherwise are asked to
        kinds = [kind for kind in kinds if scoring.responses(kind, y) is not None]
    return scoring.responses(kinds[0], y, kinds[1:]) if kinds else None
