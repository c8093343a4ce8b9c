"""Which class of scikit-learn each estimator of hpcml stands for; for checks and comparisons.

Names only: neither hpcml's estimators nor scikit-learn's are loaded before they are used.
"""

import importlib
from collections.abc import Mapping
from typing import Any

__all__ = [
    "COUNTERPARTS",
    "ToSklearnMixin",
    "counterpart",
    "counterpart_class",
    "fitted_counterpart",
    "is_estimator",
    "take_attributes",
]

#: Class of hpcml -> class of scikit-learn, by dotted names.
COUNTERPARTS: Mapping[str, str] = {
    "hpcml.cluster.KMeans": "sklearn.cluster.KMeans",
    "hpcml.cluster.MiniBatchKMeans": "sklearn.cluster.MiniBatchKMeans",
    "hpcml.decomposition.IncrementalPCA": "sklearn.decomposition.IncrementalPCA",
    "hpcml.decomposition.PCA": "sklearn.decomposition.PCA",
    "hpcml.ensemble.RandomForestClassifier": "sklearn.ensemble.RandomForestClassifier",
    "hpcml.ensemble.RandomForestRegressor": "sklearn.ensemble.RandomForestRegressor",
    "hpcml.linear_model.LinearRegression": "sklearn.linear_model.LinearRegression",
    "hpcml.linear_model.LogisticRegression": "sklearn.linear_model.LogisticRegression",
    "hpcml.linear_model.Ridge": "sklearn.linear_model.Ridge",
    "hpcml.mixture.GaussianMixture": "sklearn.mixture.GaussianMixture",
    "hpcml.preprocessing.StandardScaler": "sklearn.preprocessing.StandardScaler",
    "hpcml.svm.LinearSVC": "sklearn.svm.LinearSVC",
    "hpcml.svm.LinearSVR": "sklearn.svm.LinearSVR",
    "hpcml.tree.DecisionTreeClassifier": "sklearn.tree.DecisionTreeClassifier",
    "hpcml.tree.DecisionTreeRegressor": "sklearn.tree.DecisionTreeRegressor",
}


def _load(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_estimator(value: Any) -> bool:
    """Return whether a value is an estimator, and not a class of such."""
    return hasattr(value, "get_params") and hasattr(value, "fit") and not isinstance(value, type)


def counterpart_class(kind: type) -> type | None:
    """Return the class of scikit-learn that `kind`, or what it is derived from, stands for.

    Parameters
    ----------
    kind : type

    Returns
    -------
    type or None
        None if `kind` is not hpcml's.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from hpcml.counterparts import counterpart_class
    >>> print(counterpart_class(Ridge))
    None
    """
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        for ours, theirs in COUNTERPARTS.items():
            module, _, name = ours.rpartition(".")
            if base.__name__ == name and package == module.partition(".")[0] and base is _load(ours):
                return _load(theirs)
    return None


def counterpart(value: Any) -> Any:
    """Return `value` with every estimator of hpcml replaced by scikit-learn's of the same parameters.

    Parameters
    ----------
    value : object
        An estimator, also one that holds others such as a pipeline; lists, tuples and dicts of them;
        anything else is returned as it is. Parameters that only hpcml has are dropped.

    Returns
    -------
    object
        Estimators in it are not fitted.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from hpcml.counterparts import counterpart
    >>> counterpart(Ridge(alpha=2.0))
    Ridge(alpha=2.0)
    """
    from sklearn.base import clone

    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(counterpart(item) for item in value)
    if type(value) is dict:
        return {key: counterpart(item) for key, item in value.items()}
    if not is_estimator(value):
        return value
    theirs = counterpart_class(type(value))
    own = value.get_params(deep=False)
    if theirs is None:
        new = clone(value)
        changed = {name: counterpart(item) for name, item in own.items() if _holds_estimator(item)}
        return new.set_params(**changed) if changed else new
    allowed = theirs().get_params(deep=False)
    given = {name: counterpart(item) for name, item in own.items() if name in allowed}
    return clone(theirs(**given))


def fitted_counterpart(estimator: Any) -> Any:
    """Return a fitted estimator as scikit-learn's: its parameters, all attributes whose names end in ``_``.

    Parameters
    ----------
    estimator : object
        An estimator of hpcml whose fitted attributes are those of scikit-learn's.

    Returns
    -------
    object
        The arrays are shared, not copied.
    """
    theirs = counterpart(estimator)
    take_attributes(theirs, estimator)
    return theirs


def take_attributes(theirs: Any, ours: Any) -> None:
    """Give an estimator the fitted attributes of another, those whose names end in ``_``, and no others.

    Parameters
    ----------
    theirs : object
        What takes them, in place.
    ours : object
        What has them; arrays are shared, not copied.
    """
    given = _fitted_attributes(ours)
    for name in _fitted_attributes(theirs).keys() - given.keys():
        delattr(theirs, name)
    for name, value in given.items():
        setattr(theirs, name, value)


def _fitted_attributes(estimator: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_")
    }


class ToSklearnMixin:
    """Gives `to_sklearn` to estimators whose fitted attributes are scikit-learn's."""

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator of the same name, fitted, which answers alike.

        Returns
        -------
        object
            With the same parameters and attributes; arrays are shared, not copied.

        Examples
        --------
        >>> from hpcml.preprocessing import StandardScaler
        >>> StandardScaler().fit([[0.0], [2.0]]).to_sklearn().transform([[3.0]])
        array([[2.]])
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return fitted_counterpart(self)


def _holds_estimator(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_estimator(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_estimator(item) for item in value.values())
    return is_estimator(value)
