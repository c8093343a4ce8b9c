"""The search protocol of mixtures; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hpcml import communicators
from hpcml.communicators import Communicator, Table
from hpcml.protocol import Batch
from hpcml.training.grids import Failed, FoldByFold, cut
from hpcml.training.inputs import FLOATS, validate_data
from hpcml.training.kmeans_grid import Draws
from hpcml.training.mixture import largest_likelihood
from hpcml.training.mixture_grid import Asked, fit_mixtures
from hpcml.training.moments import mean_and_variance

if TYPE_CHECKING:
    from hpcml.mixture.gaussian import GaussianMixture

__all__ = ["MixtureGrid"]


class MixtureGrid(FoldByFold):
    """Mixtures of many candidates that improve in one pass over the rows."""

    _grid_weights = False

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        estimators = self._each(candidates)
        return cut(
            {i: float(estimator.n_components * estimator.n_init) for i, estimator in enumerate(estimators)},
            n_folds,
            "one pass over the rows of a fold improves all candidates and runs; clusters to start from are "
            "found once for all kinds of covariances",
        )

    def _grid_table(self, X: Any, weights: Any) -> tuple[Any, None]:
        least = communicators.least_rows(2)
        return validate_data(self, X, dtype=FLOATS, order="C", ensure_min_samples=least), None

    @staticmethod
    def _fit_fold(
        estimators: Mapping[int, GaussianMixture],
        rows: NDArray[Any],
        weights: Any,
        comm: Communicator,
    ) -> Iterator[tuple[int, GaussianMixture | Failed]]:
        if len(rows) < communicators.least_rows(2):
            raise ValueError(f"Found array with {len(rows)} sample(s) while a minimum of 2 is required.")
        with comm.put(X=rows) as table:
            mean, variance = mean_and_variance(table)
            center = mean.astype(rows.dtype)
            asked: dict[int, Asked] = {}
            for i, estimator in estimators.items():
                try:
                    asked[i] = _asked(estimator, table, comm, center, float(variance.mean()))
                except (ValueError, TypeError) as error:
                    yield i, Failed(error)
            for i, runs in fit_mixtures(table, comm, asked):
                if isinstance(runs, Failed):
                    yield i, runs
                    continue
                best = largest_likelihood(runs)
                estimators[i]._store(best, rows.dtype)
                estimators[i]._warn(best)
                yield i, estimators[i]


def _asked(
    estimator: GaussianMixture, table: Table, comm: Communicator, center: NDArray[Any], variance: float
) -> Asked:
    """Return what an estimator asks for, as its `fit` begins; raise as it does."""
    given = estimator._given(len(center), estimator.n_components)
    draws = Draws(comm, estimator.random_state)
    estimator._check_rows(table)
    return Asked(
        estimator._em(table, center, variance),
        estimator.n_components,
        estimator.init_params,
        given,
        draws,
        estimator.n_init,
        estimator.max_iter,
        estimator.tol,
    )
