"""When two steps of pipelines are the same step: same class, parameters, and state that clones keep."""

from collections.abc import Mapping
from typing import Any

from joblib import hash as joblib_hash

from hpcml.counterparts import is_estimator
from hpcml.model_selection.fingerprint import fingerprint

__all__ = ["differences", "identity", "is_own", "kind_of", "unseeded"]


def is_own(estimator: Any) -> bool:
    """Return whether an estimator is of one of hpcml's classes, not of one derived from them elsewhere.

    Examples
    --------
    >>> from sklearn import preprocessing
    >>> from hpcml.model_selection.identity import is_own
    >>> from hpcml.preprocessing import StandardScaler
    >>> is_own(StandardScaler()), is_own(preprocessing.StandardScaler())
    (True, False)
    """
    return type(estimator).__module__.partition(".")[0] == "hpcml"


def identity(value: Any) -> str | None:
    """Return a text that is equal for values that make equal fits; None if that cannot be told.

    Parameters
    ----------
    value : object
        A parameter: an estimator, what holds estimators, or anything else.

    Returns
    -------
    str or None

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from hpcml.model_selection.identity import identity
    >>> identity(StandardScaler()) == identity(StandardScaler())
    True
    >>> identity(StandardScaler()) == identity(StandardScaler().set_output(transform="pandas"))
    False
    """
    try:
        return fingerprint(_taken_apart(value), "a step")
    except TypeError:
        pass
    try:
        return str(joblib_hash(value))
    except Exception:  # whatever its pickling raises
        return None


def _taken_apart(value: Any) -> Any:
    """Return a value with its estimators replaced by their class, parameters and other state."""
    if is_estimator(value):
        params = value.get_params(deep=False)
        return ("estimator", type(value), _taken_apart(params), _taken_apart(_beside(value)))
    if type(value) in (list, tuple):
        return type(value)(_taken_apart(item) for item in value)
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: _taken_apart(item) for key, item in value.items()}
    return value


def _beside(estimator: Any) -> dict[str, Any]:
    """Return what an estimator holds beside its parameters, such as the kind of its output."""
    params = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in params}


def kind_of(estimator: Any) -> tuple[type, str | None]:
    """Return class and other state: estimators of one kind differ in nothing but parameters."""
    return type(estimator), identity(_beside(estimator))


def differences(estimators: list[Any]) -> list[dict[str, Any]]:
    """Return for estimators of one kind the parameters in which they differ.

    Parameters
    ----------
    estimators : list of estimator

    Returns
    -------
    list of dict
        One an estimator, all with the same keys: to be set on any of them to get each.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from hpcml.model_selection.identity import differences
    >>> differences([Ridge(1.0, tol=1e-5), Ridge(2.0, tol=1e-5)])
    [{'alpha': 1.0}, {'alpha': 2.0}]
    """
    params = [estimator.get_params(deep=False) for estimator in estimators]
    varied = []
    for name in params[0]:
        found = {identity(own[name]) for own in params} if len(params) > 1 else {""}
        if len(found) > 1 or None in found:
            varied.append(name)
    return [{name: own[name] for name in varied} for own in params]


def unseeded(estimator: Any) -> str | None:
    """Return the name of a parameter ``random_state`` that is None, here or in a nested estimator, if any.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from hpcml.model_selection.identity import unseeded
    >>> unseeded(PCA()), unseeded(PCA(random_state=0))
    ('random_state', None)
    """
    if not hasattr(estimator, "get_params"):
        return None
    for name, value in estimator.get_params(deep=True).items():
        if value is None and name.rpartition("__")[2] == "random_state":
            return str(name)
    return None
