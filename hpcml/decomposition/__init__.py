"""Principal components, under scikit-learn's names."""

from hpcml.decomposition.pca import PCA

__all__ = ["PCA"]
