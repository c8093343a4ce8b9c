"""What goes on from round to round of a halving search: what batches leave, for those that follow them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpcml.model_selection.plan import Plan
from hpcml.model_selection.planning import reason_not_to_share, sharing_of
from hpcml.protocol import Batch

__all__ = ["Kept", "Rounds", "reason_to_start_anew"]

#: What all batches of a round may leave together; each fold of a batch may leave an equal share.
KEPT_BYTES = 1 << 30

Pair = tuple[int, int]


@dataclass
class Kept:
    """What a batch may go on from, and what it may leave.

    Parameters
    ----------
    of_folds : dict of int to object
        What was left for each fold; `fit_grid` replaces it.
    limit : int
        Bytes that it may leave a fold; 0 if no round follows.
    """

    of_folds: dict[int, Any] = field(default_factory=dict)
    limit: int = 0

    def left(self, fold: int) -> Any:
        """Return what is left of a fold; None if that is nothing, or too large."""
        found = self.of_folds.pop(fold, None)
        return found if found is not None and found.nbytes <= self.limit else None


def reason_to_start_anew(estimator: Any, resource: str) -> str | None:
    """Say why no round of a halving search can go on from the one before; None if it can.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection.rounds import reason_to_start_anew
    >>> reason_to_start_anew(SVC(), "max_iter")
    'SVC does not go on from a smaller max_iter'
    """
    if resource == "n_samples":
        return "each draws rows of its own"
    sharing = sharing_of(estimator)
    if reason_not_to_share(sharing) is None and resource in getattr(sharing, "grid_resources", ()):
        return None
    return f"{type(estimator).__name__} does not go on from a smaller {resource}"


class Rounds:
    """Hands what batches leave to those of the next round with the same candidates.

    Parameters
    ----------
    n_rounds : int

    Attributes
    ----------
    went_on : bool
        Whether any batch has gone on from the round before.
    """

    def __init__(self, n_rounds: int) -> None:
        self.went_on = False
        self._to_come = n_rounds
        self._origins: Sequence[int] = ()
        self._batches: list[Batch] = []
        self._owners: dict[Pair, int] = {}
        self._left: dict[Pair, Any] = {}  # by number of the batch, and fold

    def go_on_with(self, candidates: Sequence[int]) -> None:
        """Tell the numbers that the candidates of the next round had in this one."""
        self._origins = candidates

    def begin(self, plan: Plan) -> list[Kept]:
        """Return what each batch of a round has, and count in the plan what need not be done again."""
        self._to_come -= 1
        planned = list(plan.batches)
        limit = KEPT_BYTES // max(1, sum(len(batch.folds) for batch in planned)) if self._to_come else 0
        kept = []
        for number, batch in enumerate(planned):
            before = self._before(batch)
            found = {} if before is None else {j: self._left.pop((before, j)) for j in batch.folds}
            kept.append(Kept(found, limit))
            if before is not None:
                self.went_on = True
                done = {
                    unit: n - (0 if unit == "fits" else self._batches[before].done.get(unit, 0))
                    for unit, n in batch.done.items()
                }
                shared = f"{batch.shared}; goes on from the round before"
                plan.batches[number] = replace(batch, done=done, shared=shared)
        self._batches, self._left = planned, {}
        self._owners = {
            (i, j): n for n, batch in enumerate(planned) for i in batch.candidates for j in batch.folds
        }
        return kept

    def leave(self, candidate: int, fold: int, left: Any) -> None:
        """Keep what the batch of a candidate and fold has left for the next round."""
        self._left[self._owners[candidate, fold], fold] = left

    def _before(self, batch: Batch) -> int | None:
        """Return the one batch of the round before that had all of its candidates, if that left all folds."""
        if not self._origins:
            return None
        numbers = {self._owners.get((self._origins[i], j)) for i in batch.candidates for j in batch.folds}
        number = numbers.pop() if len(numbers) == 1 else None
        if number is None or self._batches[number].folds != batch.folds:
            return None
        return number if all((number, j) in self._left for j in batch.folds) else None
