"""Clustering under scikit-learn's names."""

from hpcml.cluster.kmeans import KMeans
from hpcml.cluster.minibatch import MiniBatchKMeans

__all__ = ["KMeans", "MiniBatchKMeans"]
