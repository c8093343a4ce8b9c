"""Small estimators that share the work of a grid, for tests of the search: sums of random signs.

Term t of a sum depends on the seed, t and the training rows only: a smaller sum is a prefix of a larger one.
`COUNTS` tells how many terms were computed in this process.
"""

from collections import Counter

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state

from hpcml.protocol import Batch

COUNTS = Counter()


class _Signs(BaseEstimator):
    def __init__(self, n_terms=5, shift=0.0, random_state=None):
        self.n_terms = n_terms
        self.shift = shift
        self.random_state = random_state

    def _check(self):
        if not isinstance(self.n_terms, (int, np.integer)) or self.n_terms < 1:
            raise ValueError(f"n_terms must be an integer of at least 1. Got {self.n_terms!r} instead.")

    def _terms(self, X, y, weight, n, seed):
        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        if np.isnan(X).any():
            raise ValueError("X must not have missing values")
        weight = np.ones(len(X)) if weight is None else np.asarray(weight)
        terms = []
        for t in range(n):
            COUNTS["terms"] += 1
            direction = np.random.default_rng((seed, t)).normal(size=X.shape[1])
            signs = np.where(X @ direction + self.shift > 0, 1.0, -1.0)
            terms.append((direction, np.average(signs * (y - y.mean()), weights=weight)))
        return terms

    def _seed(self):
        return int(check_random_state(self.random_state).randint(1 << 30))

    def _filled(self, terms, y):
        self.terms_, self.mean_ = terms, np.asarray(y, dtype=float).mean()
        self.n_features_in_ = len(terms[0][0])
        return self

    def fit(self, X, y, sample_weight=None):
        self._check()
        y = self._encoded(y)
        return self._filled(self._terms(X, y, sample_weight, self.n_terms, self._seed()), y)

    def _encoded(self, y):
        return np.asarray(y)

    def _sum(self, X):
        X, total = np.asarray(X, dtype=float), np.zeros(len(X))
        for direction, size in self.terms_:
            total += size * np.where(X @ direction + self.shift > 0, 1.0, -1.0)
        return total

    def plan_grid(self, candidates, n_folds):
        groups = {}
        for i, parameters in enumerate(candidates):
            model = type(self)(**{**self.get_params(), **parameters})
            model._check()
            groups.setdefault((model.shift, str(model.random_state)), []).append((i, model.n_terms))
        batches = []
        for members in groups.values():
            terms = [n for _, n in members]
            for fold in range(n_folds):
                batches.append(
                    Batch(
                        candidates=tuple(i for i, _ in members),
                        folds=(fold,),
                        cost=float(max(terms)),
                        shared="terms of the largest sum",
                        weights=tuple(n / sum(terms) for n in terms),
                        asked={"terms": sum(terms)},
                        done={"terms": max(terms)},
                    )
                )
        return batches

    def fit_grid(self, X, y, candidates, folds, *, responses, fit_params):
        for j, (train, test) in folds.items():
            models = {i: type(self)(**{**self.get_params(), **p}) for i, p in candidates.items()}
            first = next(iter(models.values()))
            weight = fit_params.get("sample_weight")
            weight = None if weight is None else np.asarray(weight)[train]
            y_train = first._encoded(np.asarray(y)[train])
            n = max(model.n_terms for model in models.values())
            terms = first._terms(np.asarray(X)[train], y_train, weight, n, first._seed())
            for i, model in models.items():
                if hasattr(first, "classes_"):
                    model.classes_ = first.classes_
                model._filled(terms[: model.n_terms], y_train)
                yield i, j, model, {name: getattr(model, name)(np.asarray(X)[test]) for name in responses}


class SignsRegressor(RegressorMixin, _Signs):
    """A regressor that shares terms."""

    def predict(self, X):
        return self.mean_ + self._sum(X)


class SignsClassifier(ClassifierMixin, _Signs):
    """A classifier of two classes that shares terms."""

    def _encoded(self, y):
        self.classes_, codes = np.unique(y, return_inverse=True)
        return codes

    def decision_function(self, X):
        return self._sum(X) + self.mean_ - 0.5

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]
