"""KMeans."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators
from hpcml.cluster.base import ALLOWED, CentersModel
from hpcml.cluster.grid import KMeansGrid
from hpcml.counterparts import counterpart, take_attributes
from hpcml.training.inputs import check_weight
from hpcml.training.kmeans import Best, best_of
from hpcml.training.moments import mean_and_variance
from hpcml.validation import BOOLEAN, Allowed, one_of

__all__ = ["KMeans"]


class KMeans(KMeansGrid, CentersModel):
    """K-means clustering: rows go to the nearest of k centers, centers to the mean of their rows.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {'k-means++', 'random'}, callable or array-like of shape (n_clusters, n_features), \
default='k-means++'
        First centers. 'k-means++' draws rows that lie far from each other, the best of several at each draw;
        'random' draws rows; both draw a row by its weight. A callable is ``init(X, n_clusters,
        random_state)`` and returns centers in the coordinates of X; under ``mpi``, where every rank has its
        own rows, those of rank 0 are taken.
    n_init : 'auto' or int, default='auto'
        Runs from different starts, of which that of least inertia is kept. 'auto' is 10 for 'random' and a
        callable, 1 for 'k-means++' and an array.
    max_iter : int, default=300
        Most iterations of a run.
    tol : float, default=1e-4
        A run ends when the squared moves of the centers add up to no more than `tol` times the mean variance
        of the features, or when no label changes.
    verbose : int, default=0
        Above 0, every iteration prints its inertia.
    random_state : int, RandomState instance or None, default=None
        Decides the starts. An int makes fits repeatable.
    copy_x : bool, default=True
        Accepted for scikit-learn's sake: X is neither copied nor changed, whatever it is.
    algorithm : {'lloyd', 'elkan'}, default='lloyd'
        'lloyd' compares every row with all centers in every iteration. 'elkan' spares most of this by bounds
        of the distances, at the cost of two numbers a row, with the same results to the bit; it pays where
        clusters are many and well apart.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centers.
    labels_ : ndarray of int32 of shape (n_samples,)
        Number of the nearest center of every training row, as `predict` gives it.
    inertia_ : float
        Sum of the squared distances of the rows to their centers, times their weights.
    n_iter_ : int
        Iterations of the run that was kept.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    Rows and centers are compared after the mean of X is subtracted from both, in the precision of X; sums are
    added up in float64. A cluster that loses all rows starts anew at the row farthest from its center.
    Results have the same bits on any number of threads, processes and ranks.

    References
    ----------
    .. [1] S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982.
    .. [2] G. Hamerly, "Making k-means even faster", SIAM International Conference on Data Mining, 2010.
    .. [3] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> from hpcml.cluster import KMeans
    >>> X = [[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [10.0, 2.0], [10.0, 4.0], [10.0, 0.0]]
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmeans.predict([[0.0, 0.0], [12.0, 3.0]])
    array([1, 0], dtype=int32)
    >>> kmeans.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _allowed: ClassVar[Mapping[str, tuple[Allowed, ...]]] = {
        **ALLOWED,
        "copy_x": (BOOLEAN,),
        "algorithm": (one_of("lloyd", "elkan"),),
    }
    _runs_of_random_starts: ClassVar[int] = 10
    n_iter_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> KMeans:
        """Find the centers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows; float32 and float64 are kept, C-contiguous arrays and CSR are not copied.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the rows or the weights are not allowed.
        """
        with blas.one_thread(), communicators.current() as communicator:
            self._check_parameters()
            rows, weights = self._validated(X, sample_weight, leave_check=True)
            with communicator.put(X=rows, weights=weights) as table:
                mean, variance = mean_and_variance(table, rows, self)
                self._check_rows(table)
                check_weight(communicator, weights)
                self._n_init = self._number_of_starts()
                given = self._given_centers(rows.shape[1], rows.dtype)
                bounded = self._bounded()
                rng = communicator.random_state(self.random_state)

                def start() -> NDArray[Any]:
                    return self._start(table, communicator, rng, given, weighted=weights is not None)

                best = best_of(
                    table,
                    communicator,
                    start,
                    mean.astype(rows.dtype) if isinstance(rows, np.ndarray) else None,
                    n_runs=self._n_init,
                    weighted=weights is not None,
                    max_iter=self.max_iter,
                    tol=float(variance.mean() * self.tol),
                    bounded=bounded,
                    verbose=bool(self.verbose),
                )
                labels = table.rows(best.labels)
        self._store(best, labels)
        return self

    def _store(self, best: Best, labels: NDArray[np.int32]) -> None:
        """Keep the result of a fit; warn if it has too few clusters."""
        if best.n_distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({best.n_distinct}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.cluster_centers_ = best.centers
        self._n_features_out = self.n_clusters
        self.labels_ = labels
        self.inertia_ = best.inertia
        self.n_iter_ = best.n_iter
        self._warn_of_overflow()

    def _bounded(self) -> bool:
        """Return whether bounds are used."""
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=3,
            )
            return False
        return self.algorithm == "elkan"

    def to_sklearn(self) -> Any:
        """Return the fitted estimator as scikit-learn's, which predicts the same.

        Examples
        --------
        >>> from hpcml.cluster import KMeans
        >>> X = [[0.0], [1.0], [9.0]]
        >>> theirs = KMeans(2, random_state=0).fit(X).to_sklearn()
        >>> theirs.predict(X).tolist() == theirs.labels_.tolist()
        True
        """
        check_is_fitted(self)
        theirs = counterpart(self)
        # a fit of the centers themselves makes what scikit-learn keeps beside the public attributes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.set_params(init=self.cluster_centers_, n_init=1, max_iter=1, verbose=0)
            theirs.fit(self.cluster_centers_)
        theirs.set_params(**{name: getattr(self, name) for name in ("init", "n_init", "max_iter", "verbose")})
        take_attributes(theirs, self)
        return theirs
