"""Searches as one computation: drop-in for scikit-learn's searches, cross-validation and curves."""

from hpcml.model_selection.crossval import cross_val_score, cross_validate
from hpcml.model_selection.curves import learning_curve, validation_curve
from hpcml.model_selection.explain import explain_plan
from hpcml.model_selection.halving import HalvingGridSearchCV, HalvingRandomSearchCV
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.search import GridSearchCV, RandomizedSearchCV
from hpcml.model_selection.verify import Verification

__all__ = [
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "Plan",
    "RandomizedSearchCV",
    "Verification",
    "cross_val_score",
    "cross_validate",
    "explain_plan",
    "learning_curve",
    "validation_curve",
]
