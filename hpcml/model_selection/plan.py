"""What a search shares: the batches, and the work asked for and done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hpcml.protocol import Batch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "make_plan", "reason_not_to_share"]

# What a subclass may override without telling the shared fit of its base class.
_OVERRIDES = ("fit", "predict", "predict_proba", "decision_function")
# How work is told of, where "done" is not the best word.
_VERBS = {"trees": "grown"}


@dataclass
class Plan:
    """How the fits of a search were put together.

    Parameters
    ----------
    n_candidates, n_folds : int
    batches : list of Batch
        What is fitted together; follows from the grid only, never from the workers.
    separate : dict of int to str
        Candidate that is fitted on its own -> the reason.
    seed : int or None
        The seed that candidates with ``random_state=None`` share; None if none was drawn.
    resumed : int
        Pairs of candidate and fold that were read from the journal instead of fitted.
    fallbacks : list of str
        Errors because of which pairs of a batch were fitted on their own after all.

    Examples
    --------
    >>> from hpcml.model_selection import Plan
    >>> from hpcml.protocol import Batch
    >>> batch = Batch((0, 1), (0, 1), 1.0, "trees", (0.4, 0.6), {"trees": 60}, {"trees": 40})
    >>> print(Plan(n_candidates=2, n_folds=2, batches=[batch]))
    4 fits asked for, 60 trees; 40 grown
    """

    n_candidates: int
    n_folds: int
    batches: list[Batch] = field(default_factory=list)
    separate: dict[int, str] = field(default_factory=dict)
    seed: int | None = None
    resumed: int = 0
    fallbacks: list[str] = field(default_factory=list)

    @property
    def asked(self) -> dict[str, int]:
        """Fits, and units such as trees, that separate fits would take."""
        units: Counter[str] = Counter()
        for batch in self.batches:
            units.update(dict(batch.asked))
        units.pop("fits", None)
        return {"fits": self.n_candidates * self.n_folds, **units}

    @property
    def done(self) -> dict[str, int]:
        """Fits, and units, that the plan takes; a batch counts as one fit a fold unless it says otherwise."""
        units: Counter[str] = Counter(fits=len(self.separate) * self.n_folds)
        for batch in self.batches:
            units.update({"fits": len(batch.folds), **batch.done})
        return dict(units)

    def __str__(self) -> str:
        asked, done = self.asked, self.done
        units = [unit for unit in asked if unit != "fits"]
        if not units:
            text = f"{asked['fits']} fits asked for; {done['fits']} done"
        else:
            first = ", ".join(f"{asked[unit]} {unit}" for unit in units)
            second = ", ".join(f"{done.get(unit, 0)} {_VERBS.get(unit, 'done')}" for unit in units)
            text = f"{asked['fits']} fits asked for, {first}; {second}"
            if self.separate:
                text += f"; {len(self.separate) * self.n_folds} fits done separately"
        if self.resumed:
            text += f", earlier runs included ({self.resumed} fits read from the journal)"
        return text

    def table(self) -> "pd.DataFrame":
        """Return one row a batch and one for each reason not to share.

        Returns
        -------
        pandas.DataFrame
            Columns ``candidates`` and ``folds`` (numbers of them), ``shared`` (what is, or why nothing
            is), and for every unit of work what was asked for and done.
        """
        import pandas as pd

        rows = []
        for batch in self.batches:
            row: dict[str, Any] = {"candidates": len(batch.candidates), "folds": len(batch.folds)}
            row["shared"] = batch.shared
            row |= {"fits asked": len(batch.candidates) * len(batch.folds)}
            row |= {"fits done": batch.done.get("fits", len(batch.folds))}
            units = [unit for unit in batch.asked if unit != "fits"]
            row |= {f"{unit} asked": batch.asked[unit] for unit in units}
            row |= {f"{unit} done": batch.done.get(unit, 0) for unit in units}
            rows.append(row)
        for reason, n in Counter(self.separate.values()).items():
            fits = n * self.n_folds
            shared = f"nothing: {reason}"
            rows.append({"candidates": n, "folds": self.n_folds, "shared": shared} | _alone(fits))
        return pd.DataFrame(rows)


def _alone(fits: int) -> dict[str, int]:
    return {"fits asked": fits, "fits done": fits}


def reason_not_to_share(estimator: Any) -> str | None:
    """Say why candidates of this estimator cannot be fitted together; None if they can.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection.plan import reason_not_to_share
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
    reason = reason_not_to_share(estimator)
    if reason is not None:
        plan.separate = dict.fromkeys(range(len(candidates)), reason)
        return plan
    planned = list(range(len(candidates)))
    try:
        plan.batches = list(estimator.plan_grid(candidates, n_folds))
    except Exception as error:
        for i, parameters in enumerate(candidates):
            refusal = _refusal(estimator, parameters, n_folds)
            if refusal is not None:
                plan.separate[i] = refusal
        planned = [i for i in planned if i not in plan.separate]
        if not plan.separate:  # each alone is fine, together they are not
            plan.separate = dict.fromkeys(planned, f"{type(error).__name__}: {error}")
            planned = []
        elif planned:
            batches = estimator.plan_grid([candidates[i] for i in planned], n_folds)
            plan.batches = [_renumbered(batch, planned) for batch in batches]
    _check_cover(type(estimator).__name__, plan, planned)
    return plan


def _refusal(estimator: Any, parameters: Mapping[str, Any], n_folds: int) -> str | None:
    try:
        estimator.plan_grid([parameters], n_folds)
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
