"""The search protocol: how an estimator shares work between the candidates of a grid.

An estimator that can share implements `plan_grid` and `fit_grid` (see `GridSharing`). A search asks it for
batches, hands them to joblib, and never learns what the estimator is. Batches follow from the grid alone,
never from the number of workers, and are fitted whole or not at all, so that results do not change with
``n_jobs``, backend or resume.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

__all__ = ["Batch", "GridSharing"]

# Weights are shares of one: their sum may miss it by the rounding of a long list of doubles, not by more.
WEIGHTS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Batch:
    """Candidates and folds that are fitted together, by one worker.

    Parameters
    ----------
    candidates : tuple of int
        Indices into the list of candidates.
    folds : tuple of int
        Indices of folds. The batch covers every candidate on every one of them.
    cost : float
        Relative cost, for the order in which batches start and for balance.
    shared : str
        One plain sentence: what is shared.
    weights : tuple of float
        Share of the batch's fit time that each candidate is charged with; sums to 1.
    asked : mapping of str to int
        Units of work that separate fits would take, such as ``{"trees": 510}``.
    done : mapping of str to int
        Units of work that this batch takes, such as ``{"trees": 100}``.
    threaded : bool
        Whether its fits keep all threads busy. Where the workers would be on this machine, such batches run
        in the calling process instead, one after the other, with the threads of all workers.

    Raises
    ------
    ValueError
        If the batch is empty or names something twice, if the cost is negative or not finite, or if the
        weights are not one non-negative share a candidate with sum 1.

    Examples
    --------
    >>> from hpcml.protocol import Batch
    >>> batch = Batch(candidates=(0, 1), folds=(0,), cost=20.0, shared="trees of the larger forest",
    ...               weights=(1 / 3, 2 / 3), asked={"trees": 30}, done={"trees": 20})
    >>> batch.done["trees"] / batch.asked["trees"]
    0.66...
    """

    candidates: tuple[int, ...]
    folds: tuple[int, ...]
    cost: float
    shared: str
    weights: tuple[float, ...]
    asked: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    threaded: bool = False

    def __post_init__(self) -> None:
        for name, indices in (("candidates", self.candidates), ("folds", self.folds)):
            if not indices or len(set(indices)) != len(indices) or min(indices) < 0:
                raise ValueError(
                    f"{name} of a Batch must be different indices, at least one. Got {indices!r} instead."
                )
        if not (math.isfinite(self.cost) and self.cost >= 0):
            raise ValueError(f"cost of a Batch must be finite and not negative. Got {self.cost!r} instead.")
        good = len(self.weights) == len(self.candidates) and all(w >= 0 for w in self.weights)
        if not good or abs(math.fsum(self.weights) - 1.0) > WEIGHTS_TOLERANCE:
            raise ValueError(
                f"weights of a Batch must be {len(self.candidates)} shares, none negative, with sum 1. "
                f"Got {self.weights!r} instead."
            )


@runtime_checkable
class GridSharing(Protocol):
    """What an estimator implements to share work in a grid search.

    A class may also name in the attribute ``grid_resources`` parameters that a halving search may raise so
    that each round goes on from the one before: ``("n_estimators",)`` where a forest begins with the trees of
    a smaller one. Such searches give its `fit_grid` one more argument, ``kept``: a dict by index of the fold.
    In it lies what the `fit_grid` of the round before has put there, if all candidates of the batch were in
    one batch; what this one puts there is for the next round. It must have ``nbytes`` and go through pickle;
    what is too large is not handed on. The fits must be those that an empty dict gives, to the bit, and what
    `Batch.done` counts, beside fits, must be what is not done again.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from hpcml.protocol import GridSharing
    >>> isinstance(Ridge(), GridSharing)  # scikit-learn's own is fitted candidate by candidate
    False
    """

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Cut a grid into batches.

        Parameters
        ----------
        candidates : list of dict
            One setting of parameters each, as for ``set_params``.
        n_folds : int
            Number of folds.

        Returns
        -------
        list of Batch
            Every pair of candidate and fold lies in exactly one.
        """
        ...

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
        """Fit one batch: all its candidates on all its folds.

        It is always called with a whole batch, exactly as `plan_grid` cut it. A resumed search fits a batch
        of which it lacks a part once more, whole, and keeps only what it lacks.

        Parameters
        ----------
        X, y : array-like
            The whole tables. A class with the attribute ``grid_over_shards = True`` is also called on every
            rank of an MPI job, with its rows and targets; `folds` then hold its own rows, by their numbers
            there, and the fits compute on those of all ranks.
        candidates : dict of int to dict
            The settings by index of the candidate, in the order of ``Batch.candidates``.
        folds : dict of int to (train, test)
            Row indices by index of the fold, in the order of ``Batch.folds``.
        responses : sequence of str
            Which of ``"predict"``, ``"predict_proba"``, ``"decision_function"`` to compute on the test rows.
        fit_params : mapping
            Further arguments of ``fit``; arrays that are aligned with the rows come whole.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` equals the separate fit and is valid until the next step; `values` maps each response to
            its values on the test rows.
        """
        ...
