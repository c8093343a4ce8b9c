"""Searches as one computation: drop-in for scikit-learn's `GridSearchCV` and `RandomizedSearchCV`."""

from hpcml.model_selection.plan import Plan
from hpcml.model_selection.search import GridSearchCV, RandomizedSearchCV
from hpcml.model_selection.verify import Verification

__all__ = ["GridSearchCV", "Plan", "RandomizedSearchCV", "Verification"]
