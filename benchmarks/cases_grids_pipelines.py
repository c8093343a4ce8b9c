"""Grids over pipelines: a scaler, principal components, logistic regression."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.cases_linear import log_odds, sparse_log_odds
from benchmarks.data import Dataset
from benchmarks.estimate import threads
from benchmarks.kinds import Case, Memory, Speed
from benchmarks.peers import Peer
from benchmarks.search import Search

__all__ = ["CASES"]

PEERS = ("hpcml", "intelex", "dask", "sklearn")
STEPS = {
    "scale": "preprocessing.StandardScaler",
    "pca": "decomposition.PCA",
    "model": "linear_model.LogisticRegression",
}


@dataclass(frozen=True)
class PipelineSearch(Search):
    """Search a grid over a pipeline of each library's own steps, scikit-learn's where it has none.

    Parameters
    ----------
    steps : mapping of str to str
        Name of the step -> module and class below the library.
    """

    steps: Mapping[str, str] = field(default_factory=dict)

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
        from sklearn.pipeline import Pipeline

        kinds = {name: _step(peer.module, step) for name, step in self.steps.items()}

        def run() -> Any:
            with threads(n_jobs):
                pipeline = Pipeline([(name, kind()) for name, kind in kinds.items()])
                return peer.make_search(pipeline, dict(self.grid), self.cv, n_jobs).fit(data.X, data.y)

        return run


def _step(library: str, step: str) -> Any:
    module, _, name = step.rpartition(".")
    if library in ("hpcml", "sklearnex"):
        try:
            return getattr(importlib.import_module(f"{library}.{module}"), name)
        except (ImportError, AttributeError):  # a class that the library leaves to scikit-learn
            pass
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


GRID = PipelineSearch(
    "pipeline.Pipeline",
    {"pca__n_components": [5, 10, 20, 40, 80], "model__C": np.logspace(-4, 3, 10).tolist()},
    steps=STEPS,
)

CASES: tuple[Case, ...] = (
    *(
        Speed(
            f"pipeline-grid-{dtype[5:]}",
            "pipeline grid: scaler, 5 numbers of components, 10 C, 5 folds",
            log_odds(50_000, 100, dtype=dtype),
            GRID,
            PEERS,
            {"intelex": 15.0, "dask": 15.0, "sklearn": 15.0},
        )
        for dtype in ("float64", "float32")
    ),
    Memory(
        "pipeline-grid-memory",
        "pipeline grid",
        log_odds(200_000, 100, dtype="float64"),
        GRID,
        ("hpcml",),
        bytes_a_value=12.0,  # one and a half tables
        bytes_more=300e6,  # of the cache of tables between steps, which may take 1 GiB
    ),
    Memory(
        "sparse-grid-memory",
        "LogisticRegression grid of sparse rows, 12 C x 5 folds",
        sparse_log_odds(50_000, 20_000, 50),
        Search("linear_model.LogisticRegression", {"C": np.logspace(-4, 4, 12).tolist()}),
        ("hpcml",),
        bytes_a_value=12.0,  # one and a half times values and numbers of columns, of 4 bytes each
        bytes_more=60 * 20_001 * 8 * 10.0,  # 60 models and what L-BFGS steps know of each, 10 vectors
    ),
)
