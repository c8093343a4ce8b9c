"""What goes before an estimator in ``hpcml search``: missing values are filled, columns scaled."""

from typing import Any

import numpy as np

from hpcml.cli.grid import is_linear

__all__ = ["own_name", "prepared", "steps"]

#: The step of the pipeline that is the estimator itself.
_MODEL = "model"


def prepared(
    estimator: Any, grid: dict[str, list[Any]], X: Any, names: list[str]
) -> tuple[Any, dict[str, list[Any]], list[str]]:
    """Return the estimator with what it needs before it, its grid, and what is said of that.

    Both steps are fitted to the training rows of each fold: medians for missing values, where the estimator
    takes none; means and standard deviations for linear models and support vector machines, whose penalties
    and kernels compare columns.

    Parameters
    ----------
    estimator : object
    grid : dict of str to list
    X : ndarray of shape (n_samples, n_features)
    names : list of str
        Of the features.

    Returns
    -------
    (estimator, dict of str to list, list of str)
        The same estimator and grid where nothing is needed.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.utils import get_tags

    from hpcml.preprocessing import StandardScaler

    before: list[tuple[str, Any]] = []
    told = []
    missing = np.isnan(X).any(axis=0)
    if missing.any() and not get_tags(estimator).input_tags.allow_nan:
        before.append(("fill", SimpleImputer(strategy="median", keep_empty_features=True)))
        columns = [names[i] for i in np.flatnonzero(missing)]
        more = " ..." if len(columns) > 5 else ""
        told.append(f"{', '.join(columns[:5])}{more}: missing values -> median of the training rows")
    if is_linear(type(estimator).__module__):
        before.append(("scale", StandardScaler()))
        told.append("all features -> mean 0, spread 1 over the training rows")
    if not before:
        return estimator, grid, told
    own = {f"{_MODEL}__{name}": values for name, values in grid.items()}
    return Pipeline([*before, (_MODEL, estimator)]), own, told


def own_name(parameter: str) -> str:
    """Return the name that a parameter of a prepared estimator has on the command line.

    Examples
    --------
    >>> from hpcml.cli.preparation import own_name
    >>> own_name("model__C"), own_name("max_depth")
    ('C', 'max_depth')
    """
    return parameter.removeprefix(f"{_MODEL}__")


def steps(fitted: Any) -> list[tuple[str, Any]]:
    """Return the steps of a prepared estimator, or the estimator as the only one."""
    from sklearn.pipeline import Pipeline

    return fitted.steps if isinstance(fitted, Pipeline) else [(_MODEL, fitted)]
