"""What is timed: a fit, a prediction, or a grid search; the same for every library."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from benchmarks.data import Dataset, head
from benchmarks.peers import Forest, Peer

__all__ = ["Fit", "Grid", "Predict", "Work"]


def _score(forest: Forest, predicted: Any, true: np.ndarray) -> float:
    return float((accuracy_score if forest.kind == "classifier" else r2_score)(true, predicted))


@dataclass(frozen=True)
class Work:
    """One piece of work; `prepare` returns what is timed, `quality` judges what that returned.

    Parameters
    ----------
    forest : Forest
    """

    forest: Forest

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        """Return the callable that is timed; what it needs is made here, outside the clock.

        Parameters
        ----------
        peer : Peer
        data : Dataset
        n_jobs : int or None
        seed : int
        """
        raise NotImplementedError

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        """Return the scores that the timed callable's result reaches: more is better.

        Parameters
        ----------
        result : object
        data : Dataset
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Fit(Work):
    """Fit a forest; judged by its score on rows it has not seen."""

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        estimator = peer.make(self.forest, data.X.shape[1], n_jobs, seed)
        return lambda: estimator.fit(data.X, data.y)

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        return np.array([_score(self.forest, result.predict(data.X_test), data.y_test)])


@dataclass(frozen=True)
class Predict(Work):
    """Predict all rows with a forest that was fitted on a tenth of them before the clock starts."""

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        few = head(data, max(100, len(data.X) // 10))
        fitted = peer.make(self.forest, data.X.shape[1], n_jobs, seed).fit(few.X, few.y)
        return lambda: fitted.predict(data.X)

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        return np.array([_score(self.forest, result, data.y)])


@dataclass(frozen=True)
class Grid(Work):
    """Search a grid; judged by the mean scores of its candidates.

    Parameters
    ----------
    grid : dict
    cv : int
    """

    grid: dict[str, list[Any]] = field(default_factory=dict)
    cv: int = 3

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        # the search has the workers; the estimator's own n_jobs stays at its library's default
        estimator = peer.make(self.forest, data.X.shape[1], None, seed)
        search = peer.make_search(estimator, self.grid, self.cv, n_jobs)
        return lambda: search.fit(data.X, data.y)

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        return np.asarray(result.cv_results_["mean_test_score"], dtype=np.float64)
