"""Principal components, under scikit-learn's names."""

from hpcml.decomposition.incremental import IncrementalPCA
from hpcml.decomposition.pca import PCA

__all__ = ["PCA", "IncrementalPCA"]
