"""Unfitted estimators with the parameters of a candidate."""

from collections.abc import Mapping
from typing import Any

from sklearn.base import clone

__all__ = ["copied", "with_parameters"]


def copied(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters whose values are copies: they may be estimators, which a fit must not change."""
    return dict(clone(dict(parameters), safe=False))


def with_parameters(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    """Return an unfitted copy of an estimator with copies of a candidate's parameters.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from hpcml.model_selection.candidates import with_parameters
    >>> with_parameters(Ridge(), {"alpha": 2.0})
    Ridge(alpha=2.0)
    """
    return clone(estimator).set_params(**copied(parameters))
