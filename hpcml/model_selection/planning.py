"""Who shares: estimators by their own protocol, pipelines by the search's; and plans of what is shared."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sklearn.pipeline import Pipeline

from hpcml.model_selection.pipelines import SharedPipeline
from hpcml.model_selection.plan import Plan
from hpcml.protocol import Batch

__all__ = ["make_plan", "reason_not_to_share", "sharing_of"]

# What a subclass may override without telling the shared fit of its base class.
_OVERRIDES = ("fit", "predict", "predict_proba", "decision_function")


def reason_not_to_share(estimator: Any) -> str | None:
    """Say why candidates of this estimator cannot be fitted together; None if they can.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection.planning import reason_not_to_share
    >>> reason_not_to_share(SVC())
    'SVC does not share work between candidates'
    """
    kind = type(estimator)
    if not (callable(getattr(kind, "plan_grid", None)) and callable(getattr(kind, "fit_grid", None))):
        return f"{kind.__name__} does not share work between candidates"
    # a subclass from elsewhere that overrides fit or predict is not what the shared fit computes
    definer = next(base for base in kind.__mro__ if "fit_grid" in vars(base))
    home = definer.__module__.partition(".")[0]
    for base in kind.__mro__[: kind.__mro__.index(definer)]:
        overridden = [name for name in _OVERRIDES if name in vars(base)]
        if overridden and base.__module__.partition(".")[0] != home:
            return f"{base.__name__} overrides {overridden[0]} of {definer.__name__}"
    return None


def sharing_of(estimator: Any) -> Any:
    """Return what plans and fits the grids of an estimator: itself, or what stands for a pipeline.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection.planning import sharing_of
    >>> sharing_of(make_pipeline(StandardScaler(), SVC()))
    <hpcml.model_selection.pipelines.SharedPipeline object at ...>
    """
    return SharedPipeline(estimator, make_plan) if type(estimator) is Pipeline else estimator


def make_plan(estimator: Any, candidates: list[dict[str, Any]], n_folds: int) -> Plan:
    """Ask the estimator for batches; candidates that it refuses are fitted on their own.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    candidates : list of dict
    n_folds : int

    Raises
    ------
    ValueError
        If the batches do not hold every pair of candidate and fold exactly once.
    """
    plan = Plan(len(candidates), n_folds)
    sharing = sharing_of(estimator)
    reason = reason_not_to_share(sharing)
    if reason is not None:
        plan.separate = dict.fromkeys(range(len(candidates)), reason)
        return plan
    plan.sharing = sharing
    planned = list(range(len(candidates)))
    try:
        plan.batches, plan.separate = _cut(sharing, candidates, n_folds)
        planned = [i for i in planned if i not in plan.separate]
    except Exception as error:
        for i, parameters in enumerate(candidates):
            refusal = _refusal(sharing, parameters, n_folds)
            if refusal is not None:
                plan.separate[i] = refusal
        planned = [i for i in planned if i not in plan.separate]
        if not plan.separate:  # each alone is fine, together they are not
            plan.separate = dict.fromkeys(planned, f"{type(error).__name__}: {error}")
            planned = []
        elif planned:
            batches, alone = _cut(sharing, [candidates[i] for i in planned], n_folds)
            plan.batches = [_renumbered(batch, planned) for batch in batches]
            plan.separate |= {planned[i]: why for i, why in alone.items()}
            planned = [i for i in planned if i not in plan.separate]
    _check_cover(type(estimator).__name__, plan, planned)
    return plan


def _cut(sharing: Any, candidates: list[dict[str, Any]], n_folds: int) -> tuple[list[Batch], dict[int, str]]:
    """Return batches, and candidates that are better fitted on their own with the reason."""
    if isinstance(sharing, SharedPipeline):
        return sharing.cut(candidates, n_folds)
    return list(sharing.plan_grid(candidates, n_folds)), {}


def _refusal(sharing: Any, parameters: Mapping[str, Any], n_folds: int) -> str | None:
    try:
        _cut(sharing, [dict(parameters)], n_folds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _renumbered(batch: Batch, numbers: list[int]) -> Batch:
    return replace(batch, candidates=tuple(numbers[i] for i in batch.candidates))


def _check_cover(name: str, plan: Plan, planned: list[int]) -> None:
    pairs = Counter((i, j) for batch in plan.batches for i in batch.candidates for j in batch.folds)
    expected = {(i, j) for i in planned for j in range(plan.n_folds)}
    if set(pairs) != expected or any(n > 1 for n in pairs.values()):
        raise ValueError(
            f"plan_grid of {name} must put every candidate on every fold into exactly one batch. Got "
            f"{len(pairs)} different pairs of candidate and fold instead of {len(expected)}, or some twice."
        )
