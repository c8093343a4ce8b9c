"""Pipelines in the search: equal first steps are fitted once a fold, last steps share as they can."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from hpcml import config
from hpcml.model_selection.identity import differences, is_own, unseeded
from hpcml.model_selection.step_fits import ShardedStepFits, StepFits
from hpcml.model_selection.steps import Candidate, Grid, Planner, Prefix, Together, gather, tree_of
from hpcml.protocol import Batch

__all__ = ["SharedPipeline"]


class SharedPipeline:
    """A pipeline of scikit-learn's, by the protocol of the search.

    Parameters
    ----------
    pipeline : Pipeline
        Not fitted.
    plan : callable
        ``plan(estimator, candidates, n_folds)`` returns the `Plan` of a last step, or of a transformer.
    """

    #: `fit_grid` also runs on every rank of an MPI job, with its rows, if all steps compute over them.
    grid_over_shards = True

    def __init__(self, pipeline: Pipeline, plan: Planner) -> None:
        self.pipeline = pipeline
        self._plan = plan

    def cut(self, candidates: list[dict[str, Any]], n_folds: int) -> tuple[list[Batch], dict[int, str]]:
        """Cut a grid into batches.

        Parameters
        ----------
        candidates : list of dict
        n_folds : int

        Returns
        -------
        batches : list of Batch
        separate : dict of int to str
            Candidate that has nothing in common with another one -> why.
        """
        grid = Grid(self.pipeline)
        root = tree_of([grid.candidate(i, own) for i, own in enumerate(candidates)], grid)
        gather(root, self._plan, grid, n_folds, deep=False)
        batches: list[Batch] = []
        separate: dict[int, str] = {}
        for together in root.fits:
            if together.candidates:
                numbers = [candidate.number for candidate in together.candidates]
                if together.batch is None:
                    separate |= dict.fromkeys(numbers, str(together.reason))
                else:
                    batches.append(replace(together.batch, candidates=tuple(numbers)))
        for part in _parts(root):
            for node in part.below.values():
                gather(node, self._plan, grid)
            if part.shares():
                batches += _batches(part, n_folds)
            else:
                separate |= dict.fromkeys(_numbers(part), _why_alone(part))
        return batches, separate

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Cut a grid into batches; raise where a candidate shares nothing. See `GridSharing`."""
        batches, separate = self.cut(candidates, n_folds)
        if separate:
            raise ValueError(next(iter(separate.values())))
        return batches

    def representatives(self, candidates: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return one pipeline of the grid for each kind of last step."""
        grid = Grid(self.pipeline)
        found: dict[type, Any] = {}
        for i, parameters in enumerate(candidates):
            candidate = grid.candidate(i, parameters)
            found.setdefault(type(candidate.last), candidate.pipeline)
        return list(found.values())

    def fit_grid(
        self,
        X: Any,
        y: Any,
        candidates: dict[int, dict[str, Any]],
        folds: dict[int, tuple[Any, Any]],
        *,
        responses: Sequence[str],
        fit_params: Mapping[str, Any],
    ) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
        """Fit a batch that `cut` made. See `GridSharing`.

        Raises
        ------
        Exception
            The first one of any fit, after all other fits have been yielded.
        """
        grid = Grid(self.pipeline)
        root = tree_of([grid.candidate(i, own) for i, own in candidates.items()], grid)
        errors: list[Exception] = []
        if root.ended:  # no transformers: the last step's own batch, over all its folds
            lasts = [candidate.last for candidate in root.ended]
            together = Together(lasts, candidates=root.ended, settings=differences(lasts))
            together.sharing = self._plan(lasts[0], together.settings, len(folds)).sharing
            fits = StepFits(X, y, ((), ()), fit_params, responses, errors)
            for candidate, j, fitted, values in fits.all_folds(together, folds):
                yield candidate.number, j, fitted, values
            return
        gather(root, self._plan, grid)
        owner = _candidates(root)[0].pipeline
        kind = ShardedStepFits if config.communicator() == "mpi" else StepFits
        for j, split in folds.items():
            fits = kind(X, y, split, fit_params, responses, errors)
            for candidate, fitted, values in fits.run(root, owner):
                yield candidate.number, j, fitted, values
        if errors:
            raise errors[0]


def _parts(root: Prefix) -> list[Prefix]:
    """Return the tree in parts that share no first step: each becomes one batch a fold."""
    groups: dict[Any, list[Together]] = {}
    for number, together in enumerate(root.fits):
        if together.nodes:
            # column transformers of one name may share branches
            columns = type(together.nodes[0].step) is ColumnTransformer
            groups.setdefault(together.nodes[0].name if columns else number, []).append(together)
    parts = []
    for fits in groups.values():
        nodes = [node for together in fits for node in together.nodes]
        below = {way: node for way, node in root.below.items() if node in nodes}
        parts.append(Prefix(below=below, size=sum(node.size for node in nodes), fits=fits))
    return parts


def _candidates(node: Prefix) -> list[Candidate]:
    return [*node.ended, *(c for below in node.below.values() for c in _candidates(below))]


def _numbers(node: Prefix) -> list[int]:
    return sorted(candidate.number for candidate in _candidates(node))


def _why_alone(part: Prefix) -> str:
    step = next(iter(part.below.values())).step
    name = unseeded(step)
    if name is not None:
        return f"{type(step).__name__} has {name}=None: every fit draws other random numbers"
    return f"no other candidate has {type(step).__name__} with these parameters as its first step"


def _batches(part: Prefix, n_folds: int) -> list[Batch]:
    """Return one batch a fold of all candidates that share a first step."""
    asked, done = part.work()
    weights = _weights(part)
    numbers = sorted(weights)
    lasts = list(dict.fromkeys(_told_lasts(part)))
    threaded = _is_threaded(part)
    steps = ", ".join(f"{done[name]} {name}" for name in _classes(part))
    return [
        Batch(
            candidates=tuple(numbers),
            folds=(fold,),
            cost=float(len(numbers)),
            shared="; ".join([f"{len(numbers)} candidates take their steps from {steps}", *lasts]),
            weights=tuple(weights[i] for i in numbers),
            asked=dict(asked),
            done=dict(done),
            threaded=threaded,
        )
        for fold in range(n_folds)
    ]


def _is_threaded(node: Prefix) -> bool:
    """Return whether all fits below a prefix keep all threads busy: those of hpcml's own classes do."""
    return all(
        (all(e is None or is_own(e) for e in fit.estimators) if fit.batch is None else fit.batch.threaded)
        and all(map(_is_threaded, fit.nodes))
        for fit in node.fits
    )


def _classes(part: Prefix) -> list[str]:
    """Return the units of the transformers, in the order of the steps."""
    found: dict[str, None] = {}
    level = list(part.below.values())
    while level:
        for node in level:
            found |= dict.fromkeys(name for name in node.units())
        level = [below for node in level for below in node.below.values()]
    return list(found)


def _told_lasts(node: Prefix) -> Iterator[str]:
    for together in node.fits:
        if together.candidates:
            name = type(together.estimators[0]).__name__
            if together.batch is not None:
                yield f"{name}: {together.batch.shared}"
            else:
                yield f"last steps fitted one by one: {together.reason}"
        for below in together.nodes:
            yield from _told_lasts(below)


def _weights(part: Prefix) -> dict[int, float]:
    """Return the share of each candidate in the time: batches of last steps count by their candidates."""
    total = len(_candidates(part))
    found: dict[int, float] = {}

    def collect(node: Prefix) -> None:
        for together in node.fits:
            members = together.candidates
            own = together.batch.weights if together.batch is not None else (1.0,) * len(members)
            if members:
                for candidate, weight in zip(members, own, strict=True):
                    found[candidate.number] = weight * len(members) / total
            for below in together.nodes:
                collect(below)

    collect(part)
    return found
