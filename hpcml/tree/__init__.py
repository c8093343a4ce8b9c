"""Decision trees, under scikit-learn's names."""

from hpcml.tree.estimators import DecisionTreeClassifier, DecisionTreeRegressor

__all__ = ["DecisionTreeClassifier", "DecisionTreeRegressor"]
