"""The search protocol of k-means; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml import blas, communicators
from hpcml.communicators import Communicator, Table
from hpcml.protocol import Batch
from hpcml.training.grids import candidate_estimators, one_batch_a_fold, response_values, weights_alone
from hpcml.training.inputs import as_rows, check_weight
from hpcml.training.kmeans_grid import Asked, Failed, fit_together
from hpcml.training.moments import mean_and_variance

if TYPE_CHECKING:
    from hpcml.cluster.kmeans import KMeans

__all__ = ["KMeansGrid"]

#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")
#: Iterations of an ordinary run, for the cost of a batch.
_USUAL_ITERATIONS = 50


class KMeansGrid:
    """Centers of many candidates that move in one pass over the rows."""

    grid_over_shards = True

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Put all candidates of a fold into one batch; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        candidates : list of dict
            Settings of parameters.
        n_folds : int
            Number of folds.

        Returns
        -------
        list of Batch
            One for each fold.

        Raises
        ------
        ValueError, TypeError
            If a candidate has a parameter that is not allowed, or one under which nothing is shared.
        """
        estimators = self._each(candidates)
        runs = [estimator._number_of_runs() for estimator in estimators]
        costs = [
            float(estimator.n_clusters * n * min(estimator.max_iter, _USUAL_ITERATIONS))
            for estimator, n in zip(estimators, runs, strict=True)
        ]
        return one_batch_a_fold(
            costs,
            n_folds,
            "one pass over the rows of a fold moves the centers of all candidates and runs; seeds of few "
            "clusters begin those of many",
        )

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
        """Fit candidates on folds together; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        X : array-like
            The whole table.
        y : ignored
        candidates : dict of int to dict
            Settings by index of the candidate.
        folds : dict of int to (train, test)
            Row indices by index of the fold.
        responses : sequence of str
            ``"predict"``, or nothing.
        fit_params : mapping
            ``sample_weight`` of all rows, or nothing.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` equals the separate fit to the bit; `values` maps each response to its values on the test
            rows.
        """
        weights = weights_alone(fit_params)
        errors: list[Exception] = []
        # an error on one rank, of the checks too, ends the fit on all
        with blas.one_thread(), communicators.current() as communicator:
            table, weights = self._checked_table(X, weights)
            names = {name: vars(self)[name] for name in _NAMES if name in vars(self)}
            for j, (train, test) in folds.items():
                rows = as_rows(table[train])
                some = None if weights is None else weights[train]
                test_rows = table[test] if responses and len(test) else None
                estimators = dict(zip(candidates, self._each(candidates.values()), strict=True))
                for i, fitted in _fit_fold(estimators, rows, some, communicator):
                    if isinstance(fitted, Failed):
                        errors.append(fitted.error)
                        continue
                    # the test rows have no names here, so they are not yet the estimator's either
                    values = response_values(fitted, responses, test_rows)
                    fitted.__dict__.update(names)
                    yield i, j, fitted, values
        if errors:
            raise errors[0]

    def _checked_table(self, X: Any, weights: Any) -> tuple[Any, NDArray[np.float64] | None]:
        """Return the table, of which rows can be taken, and the weights."""
        base: Any = self
        table, weights = base._validated(X, weights)
        if not isinstance(table, np.ndarray):  # SciPy's indices were of 32 bits, and are again
            parts = table.data, table.indices, table.indptr.astype(np.int32)
            table = sparse.csr_array(parts, shape=table.shape)
        return table, weights

    def _each(self, candidates: Iterable[Mapping[str, Any]]) -> list[KMeans]:
        """Return an estimator for every candidate; raise if one can not be fitted beside others."""
        estimators = candidate_estimators(self, candidates)
        for estimator in estimators:
            estimator._check_values(vars(estimator))
            if estimator.verbose:
                raise ValueError("verbose must be 0 for candidates that share a pass: it follows one fit.")
        return estimators


def _fit_fold(
    estimators: Mapping[int, KMeans],
    rows: Any,
    weights: NDArray[np.float64] | None,
    communicator: Communicator,
) -> Iterator[tuple[int, KMeans | Failed]]:
    """Fit estimators on the rows of a fold."""
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

    def start(rng: np.random.RandomState) -> NDArray[Any]:
        return estimator._start(table, communicator, rng, given, weighted=weights is not None)

    draws_seeds = isinstance(estimator.init, str) and estimator.init == "k-means++"
    rng = communicator.random_state(estimator.random_state)
    return Asked(
        estimator.n_clusters,
        None if draws_seeds else start,
        rng,
        estimator._n_init,
        estimator.max_iter,
        float(variance * estimator.tol),
    )
