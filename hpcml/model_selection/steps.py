"""A grid over pipelines as a tree: candidates whose first steps are equal go the same way up to there."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer

from hpcml.model_selection.branches import branches_of
from hpcml.model_selection.candidates import copied, with_parameters
from hpcml.model_selection.identity import differences, identity, kind_of, unseeded
from hpcml.model_selection.plan import Plan
from hpcml.protocol import Batch

__all__ = ["Candidate", "Grid", "Prefix", "Together", "gather", "tree_of"]

#: ``make_plan`` of the search: plans the candidates of one estimator.
Planner = Callable[[Any, list[dict[str, Any]], int], Plan]


def _does_nothing(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


@dataclass
class Candidate:
    """A pipeline of the grid, not fitted: its number, its transformers, and its last step (None: nothing)."""

    number: int
    pipeline: Any
    steps: list[tuple[str, Any]]
    last: Any

    @property
    def last_name(self) -> str:
        """Name of the last step."""
        return str(self.pipeline.steps[-1][0])


class Grid:
    """The candidates of a grid over a pipeline; steps of the same parameters are one object, looked at once.

    Parameters
    ----------
    pipeline : Pipeline
        Not fitted.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = clone(pipeline)
        self._steps: dict[Any, Any] = {}
        self._known: dict[Any, tuple[Any, Any]] = {}
        self._plans: dict[Any, tuple[Plan, Any]] = {}

    def candidate(self, number: int, parameters: Mapping[str, Any]) -> Candidate:
        """Return one candidate; its steps must not be changed.

        Raises
        ------
        ValueError, TypeError
            If the parameters or the steps are not allowed, or if its fits cannot be shared.
        """
        own = self._with(parameters)
        steps = own.steps
        for attribute, reason in (
            ("verbose", "it prints the time of every single step"),
            ("transform_input", "it transforms more than the table"),
        ):
            if getattr(own, attribute, None):
                raise ValueError(
                    f"{attribute} of a pipeline must not be set for fits to be shared: {reason}."
                )
        names = [name for name, _ in steps]
        if not steps or len(set(names)) != len(names) or any("__" in name for name in names):
            raise ValueError(f"the steps of a pipeline must have different names without '__'. Got {names}.")
        wrong = [step for _, step in steps[:-1] if not _does_nothing(step) and not hasattr(step, "transform")]
        if wrong:
            raise TypeError(f"all steps but the last must be transformers. Got {wrong[0]!r} instead.")
        last = steps[-1][1]
        if not _does_nothing(last) and not hasattr(last, "fit"):
            raise TypeError(f"the last step of a pipeline must implement fit. Got {last!r} instead.")
        before = [(name, step) for name, step in steps[:-1] if not _does_nothing(step)]
        return Candidate(number, own, before, None if _does_nothing(last) else last)

    def _with(self, parameters: Mapping[str, Any]) -> Any:
        by_step: dict[str, dict[str, Any]] = {name: {} for name, _ in self._pipeline.steps}
        for name, value in parameters.items():
            step = name.partition("__")[0]
            if step not in by_step:  # of the pipeline itself, or of no step
                return with_parameters(self._pipeline, parameters)
            by_step[step][name] = value
        own = copy.copy(self._pipeline)
        own.steps = [(name, self._step(name, settings)) for name, settings in by_step.items()]
        return own

    def _step(self, name: str, settings: dict[str, Any]) -> Any:
        key = name, tuple((setting, _key(value)) for setting, value in settings.items())
        if key not in self._steps:
            # the settings are kept, so that no other object gets the identity of one of them
            self._steps[key] = self._made(name, settings), settings
        return self._steps[key][0]

    def _made(self, name: str, settings: dict[str, Any]) -> Any:
        step, values = dict(self._pipeline.steps)[name], copied(settings)
        if name in settings or not hasattr(step, "set_params"):
            return dict(clone(self._pipeline).set_params(**values).steps)[name]
        own = {setting.partition("__")[2]: value for setting, value in values.items()}
        return clone(step).set_params(**own)

    def look(self, what: Callable[..., Any], *estimators: Any) -> Any:
        """Return ``what(*estimators)``, computed once for the same objects."""
        key = what, tuple(map(id, estimators))
        if key not in self._known:
            self._known[key] = what(*estimators), estimators
        return self._known[key][0]

    def planned(
        self, plan: Planner, estimators: Sequence[Any], settings: list[dict[str, Any]], n_folds: int
    ) -> Plan:
        """Return the plan of estimators of one kind, made once for the same objects."""
        key = n_folds, tuple(map(id, estimators))
        if key not in self._plans:
            self._plans[key] = plan(estimators[0], settings, n_folds), estimators
        return self._plans[key][0]


def _key(value: Any) -> Any:
    """Return what tells values of parameters apart: plain ones by what they are, others as objects."""
    if isinstance(value, (str, int, float, type(None), np.generic)):
        return type(value), value
    return "object", id(value)


def _way(step: Any) -> str | None:
    """Return what is equal for equal steps; None if the step cannot be shared."""
    return None if unseeded(step) else identity(step)


def _differences(*estimators: Any) -> list[dict[str, Any]]:
    return differences(list(estimators))


@dataclass
class Together:
    """Fits on the table that a prefix makes: of one step or estimator, or of several that share.

    Parameters
    ----------
    estimators : list of estimator
        Of one kind.
    nodes : list of Prefix
        Where they lead, if they are transformers; empty for last steps.
    candidates : list of Candidate
        Whose last steps they are; empty for transformers.
    batch : Batch or None
        What they share, in numbers of `estimators`; None for a single fit.
    sharing : object
        Whose ``fit_grid`` serves the batch.
    reason : str or None
        Why the fit of a last step is a single one.
    settings : list of dict
        The parameters in which estimators that share differ.
    """

    estimators: list[Any]
    nodes: list["Prefix"] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    batch: Batch | None = None
    sharing: Any = None
    reason: str | None = None
    settings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Prefix:
    """What some candidates have in common: the same first steps.

    Parameters
    ----------
    above : Prefix or None
        One step less.
    name, step : str, estimator
        The last of its steps.
    first : Candidate or None
        One of its candidates, for what is the same in all.
    """

    above: "Prefix | None" = None
    name: str = ""
    step: Any = None
    first: Candidate | None = None
    below: dict[Any, "Prefix"] = field(default_factory=dict)
    ended: list[Candidate] = field(default_factory=list)
    size: int = 0
    fits: list[Together] = field(default_factory=list)

    def transformers(self) -> list["Prefix"]:
        """Return the prefixes from the first step to this one."""
        return [] if self.above is None else [*self.above.transformers(), self]

    def siblings_of_columns(self) -> bool:
        """Say whether it is one of several column transformers, which may have equal branches."""
        assert self.above is not None
        others = [node for node in self.above.below.values() if type(node.step) is ColumnTransformer]
        return type(self.step) is ColumnTransformer and len(others) > 1

    def units(self) -> Counter[str]:
        """Return the transformers that a fit of its step takes, by class."""
        return _units(self, set())[0]

    def work(self) -> tuple[Counter[str], Counter[str]]:
        """Return what separate fits would take from here on, and what is done, by unit."""
        asked: Counter[str] = Counter()
        done: Counter[str] = Counter()
        branches: set[Any] = set()
        for together in self.fits:
            for node in together.nodes:
                units, new = _units(node, branches)
                asked.update({unit: n * node.size for unit, n in units.items()})
                if together.batch is None:
                    done.update(new)
                below = node.work()
                asked.update(below[0])
                done.update(below[1])
            batch = together.batch
            if together.nodes and batch is not None:
                done[type(together.estimators[0]).__name__] += batch.done.get("fits", 1)
            elif together.candidates:
                extra = {} if batch is None else {k: n for k, n in batch.done.items() if k != "fits"}
                done.update({"fits": 1 if batch is None else batch.done.get("fits", 1), **extra})
                if batch is not None:
                    asked.update({k: n for k, n in batch.asked.items() if k != "fits"})
        return asked, done

    def shares(self) -> bool:
        """Say whether a step below this prefix is fitted once for several candidates."""
        return any(
            (t.batch is not None and len(t.estimators) > 1) or any(n.size > 1 or n.shares() for n in t.nodes)
            for t in self.fits
        ) or any(node.siblings_of_columns() for node in self.below.values())


def _units(node: Prefix, branches: set[Any]) -> tuple[Counter[str], Counter[str]]:
    """Return the transformers of a step by class, and those of them that no sibling has fitted before."""
    if type(node.step) is not ColumnTransformer:
        one = Counter([type(node.step).__name__])
        return one, one
    found = branches_of(node.step)
    new = []
    for key, branch in found:
        if key is None or key not in branches:
            new.append(type(branch).__name__)
        branches.add(key)
    return Counter(type(branch).__name__ for _, branch in found), Counter(new)


def tree_of(candidates: Sequence[Candidate], grid: Grid) -> Prefix:
    """Return the tree of the prefixes of candidates.

    Parameters
    ----------
    candidates : sequence of Candidate
    grid : Grid
        That they are of.

    Returns
    -------
    Prefix
        The empty one.
    """
    root = Prefix()
    for candidate in candidates:
        node = root
        node.size += 1
        for name, step in candidate.steps:
            key = grid.look(_way, step)
            # what cannot be shared has a way of its own
            way = (name, key) if key is not None else (name, "alone", candidate.number)
            if way not in node.below:
                node.below[way] = Prefix(node, name, step, candidate)
            node = node.below[way]
            node.size += 1
        node.ended.append(candidate)
    return root


def gather(node: Prefix, plan: Planner, grid: Grid, n_folds: int = 1, deep: bool = True) -> None:
    """Decide for a prefix, and those below it, what is fitted together on its table.

    Parameters
    ----------
    node : Prefix
        Its `fits` are set.
    plan : callable
    grid : Grid
    n_folds : int
        Folds of the batches of last steps.
    deep : bool
        Whether to go on below.
    """
    node.fits = []
    kinds: dict[Any, list[Prefix]] = {}
    for way, below in node.below.items():
        alone = way[1] == "alone"
        kind = way if alone else grid.look(kind_of, below.step)
        kinds.setdefault((below.name, kind), []).append(below)
    for nodes in kinds.values():
        for numbers, together in _planned([below.step for below in nodes], plan, grid, 1):
            together.nodes = [nodes[i] for i in numbers]
            node.fits.append(together)
    lasts: dict[Any, list[Candidate]] = {}
    for candidate in node.ended:
        kind = None if candidate.last is None else grid.look(kind_of, candidate.last)
        lasts.setdefault((candidate.last_name, kind), []).append(candidate)
    for (_, kind), ended in lasts.items():
        if kind is None:
            why = "the last step does nothing"
            node.fits += [Together([None], candidates=[one], reason=why) for one in ended]
            continue
        for numbers, together in _planned([one.last for one in ended], plan, grid, n_folds):
            together.candidates = [ended[i] for i in numbers]
            node.fits.append(together)
    if deep:
        for below in node.below.values():
            gather(below, plan, grid)


def _planned(
    estimators: list[Any], plan: Planner, grid: Grid, n_folds: int
) -> list[tuple[list[int], Together]]:
    """Return which estimators of one kind are fitted together, and why the others are not."""
    if len(estimators) == 1 and n_folds == 1:
        return [([0], Together(estimators, reason="no other candidate shares its last step"))]
    # relative to the first one, for all: what is planned is what the batch is fitted with
    settings = grid.look(_differences, *estimators)
    made = grid.planned(plan, estimators, settings, n_folds)
    groups = [([i], Together([estimators[i]], reason=reason)) for i, reason in made.separate.items()]
    for batch in made.batches:
        numbers = list(batch.candidates)
        together = Together([estimators[i] for i in numbers])
        if len(numbers) > 1 or n_folds > 1:
            together.batch, together.sharing = batch, made.sharing
            together.settings = [settings[i] for i in numbers]
        groups.append((numbers, together))
    return sorted(groups, key=lambda group: group[0])
