"""What a search shares: the batches, and the work asked for and done."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcml.protocol import Batch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan"]


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
    rounds : str
        Of a halving search: whether a round goes on from the one before, or why it cannot.

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
    rounds: str = ""
    #: Whose `fit_grid` serves the batches; None where there are none.
    sharing: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "sharing": None}

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
            if units == ["trees"]:
                second = f"{done.get('trees', 0)} grown"
            else:
                second = ", ".join(f"{done.get(unit, 0)} {unit}" for unit in ["fits", *units]) + " done"
            text = f"{asked['fits']} fits asked for, {first}; {second}"
            if self.separate and units == ["trees"]:
                text += f"; {len(self.separate) * self.n_folds} fits done separately"
        if self.rounds:
            text += f"; {self.rounds}"
        if self.fallbacks:
            text += f"; {len(self.fallbacks)} fits of batches done separately after all (see fallbacks)"
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
