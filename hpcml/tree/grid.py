"""The search protocol of trees and forests; see `hpcml.protocol`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.protocol import Batch
from hpcml.training.forest import Growth
from hpcml.training.forest_grid import Asked, means, plan
from hpcml.training.grids import Fits, GridFit, GridMixin, hashable, merged_parameters
from hpcml.training.trees import NO_LIMIT, StopRule, Trees
from hpcml.tree.base import Cut, stop_rule

__all__ = ["Prepared", "SharedGrid"]

#: Parameters under which candidates share trees: the number of trees, pruning, and ...
_ALWAYS = ("n_estimators", "ccp_alpha")
_DEPTH_FIRST = ("max_depth", "min_samples_split", "min_impurity_decrease")  # ... these of depth-first growth,
_BEST_FIRST = ("max_leaf_nodes",)  # ... this one of best-first growth


@dataclass
class Prepared:
    """What a fit is made of: the growth, fitted attributes, and a function that draws seeds."""

    growth: Growth
    attributes: dict[str, Any]
    draw: Callable[[int], NDArray[np.uint64]]


class SharedGrid(GridMixin):
    """Trees and forests grown once for many candidates."""

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        return plan(_asked(self._merged(candidates), _varied(candidates)), n_folds)

    def _fit_grid(self, batch: GridFit) -> Fits:
        settings = list(batch.candidates.values())
        merged = self._merged(settings)
        groups: dict[Any, dict[int, dict[str, Any]]] = {}
        asked = _asked(merged, _varied(settings))
        for i, params, one in zip(batch.candidates, merged, asked, strict=True):
            groups.setdefault(one.key, {})[i] = params
        X, y, weights = self._validated(batch.X, batch.y, batch.weights)  # type: ignore[attr-defined]
        for group in groups.values():
            for j, (train, test) in batch.folds.items():
                # a batch of `plan_grid` has one group
                fold = _Fold(X, y, weights, train, test, j, batch.kept if len(groups) == 1 else None)
                for i, fitted, values in _fit_group(type(self), group, fold, batch.responses):
                    yield i, j, fitted, values

    def _merged(self, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return all parameters of every candidate, or raise."""
        base = self.get_params(deep=False)  # type: ignore[attr-defined]
        overridden = set(candidates[0]).intersection(*candidates) if candidates else set()
        kept = {name: value for name, value in base.items() if name not in overridden}
        self._check_parameters(kept)  # type: ignore[attr-defined]
        merged = merged_parameters(self, candidates)
        for settings, parameters in zip(candidates, merged, strict=True):
            self._check_parameters(settings)  # type: ignore[attr-defined]
            self._check_together(parameters)  # type: ignore[attr-defined]
        return merged


@dataclass
class _Fold:
    """The whole table, the rows of one fold, and by fold what a halving search keeps between its rounds."""

    X: Any
    y: Any
    weights: NDArray[np.float64] | None
    train: NDArray[Any]
    test: NDArray[Any]
    number: int
    kept: dict[int, Any] | None


@dataclass(frozen=True)
class _Kept:
    """Trees that a larger forest begins with."""

    trees: Trees
    seeds: NDArray[np.uint64]
    rule: StopRule

    @property
    def nbytes(self) -> int:
        return self.trees.nbytes

    def begins(self, seeds: NDArray[np.uint64], rule: StopRule) -> bool:
        """Return whether these are the first trees of the seeds, grown at no stricter a rule."""
        n = min(len(self.seeds), len(seeds))
        whole = StopRule.loosest([self.rule, rule]) == self.rule
        return whole and np.array_equal(self.seeds[:n], seeds[:n])


def _varied(candidates: Iterable[dict[str, Any]]) -> list[str]:
    """Return the parameters that candidates may differ in."""
    return sorted(set().union(*candidates))


def _asked(candidates: list[dict[str, Any]], varied: list[str]) -> list[Asked]:
    """Return what candidates ask for."""
    asked = []
    for params in candidates:
        for name, reason in (
            ("oob_score", "it scores the training rows of each forest"),
            ("warm_start", "it keeps the trees of earlier fits"),
        ):
            if params.get(name):
                raise ValueError(f"{name} must be False for candidates that share trees, because {reason}.")
        best_first = params["max_leaf_nodes"] is not None
        free = _ALWAYS + (_BEST_FIRST if best_first else _DEPTH_FIRST)
        key = tuple(hashable(params[name]) if name not in free else None for name in varied)
        max_depth = NO_LIMIT if best_first else params["max_depth"] or NO_LIMIT
        asked.append(Asked((best_first, key), int(params.get("n_estimators", 1)), max_depth))
    return asked


def _fit_group(
    kind: Any, group: dict[int, dict[str, Any]], fold: _Fold, responses: Sequence[str]
) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """Grow the trees of candidates that share them on one fold, and read every candidate from them."""
    rules = {i: stop_rule(params, len(fold.train)) for i, params in group.items()}
    counts = {i: int(params.get("n_estimators", 1)) for i, params in group.items()}
    first = next(iter(group.values()))
    # a separate fit gets a copy of the generator, as scikit-learn's clone makes it
    leader = kind(**{**first, "random_state": copy.deepcopy(first["random_state"])})
    weights = None if fold.weights is None else fold.weights[fold.train]
    prepared = leader._prepared(fold.X, fold.y[fold.train], weights, fold.train)
    loosest = replace(prepared.growth.split, rule=StopRule.loosest(rules.values()))
    seeds = prepared.draw(max(counts.values()))
    n_threads = leader._n_threads()
    growth = replace(prepared.growth, split=loosest)
    kept: _Kept | None = None if fold.kept is None else fold.kept.pop(fold.number, None)
    if kept is None or not kept.begins(seeds, loosest.rule):
        trees = leader._grow(growth, seeds)
    elif len(kept.seeds) < len(seeds):
        trees = Trees.concatenate([kept.trees, leader._grow(growth, seeds[len(kept.seeds) :])])
    else:
        trees = kept.trees
    if fold.kept is not None:
        fold.kept[fold.number] = _Kept(trees.slice(0, len(seeds)), seeds, loosest.rule)
    numbers = list(group)
    wanted = [(rules[i], counts[i]) for i in numbers]
    read: Iterator[tuple[int, Any]] = ((at, None) for at in range(len(wanted)))
    if responses:
        read = means(trees, fold.X, fold.test, wanted, n_threads)
    for at, mean in read:
        i = numbers[at]
        fitted = kind(**group[i])
        vars(fitted).update(prepared.attributes)
        fitted._set_grown(Cut(trees, counts[i], rules[i]), seeds[: counts[i]])
        yield i, fitted, {name: fitted._response(name, mean) for name in responses}
