"""hpcml's estimators with the private methods that scikit-learn's own tests call."""

from scipy.special import expit
from sklearn.base import clone

import hpcml.cluster
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


class GaussianMixture(hpcml.mixture.GaussianMixture):
    """Takes parameters, and starts from given responsibilities."""

    def _set_parameters(self, params):
        self._store(Run(Mixture(*params)), params[1].dtype)

    def _initialize(self, X, resp):
        k = resp.shape[1]
        given = self._given(X.shape[1], k)
        with SerialTable({"X": X, "responsibilities": resp}) as table:
            em = self._em(table, mean_and_variance(table)[0].astype(X.dtype))
            self._store(Run(from_moments(em, em.moments(k), given)), X.dtype)


class LogisticRegression(hpcml.linear_model.LogisticRegression):
    """Gives the probabilities that one-versus-rest models would, for comparison."""

    def _predict_proba_lr(self, X):
        each = expit(self.decision_function(X))
        return each / each.sum(axis=1, keepdims=True)
