"""Ensembles of trees, under scikit-learn's names."""

from hpcml.ensemble.forest import RandomForestClassifier, RandomForestRegressor

__all__ = ["RandomForestClassifier", "RandomForestRegressor"]
