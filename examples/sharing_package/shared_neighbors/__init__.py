"""Regression by nearest neighbours, whose grid searches look for neighbours once a fold.

An example of `hpcml.protocol`: the nearest 3 neighbours of a row are the first 3 of its nearest 20, so one
look for the 20 serves every smaller ``n_neighbors``, and every way to weight them.
"""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from hpcml.protocol import Batch

__all__ = ["SharedNeighbors"]

# Rows whose distances are held at a time.
_BLOCK = 512


class SharedNeighbors(RegressorMixin, BaseEstimator):
    """Mean of the nearest training rows, weighted by a power of their distance.

    Parameters
    ----------
    n_neighbors : int
        How many.
    power : float
        A neighbour at distance d counts ``1 / (d + 1) ** power``.
    metric : str
        As in `scipy.spatial.distance.cdist`.
    """

    def __init__(self, n_neighbors=5, power=0.0, metric="euclidean"):
        self.n_neighbors = n_neighbors
        self.power = power
        self.metric = metric

    def fit(self, X, y):
        """Keep the training rows."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._check(len(X))
        self.X_, self.y_ = X, y
        return self

    def predict(self, X):
        """Return the weighted means of the nearest training rows."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self._mean(*self._nearest(X, self.n_neighbors))

    def _check(self, n_rows=None):
        if not isinstance(self.n_neighbors, (int, np.integer)) or self.n_neighbors < 1:
            raise ValueError(
                f"n_neighbors must be an integer of at least 1. Got {self.n_neighbors!r} instead."
            )
        if n_rows is not None and self.n_neighbors > n_rows:
            raise ValueError(
                f"n_neighbors must be at most {n_rows}, the rows. Got {self.n_neighbors} instead."
            )

    def _nearest(self, X, k):
        """Return distances to, and targets of, the k nearest rows; of equally near ones the first."""
        distances, targets = [], []
        for start in range(0, len(X), _BLOCK):
            d = cdist(X[start : start + _BLOCK], self.X_, self.metric)
            order = np.argsort(d, axis=1, kind="stable")[:, :k]
            distances.append(np.take_along_axis(d, order, axis=1))
            targets.append(self.y_[order])
        return np.concatenate(distances), np.concatenate(targets)

    def _mean(self, distances, targets):
        weights = 1.0 / (distances + 1.0) ** self.power
        return (weights * targets).sum(axis=1) / weights.sum(axis=1)

    def plan_grid(self, candidates, n_folds):
        """Cut a grid into batches: one for each metric and fold."""
        groups = {}
        for i, parameters in enumerate(candidates):
            model = clone(self).set_params(**parameters)
            model._check()  # what is not allowed is raised here, and the search fits that candidate alone
            groups.setdefault(model.metric, []).append((i, model.n_neighbors))
        return [
            Batch(
                candidates=tuple(i for i, _ in members),
                folds=(fold,),
                cost=1.0,
                shared=f"the nearest {max(k for _, k in members)} neighbours, of which all take the first",
                weights=tuple(k / sum(k for _, k in members) for _, k in members),
                asked={"searches": len(members)},
                done={"searches": 1},
            )
            for members in groups.values()
            for fold in range(n_folds)
        ]

    def fit_grid(self, X, y, candidates, folds, *, responses, fit_params):
        """Fit one batch: look for the most neighbours once, and take the first of them for each candidate."""
        if fit_params:
            raise TypeError(f"fit takes X and y alone. Got {', '.join(fit_params)} too.")
        X, y = np.asarray(X), np.asarray(y)
        models = {i: clone(self).set_params(**parameters) for i, parameters in candidates.items()}
        for fold, (train, test) in folds.items():
            for model in models.values():
                model.fit(X[train], y[train])
            if responses:  # the scorers may want no predictions at all
                most = max(models.values(), key=lambda model: model.n_neighbors)
                distances, targets = most._nearest(X[test].astype(np.float64), most.n_neighbors)
            for i, model in models.items():
                k = model.n_neighbors
                yield (
                    i,
                    fold,
                    model,
                    {name: model._mean(distances[:, :k], targets[:, :k]) for name in responses},
                )
