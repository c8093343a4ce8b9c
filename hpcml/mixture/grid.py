"""The search protocol of mixtures; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from hpcml import blas, communicators
from hpcml.communicators import Communicator, Table
from hpcml.protocol import Batch
from hpcml.training.grids import candidate_estimators, one_batch_a_fold, response_values
from hpcml.training.inputs import FLOATS
from hpcml.training.kmeans_grid import Failed
from hpcml.training.mixture import largest_likelihood
from hpcml.training.mixture_grid import Asked, fit_mixtures
from hpcml.training.moments import mean_and_variance

if TYPE_CHECKING:
    from hpcml.mixture.gaussian import GaussianMixture

__all__ = ["MixtureGrid"]

#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")


class MixtureGrid:
    """Mixtures of many candidates that improve in one pass over the rows."""

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
        return one_batch_a_fold(
            [float(estimator.n_components * estimator.n_init) for estimator in estimators],
            n_folds,
            "one pass over the rows of a fold improves all candidates and runs; clusters to start from are "
            "found once for all kinds of covariances",
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
            Which of ``"predict"`` and ``"predict_proba"`` to compute on the test rows.
        fit_params : mapping
            Nothing.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` equals the separate fit to the bit; `values` maps each response to its values on the test
            rows.
        """
        if fit_params:
            raise TypeError(f"fit takes X and y. Got {', '.join(sorted(fit_params))} instead.")
        errors: list[Exception] = []
        # an error on one rank, of the checks too, ends the fit on all
        with blas.one_thread(), communicators.current() as comm:
            least = communicators.least_rows(2)
            table: NDArray[Any] = validate_data(self, X, dtype=FLOATS, order="C", ensure_min_samples=least)
            names = {name: vars(self)[name] for name in _NAMES if name in vars(self)}
            for j, (train, test) in folds.items():
                rows = np.ascontiguousarray(table[train])
                if len(rows) < least:
                    raise ValueError(
                        f"Found array with {len(rows)} sample(s) while a minimum of 2 is required."
                    )
                test_rows = table[test] if responses and len(test) else None
                estimators = dict(zip(candidates, self._each(candidates.values()), strict=True))
                for i, fitted in _fit_fold(estimators, rows, comm):
                    if isinstance(fitted, Failed):
                        errors.append(fitted.error)
                        continue
                    # the test rows have no names here, so they are not yet the estimator's either
                    values = response_values(fitted, responses, test_rows)
                    fitted.__dict__.update(names)
                    yield i, j, fitted, values
        if errors:
            raise errors[0]

    def _each(self, candidates: Iterable[Mapping[str, Any]]) -> list[GaussianMixture]:
        """Return an estimator for every candidate; raise if one can not be fitted beside others."""
        estimators = candidate_estimators(self, candidates)
        for estimator in estimators:
            estimator._check_values(vars(estimator))
            if estimator.verbose:
                raise ValueError("verbose must be 0 for candidates that share a pass: it follows one fit.")
        return estimators


def _fit_fold(
    estimators: Mapping[int, GaussianMixture], rows: NDArray[Any], comm: Communicator
) -> Iterator[tuple[int, GaussianMixture | Failed]]:
    """Fit estimators on the rows of a fold."""
    with comm.put(X=rows) as table:
        center = mean_and_variance(table)[0].astype(rows.dtype)
        asked: dict[int, Asked] = {}
        for i, estimator in estimators.items():
            try:
                asked[i] = _asked(estimator, table, comm, center)
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


def _asked(estimator: GaussianMixture, table: Table, comm: Communicator, center: NDArray[Any]) -> Asked:
    """Return what an estimator asks for, as its `fit` begins; raise as it does."""
    given = estimator._given(len(center), estimator.n_components)
    rng = comm.random_state(estimator.random_state)
    estimator._check_rows(table)
    return Asked(
        estimator._em(table, center),
        estimator.n_components,
        estimator.init_params,
        given,
        rng,
        estimator.n_init,
        estimator.max_iter,
        estimator.tol,
    )
