"""hpcml's estimators with the private methods that scikit-learn's own tests call."""

import numpy as np
from scipy.special import expit
from sklearn.base import clone

import hpcml.cluster
import hpcml.ensemble
import hpcml.linear_model
import hpcml.mixture
from hpcml.communicators.serial import Serial, SerialTable
from hpcml.training.inputs import as_rows
from hpcml.training.mixture import Mixture, Run
from hpcml.training.mixture_starts import from_moments
from hpcml.training.moments import mean_and_variance


class KMeans(hpcml.cluster.KMeans):
    """Returns first centers."""

    def _init_centroids(self, X, x_squared_norms, init, random_state, sample_weight, n_centroids=None):
        model = clone(self).set_params(init=init, n_clusters=n_centroids or self.n_clusters)
        with SerialTable({"X": as_rows(X), "weights": sample_weight}) as table:
            return model._start(table, Serial(), random_state, None, weighted=sample_weight is not None)


class _Forest:
    """Tells how rows were drawn, and that they are scored out of the bag."""

    @property
    def _n_samples_bootstrap(self):
        return self._sampling.n_draws or None

    @property
    def _sample_weight(self):
        return self._sampling.weights

    def _score_out_of_bag(self, X, y, score):
        self._set_oob_score_and_attributes(X, y, score)

    def _set_oob_score_and_attributes(self, X, y, score):
        super()._score_out_of_bag(X, y, score)


class RandomForestClassifier(_Forest, hpcml.ensemble.RandomForestClassifier):
    """Gives the weights of the rows by class, too."""

    def _validate_y_class_weight(self, y, sample_weight):
        y = np.ravel(y)
        return np.unique(y, return_inverse=True)[1][:, np.newaxis], self._class_weights(y, sample_weight)


class RandomForestRegressor(_Forest, hpcml.ensemble.RandomForestRegressor):
    """A forest for numbers."""


class GaussianMixture(hpcml.mixture.GaussianMixture):
    """Takes parameters, and starts from given responsibilities."""

    def _set_parameters(self, params):
        self._store(Run(Mixture(*params)), params[1].dtype)

    def _initialize(self, X, resp):
        k = resp.shape[1]
        given = self._given(X.shape[1], k)
        with SerialTable({"X": X, "responsibilities": resp}) as table:
            mean, variance = mean_and_variance(table)
            em = self._em(table, mean.astype(X.dtype), float(variance.mean()))
            self._store(Run(from_moments(em, em.moments(k), given)), X.dtype)


class LogisticRegression(hpcml.linear_model.LogisticRegression):
    """Gives the probabilities that one-versus-rest models would, for comparison."""

    def _predict_proba_lr(self, X):
        each = expit(self.decision_function(X))
        return each / each.sum(axis=1, keepdims=True)
