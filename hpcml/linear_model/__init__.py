"""Linear models, under scikit-learn's names."""

from hpcml.linear_model.least_squares import LinearRegression, Ridge
from hpcml.linear_model.logistic import LogisticRegression

__all__ = ["LinearRegression", "LogisticRegression", "Ridge"]
