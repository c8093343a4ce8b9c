"""Fits of the pipelines of one batch: each step once, on the table that the steps before it have made."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_memory

from hpcml.model_selection.branches import fit_columns, shares_branches
from hpcml.model_selection.identity import is_own
from hpcml.model_selection.rows import n_rows, take_params, take_rows
from hpcml.model_selection.steps import Candidate, Prefix, Together
from hpcml.model_selection.tables import FoldTable, TableCache

__all__ = ["ShardedStepFits", "StepFits", "routed_to_steps"]

# Parameters by which a step may overwrite its input, and the value that lets it.
_OVERWRITES = {"copy": False, "copy_X": False, "copy_x": False, "inplace": True}
# Other steps of these libraries leave their input alone.
_TRUSTED = {"hpcml", "sklearn"}

#: Share of the rows that a fold must use for a step to be applied to all of them.
WHOLE_SHARE = 0.9

#: Candidate, its fitted pipeline, and its responses on the test rows.
Result = tuple[Candidate, Any, dict[str, Any]]


def routed_to_steps(pipeline: Any, fit_params: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return by step what ``Pipeline.fit`` hands it: arguments by method.

    Raises
    ------
    ValueError, TypeError
        If a parameter belongs to no step.
    """
    if not fit_params:
        return {}
    names = [name for name, _ in pipeline.steps]
    if sklearn.get_config()["enable_metadata_routing"]:
        routed = process_routing(pipeline, "fit", **fit_params)
        return {name: routed[name] for name in names if name in routed}
    steps: dict[str, dict[str, Any]] = {}
    for name, value in fit_params.items():
        step, found, parameter = name.partition("__")
        if not found or step not in names:
            raise ValueError(f"Pipeline.fit takes parameters of its steps {names}. Got {name} instead.")
        steps.setdefault(step, {})[parameter] = value
    return {name: {"fit": own, "fit_transform": own} for name, own in steps.items()}


def _fit_transform(step: Any, X: Any, y: Any, params: Mapping[str, Any]) -> tuple[Any, Any]:
    if hasattr(step, "fit_transform"):
        return step.fit_transform(X, y, **params.get("fit_transform", {})), step
    fitted = step.fit(X, y, **params.get("fit", {}))
    return fitted.transform(X, **params.get("transform", {})), fitted


def _with_requests(last: Any, given: Any) -> Any:
    """Let a last step that a batch has fitted ask for what the given one asks for when it scores."""
    if sklearn.get_config()["enable_metadata_routing"] and hasattr(last, "set_score_request"):
        last.set_score_request(**given.get_metadata_routing().score.requests)
    return last


def _may_overwrite(step: Any) -> bool:
    if type(step).__module__.partition(".")[0] not in _TRUSTED or isinstance(step, FunctionTransformer):
        return True
    for name, value in step.get_params(deep=True).items():
        last = name.rpartition("__")[2]
        if last in _OVERWRITES and isinstance(value, bool) and value == _OVERWRITES[last]:
            return True
    return False


class StepFits:
    """The fits of some pipelines on one fold.

    Parameters
    ----------
    X, y : array-like
        The whole tables.
    split : tuple of (train, test)
    fit_params : mapping
        Of ``Pipeline.fit``, whole.
    responses : sequence of str
    errors : list of Exception
        What fits raise is added; other fits go on.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        split: tuple[Any, Any],
        fit_params: Mapping[str, Any],
        responses: Sequence[str],
        errors: list[Exception],
    ) -> None:
        self._X, self._y, self._split = X, y, split
        self._params, self._responses, self._errors = fit_params, responses, errors
        self._cache = self._new_cache()
        self._fitted: dict[Prefix, Any] = {}
        self._cut: dict[str, Any] = {}

    def _new_cache(self) -> TableCache:
        return TableCache()

    def run(self, root: Prefix, owner: Any) -> Iterator[Result]:
        """Fit everything below the empty prefix; `owner` is one of the pipelines."""
        yield from self._below(root, [FoldTable.untouched(self._X, self._split, owner)])

    def _below(self, node: Prefix, box: list[FoldTable]) -> Iterator[Result]:
        """Fit what uses the table in the box, which is taken out so that nothing holds it longer."""
        several = len(node.fits) > 1
        if several:
            self._keep(node, box[0])
        for number, together in enumerate(node.fits):
            try:
                if not box:
                    box.append(self._table(node))
                if number == len(node.fits) - 1:
                    self._cache.drop(node)
            except Exception as error:
                self._met(error)
                return
            if together.candidates:
                yield from self._lasts(together, node, box.pop(), several)
            elif together.batch is None:
                child = together.nodes[0]
                made = self._tried(lambda: [self._applied(child, box.pop(), several)])  # noqa: B023
                if made is not None:
                    yield from self._below(child, made)
            else:
                yield from self._siblings(together, box.pop())
            box.clear()

    def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # the search fits these candidates on their own and meets it again
            self._met(error)
            return None

    def _met(self, error: Exception) -> None:
        self._errors.append(error)

    def _keep(self, node: Prefix, table: FoldTable) -> None:
        if not table.is_untouched:  # that one is cut again as quickly
            self._cache.put(node, table, table.n_bytes())

    def _table(self, node: Prefix) -> FoldTable:
        """Return the table that a prefix makes: from the cache, or made again."""
        if node.above is None:
            owner = next(iter(node.below.values())).first
            assert owner is not None
            return FoldTable.untouched(self._X, self._split, owner.pipeline)
        found = self._cache.get(node)
        if found is None:
            found = self._applied(node, self._table(node.above), True)
            self._keep(node, found)
        return found  # type: ignore[no-any-return]

    def _applied(self, node: Prefix, table: FoldTable, several: bool) -> FoldTable:
        """Fit the last step of a prefix on the training rows, and apply it to both parts."""
        assert node.first is not None
        step, pipeline = node.step, node.first.pipeline
        if several and not table.is_untouched and _may_overwrite(step):
            table = FoldTable.transformed(copy.copy(table.train()), copy.copy(table.test()))
        params = self._routed(pipeline, self._split[0]).get(node.name, {})
        if node.siblings_of_columns() and shares_branches(step):
            self._fitted[node], made = fit_columns(step, table, self._y_train(), self._cache, node.above)
            return made
        if self._goes_whole(step, pipeline, table):
            self._fitted[node] = clone(step).fit(table.train(), self._y_train(), **params.get("fit", {}))
            return table.made(self._fitted[node].transform(table.whole))
        # pipelines with `memory` look there first, as they do when they are fitted on their own
        fit = check_memory(pipeline.memory).cache(_fit_transform)
        train, fitted = fit(clone(step), table.train(), self._y_train(), params)
        self._fitted[node] = fitted
        return FoldTable.transformed(train, fitted.transform(table.test()))

    def _goes_whole(self, step: Any, pipeline: Any, table: FoldTable) -> bool:
        """Return whether a step may be applied to all rows in one go, in the order of the search's table.

        hpcml's own transformers give a row the same bits anywhere; others may see the training rows alone.
        """
        free = is_own(step) and not _may_overwrite(step) and pipeline.memory is None
        return free and table.in_order and self._uses_most(table)

    def _uses_most(self, table: FoldTable) -> bool:
        return sum(map(len, table.rows)) >= WHOLE_SHARE * n_rows(table.whole)

    def _siblings(self, together: Together, table: FoldTable) -> Iterator[Result]:
        """Fit transformers of one kind by their own `fit_grid`, and go on with the output of each."""
        node = together.nodes[0]
        assert node.first is not None
        for i, _, fitted, _ in self._shared(together, node.first.pipeline, node.name, table, ()):
            child = together.nodes[i]
            self._fitted[child] = fitted
            made = self._tried(lambda: [self._transformed(fitted, table)])  # noqa: B023
            if made is not None:
                yield from self._below(child, made)

    def _transformed(self, fitted: Any, table: FoldTable) -> FoldTable:
        """Apply a transformer to both parts; hpcml's in one go, as they give a row the same bits anywhere."""
        if is_own(fitted) and table.whole is not None and self._uses_most(table):
            with sklearn.config_context(assume_finite=True):  # their fit has seen all of them
                return table.made(fitted.transform(table.whole))
        return FoldTable.transformed(fitted.transform(table.train()), fitted.transform(table.test()))

    def _lasts(self, together: Together, node: Prefix, table: FoldTable, several: bool) -> Iterator[Result]:
        """Fit last steps on the output of the steps before them."""
        if together.batch is None:
            candidate = together.candidates[0]
            made = self._tried(lambda: self._single(candidate, table, several))
            if made is not None:
                yield candidate, self._assembled(candidate, node, made[0]), made[1]
            return
        first = together.candidates[0]
        responses = [name for name in self._responses if hasattr(first.last, name)]
        fits = self._shared(together, first.pipeline, first.last_name, table, responses)
        for i, _, fitted, values in fits:
            candidate = together.candidates[i]
            yield candidate, self._assembled(candidate, node, fitted), values

    def _single(self, candidate: Candidate, table: FoldTable, several: bool) -> tuple[Any, dict[str, Any]]:
        if candidate.last is None:
            return candidate.pipeline.steps[-1][1], {}
        last, train = clone(candidate.last), table.train()
        if several and _may_overwrite(last):
            train = copy.copy(train)
        params = self._routed(candidate.pipeline, self._split[0]).get(candidate.last_name, {})
        last.fit(train, self._y_train(), **params.get("fit", {}))
        values = {}
        for name in self._responses:
            if hasattr(last, name):
                try:
                    values[name] = getattr(last, name)(table.test())
                except Exception:
                    continue
        return last, values

    def _shared(
        self, together: Together, pipeline: Any, name: str, table: FoldTable, responses: Sequence[str]
    ) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
        """Yield what the `fit_grid` of a step does, up to an error, on the table that comes to it."""
        try:
            y, rows, params = self._y, table.rows, self._routed(pipeline, None)
            if not table.in_order:
                order = np.concatenate([np.asarray(part) for part in self._split])
                y, params = take_rows(self._y, order), self._routed(pipeline, order)
            yield from together.sharing.fit_grid(
                table.joined(),
                y,
                dict(enumerate(together.settings)),
                {0: rows},
                responses=responses,
                fit_params=dict(params.get(name, {}).get("fit", {})),
            )
        except Exception as error:
            self._met(error)

    def all_folds(
        self, together: Together, folds: dict[int, tuple[Any, Any]]
    ) -> Iterator[tuple[Candidate, int, Any, dict[str, Any]]]:
        """Fit pipelines whose transformers do nothing: their last step's batch, on all its folds."""
        first = together.candidates[0]
        fits = together.sharing.fit_grid(
            self._X,
            self._y,
            dict(enumerate(together.settings)),
            folds,
            responses=[name for name in self._responses if hasattr(first.last, name)],
            fit_params=dict(self._routed(first.pipeline, None).get(first.last_name, {}).get("fit", {})),
        )
        for i, j, fitted, values in fits:
            candidate = together.candidates[i]
            yield candidate, j, self._assembled(candidate, Prefix(), fitted), values

    def _assembled(self, candidate: Candidate, node: Prefix, last: Any) -> Any:
        """Return the pipeline of a candidate with fitted steps."""
        fitted = {one.name: self._fitted[one] for one in node.transformers()}
        fitted[candidate.last_name] = _with_requests(last, candidate.last)
        pipeline = copy.copy(candidate.pipeline)
        pipeline.steps = [(name, fitted.get(name, step)) for name, step in pipeline.steps]
        return pipeline

    def _y_train(self) -> Any:
        if "y" not in self._cut:
            self._cut["y"] = take_rows(self._y, self._split[0])
        return self._cut["y"]

    def _routed(self, pipeline: Any, rows: Any) -> dict[str, Mapping[str, Any]]:
        if not self._params:
            return {}
        return routed_to_steps(pipeline, take_params(self._params, n_rows(self._X), rows))


class ShardedStepFits(StepFits):
    """The same where ranks share the rows, of which these are one rank's; see `StepFits`.

    All ranks must do the same: an error is raised, outputs that will be needed again are kept whatever they
    take, and ``memory`` is not looked into. Rows stay in their order; a rank may have none of a part.
    """

    def _new_cache(self) -> TableCache:
        return TableCache(math.inf)

    def _met(self, error: Exception) -> None:
        raise error

    def _applied(self, node: Prefix, table: FoldTable, several: bool) -> FoldTable:
        assert node.first is not None
        params = self._routed(node.first.pipeline, self._split[0]).get(node.name, {}).get("fit", {})
        self._fitted[node] = clone(node.step).fit(table.train(), self._y_train(), **params)
        return self._transformed(self._fitted[node], table)

    def _transformed(self, fitted: Any, table: FoldTable) -> FoldTable:
        whole = copy.copy(table.whole) if _may_overwrite(fitted) else table.whole
        return table.made(fitted.transform(whole))
