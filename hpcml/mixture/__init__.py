"""Mixtures of densities, under scikit-learn's names."""

from hpcml.mixture.gaussian import GaussianMixture

__all__ = ["GaussianMixture"]
