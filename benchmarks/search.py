"""Grid searches over estimators that have scikit-learn's interface."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.data import Dataset
from benchmarks.estimate import threads
from benchmarks.peers import Peer

__all__ = ["Search"]


@dataclass(frozen=True)
class Search:
    """Search a grid; judged by the mean scores of its candidates.

    Parameters
    ----------
    estimator : str
        Module and class below the library, such as ``"linear_model.Ridge"``.
    grid : mapping of str to list
    cv : int
    parameters : mapping of str to object
        Of the estimator, the same for everybody.
    supervised : bool
        Whether the search is given the target.
    """

    estimator: str
    grid: Mapping[str, list[Any]]
    cv: int = 5
    parameters: Mapping[str, Any] = field(default_factory=dict)
    supervised: bool = True

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        """Return the callable that is timed.

        Parameters
        ----------
        peer : Peer
        data : Dataset
        n_jobs : int or None
            Workers of the search; hpcml shares its threads among them.
        seed : int
        """
        module, _, name = self.estimator.rpartition(".")
        kind = getattr(importlib.import_module(f"{peer.module}.{module}"), name)
        target = (data.y,) if self.supervised else ()

        def run() -> Any:
            with threads(n_jobs):
                estimator = kind(**self.parameters)
                return peer.make_search(estimator, dict(self.grid), self.cv, n_jobs).fit(data.X, *target)

        return run

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        """Return the mean scores of the candidates: more is better.

        Parameters
        ----------
        result : object
        data : Dataset
        """
        return np.asarray(result.cv_results_["mean_test_score"], dtype=np.float64)
