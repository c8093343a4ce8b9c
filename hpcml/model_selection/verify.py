"""A search checked against scikit-learn's own: scores, winner and speed on this machine."""

import importlib
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn import model_selection
from sklearn.base import clone

from hpcml import config
from hpcml.counterparts import counterpart
from hpcml.model_selection.drawn import with_seed

__all__ = ["Evidence", "Verification", "verify"]

# Seconds that a warm-up task takes: long enough for every worker to get one.
_PAUSE = 0.05


@dataclass(frozen=True)
class Evidence:
    """What a search keeps for `verify`: data, splits, and the candidates that were evaluated on them.

    `part` is what those are of the search, and `seconds` how long it took (None if resumed).
    """

    X: Any
    y: Any
    params: Mapping[str, Any]
    splits: list[tuple[Any, Any]]
    seconds: float | None
    rows: Sequence[int]
    part: str = "the whole grid"


@dataclass(frozen=True)
class Verification:
    """Outcome of `verify`.

    Parameters
    ----------
    candidates : list of int
        Indices into ``cv_results_["params"]``.
    params : list of dict
    ours, theirs : dict of str to ndarray of shape (len(candidates), n_folds)
        Test scores by metric, of hpcml and of scikit-learn.
    winner_agrees : dict of str to bool
        Whether both rank the same candidate first among those, by metric.
    seconds : float or None
        Of this whole search, without the refit, or of the last iteration of a halving search; None if it was
        resumed from a journal.
    their_seconds : float
        Of scikit-learn's search of the same candidates: measured for some, and scaled to all by the fit times
        in ``cv_results_`` where there are more.
    n_jobs : int
        Processes that scikit-learn used: as many as hpcml had threads or workers.
    left_out : list of str
        Parameters that scikit-learn's estimator does not have.
    part : str
        What was timed.
    """

    candidates: list[int]
    params: list[dict[str, Any]]
    ours: dict[str, Any]
    theirs: dict[str, Any]
    winner_agrees: dict[str, bool]
    seconds: float | None
    their_seconds: float
    n_jobs: int = 1
    left_out: list[str] = field(default_factory=list)
    part: str = "the whole grid"

    @property
    def speedup(self) -> float | None:
        """How many times faster this search was, None if it was resumed from a journal."""
        return None if self.seconds is None else self.their_seconds / self.seconds

    @property
    def differences(self) -> dict[str, Any]:
        """Difference of the mean test scores (hpcml minus scikit-learn), by metric, one a candidate."""
        return {name: (self.ours[name] - self.theirs[name]).mean(axis=1) for name in self.ours}

    def lines(self) -> list[str]:
        """Return what is said below the table."""
        said = []
        for name in self.winner_agrees:
            prefix = "" if name == "score" else f"{name}: "
            said.append(f"{prefix}the winner among these {self._winner(name)}")
        if any(np.any(difference != 0) for difference in self.differences.values()):
            said.append(
                "hpcml's methods are not scikit-learn's: convex models may differ within their tolerance, "
                "trees and random starts as between two values of random_state"
            )
        if self.left_out:
            said.append(f"scikit-learn has no {', '.join(self.left_out)}: left out there")
        if self.seconds is None or self.speedup is None:
            said.append("no speed-up: part of this search was read from its journal")
        else:
            said.append(
                f"{self.seconds:.2f} s here, {self.their_seconds:.2f} s with scikit-learn "
                f"on {self.n_jobs} process{'es' * (self.n_jobs > 1)} (measured on {len(self.candidates)} "
                f"candidate{'s' * (len(self.candidates) > 1)}, scaled to {self.part}): "
                f"{_told_speed(self.speedup)}"
            )
        return said

    def _winner(self, name: str) -> str:
        """Return whether the winner agrees; of equal candidates the first one wins, as in ``best_index_``."""
        best = {"hpcml": _best(self.ours[name]), "scikit-learn": _best(self.theirs[name])}
        ours, theirs = best.values()
        if self.winner_agrees[name]:
            tied = [
                f"the first of {len(equal)} equal ones with {who}"
                for who, equal in best.items()
                if len(equal) > 1
            ]
            return ", ".join(["agrees", *tied])
        named = "; ".join(f"{_told(self.params[equal[0]])} with {who}" for who, equal in best.items())
        tied = [
            f" (both are equal with {who})" for who, equal in best.items() if {ours[0], theirs[0]} <= {*equal}
        ]
        return f"differs: {named}{''.join(tied)}"


def verify(search: Any, n: int) -> Verification:
    """Fit `n` candidates of a fitted search again with scikit-learn, print and return the comparison."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n must be an integer of at least 1. Got {n!r} instead.")
    evidence: Evidence | None = vars(search).get("_evidence")
    if evidence is None:
        raise ValueError(
            f"this {type(search).__name__} holds no data to verify with: it is not fitted, or was pickled or "
            "copied since, or callbacks made scikit-learn's own search run. Call fit first."
        )
    params = search.cv_results_["params"]
    chosen = _choose(evidence.rows, int(n), getattr(search, "best_index_", None))
    theirs, left_out = _their_search(search, evidence, [params[i] for i in chosen])
    _start_workers(theirs.n_jobs)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their fits: what they come to is told in the table
        theirs.fit(evidence.X, evidence.y, **evidence.params)
    seconds = (time.perf_counter() - start) / _share_of_cost(search, chosen, list(evidence.rows))
    metrics = [key.removeprefix("mean_test_") for key in search.cv_results_ if key.startswith("mean_test_")]
    ours_scores = {name: _scores(search, name)[chosen] for name in metrics}
    their_scores = {name: _scores(theirs, name) for name in metrics}
    agrees = {name: bool(_best(ours_scores[name])[0] == _best(their_scores[name])[0]) for name in metrics}
    found = Verification(
        candidates=chosen,
        params=[params[i] for i in chosen],
        ours=ours_scores,
        theirs=their_scores,
        winner_agrees=agrees,
        seconds=evidence.seconds,
        their_seconds=seconds,
        n_jobs=theirs.n_jobs,
        left_out=left_out,
        part=evidence.part,
    )
    _show(found)
    return found


def _choose(rows: Sequence[int], n: int, best: int | None) -> list[int]:
    """Draw n candidates, the best one among them; from fresh entropy, which leaves the user's seeds alone."""
    rng = np.random.default_rng()
    first = [] if best is None else [int(best)]
    others = rng.permutation([i for i in rows if i not in first])
    return sorted([*first, *(int(i) for i in others)][:n])


def _start_workers(n_jobs: int) -> None:
    """Start joblib's processes and let them import scikit-learn, so that this is not taken for fitting."""
    Parallel(n_jobs=n_jobs)(delayed(_import_scikit_learn)() for _ in range(4 * n_jobs))


def _import_scikit_learn() -> None:
    importlib.import_module("sklearn.model_selection")
    time.sleep(_PAUSE)


def _share_of_cost(search: Any, chosen: list[int], rows: list[int]) -> float:
    """Return the part of the cost of the separate fits of `rows` that is the chosen ones', by fit times."""
    costs = search.cv_results_["mean_fit_time"] + search.cv_results_["mean_score_time"]
    total = costs[rows].sum()
    return float(costs[chosen].sum() / total) if total > 0 else len(chosen) / len(rows)


def _their_search(search: Any, evidence: Evidence, params: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    seed = search.plan_.seed
    estimator = counterpart(search.estimator)
    grid, left_out = [], set()
    for parameters, seeded in zip(params, with_seed(search.estimator, params, seed), strict=True):
        # which parameters there are depends on the estimators among the values
        changed = {name: counterpart(value) for name, value in parameters.items() if "__" not in name}
        known = set(clone(estimator).get_params(deep=True)) | set(_deep_names(changed))
        left_out |= {name for name in parameters if name not in known}
        grid.append({name: [counterpart(value)] for name, value in seeded.items() if name in known})
    # as many processes as hpcml used threads or workers, so that both had the same cores
    n_jobs = max(effective_n_jobs(search.n_jobs), config.n_threads())
    theirs = model_selection.GridSearchCV(
        estimator,
        grid,
        scoring=search.scoring,
        n_jobs=n_jobs,
        refit=False,
        cv=evidence.splits,
        pre_dispatch=getattr(search, "pre_dispatch", "2*n_jobs"),
        error_score=search.error_score,
        return_train_score=False,
    )
    return theirs, sorted(left_out)


def _deep_names(changed: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters of the estimators among some values, as a search takes them."""
    return [
        f"{name}__{inner}"
        for name, value in changed.items()
        if hasattr(value, "get_params") and not isinstance(value, type)
        for inner in value.get_params(deep=True)
    ]


def _scores(search: Any, name: str) -> Any:
    return np.column_stack([search.cv_results_[f"split{j}_test_{name}"] for j in range(search.n_splits_)])


def _best(scores: Any) -> Any:
    """Return the rows with the largest mean, those without a mean last."""
    means = scores.mean(axis=1)
    means = np.where(np.isnan(means), -np.inf, means)
    return np.flatnonzero(means == means.max())


def _told_speed(speedup: float) -> str:
    """Return how much faster or slower that is.

    Examples
    --------
    >>> from hpcml.model_selection.verify import _told_speed
    >>> _told_speed(12.34), _told_speed(0.25), _told_speed(1.01)
    ('12.3 times faster', '4.0 times slower', 'as fast')
    """
    times = max(speedup, 1.0 / speedup)
    if round(times, 1) == 1.0:
        return "as fast"
    return f"{times:.1f} times {'faster' if speedup > 1 else 'slower'}"


def _told(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _show(found: Verification) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="hpcml beside scikit-learn, mean test scores")
    table.add_column("candidate", overflow="fold")
    several = list(found.ours) != ["score"]
    if several:
        table.add_column("metric", overflow="fold")
    for column in ("hpcml", "scikit-learn", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, parameters in enumerate(found.params):
        candidate = _told(parameters)
        for name, difference in found.differences.items():
            cells = [candidate, name] if several else [candidate]
            cells += [f"{scores[name][row].mean():.6g}" for scores in (found.ours, found.theirs)]
            table.add_row(*cells, f"{difference[row]:+.3g}")
    console = Console()
    console.print(table)
    for line in found.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
