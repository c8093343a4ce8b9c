"""The search protocol of k-means; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml.communicators import Communicator, Table
from hpcml.protocol import Batch
from hpcml.training.grids import Failed, FoldByFold, cut
from hpcml.training.inputs import check_weight
from hpcml.training.kmeans_grid import Asked, Draws, fit_together
from hpcml.training.moments import mean_and_variance

if TYPE_CHECKING:
    from hpcml.cluster.kmeans import KMeans

__all__ = ["KMeansGrid"]

#: Iterations of an ordinary run, for the cost of a batch.
_USUAL_ITERATIONS = 50


class KMeansGrid(FoldByFold):
    """Centers of many candidates that move in one pass over the rows."""

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        estimators = self._each(candidates)
        runs = [estimator._number_of_runs() for estimator in estimators]
        costs = [
            float(estimator.n_clusters * n * min(estimator.max_iter, _USUAL_ITERATIONS))
            for estimator, n in zip(estimators, runs, strict=True)
        ]
        return cut(
            dict(enumerate(costs)),
            n_folds,
            "one pass over the rows of a fold moves the centers of all candidates and runs; seeds of few "
            "clusters begin those of many",
        )

    def _grid_table(self, X: Any, weights: Any) -> tuple[Any, NDArray[np.float64] | None]:
        base: Any = self
        table, weights = base._validated(X, weights)
        if not isinstance(table, np.ndarray):  # SciPy's indices were of 32 bits, and are again
            parts = table.data, table.indices, table.indptr.astype(np.int32)
            table = sparse.csr_array(parts, shape=table.shape)
        return table, weights

    @staticmethod
    def _fit_fold(
        estimators: Mapping[int, KMeans],
        rows: Any,
        weights: NDArray[np.float64] | None,
        communicator: Communicator,
    ) -> Iterator[tuple[int, KMeans | Failed]]:
        with communicator.put(X=rows, weights=weights) as table:
            check_weight(communicator, weights)
            mean, variance = mean_and_variance(table)
            asked: dict[int, Asked] = {}
            for i, estimator in estimators.items():
                try:
                    asked[i] = _asked(estimator, table, communicator, rows, weights, float(variance.mean()))
                except (ValueError, TypeError) as error:
                    yield i, Failed(error)
            origin = mean.astype(rows.dtype) if isinstance(rows, np.ndarray) else None
            for i, best in fit_together(table, communicator, asked, origin, weights is not None):
                if isinstance(best, Failed):
                    yield i, best
                    continue
                estimators[i]._store(best, table.rows(best.labels))
                yield i, estimators[i]


def _asked(
    estimator: KMeans,
    table: Table,
    communicator: Communicator,
    rows: Any,
    weights: NDArray[np.float64] | None,
    variance: float,
) -> Asked:
    """Return what an estimator asks for, as its `fit` begins; raise as it does."""
    estimator._check_rows(table)
    estimator._n_init = estimator._number_of_starts()
    given = estimator._given_centers(rows.shape[1], rows.dtype)
    estimator._bounded()  # bounds change no bit, but there is a warning

    def start(draws: Draws) -> NDArray[Any]:
        return estimator._start(table, communicator, draws.rng, given, weighted=weights is not None)

    draws_seeds = isinstance(estimator.init, str) and estimator.init == "k-means++"
    return Asked(
        estimator.n_clusters,
        None if draws_seeds else start,
        Draws(communicator, estimator.random_state),
        estimator._n_init,
        estimator.max_iter,
        float(variance * estimator.tol),
    )
