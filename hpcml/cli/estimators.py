"""From a name on the command line to an estimator: hpcml's own by short name, others by dotted path."""

import importlib
import inspect
import re
from typing import Any

from hpcml.cli.failures import CommandError, one_line

__all__ = ["kind_of", "make", "names"]

#: Modules of classifiers and regressors; told by their names, so that a manual loads none of them.
_WITH_TARGETS = ("ensemble", "linear_model", "svm", "tree")


def names() -> dict[str, str]:
    """Return the dotted paths of hpcml's classifiers and regressors by their names on the command line.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> from hpcml.cli import estimators
    >>> estimators.names()["random-forest-regressor"]
    'hpcml.ensemble.RandomForestRegressor'
    """
    from hpcml.counterparts import COUNTERPARTS

    return {
        _short_name(path.rpartition(".")[2]): path
        for path in COUNTERPARTS
        if path.split(".")[1] in _WITH_TARGETS
    }


def _short_name(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _class_at(path: str) -> Any:
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a library that is broken here raises anything
        raise CommandError(
            f"--estimator {path}: {module_name} cannot be imported ({one_line(error)}); "
            "check its name, or install the library that has it"
        ) from None
    if not hasattr(module, class_name):
        from hpcml.data import near_misses

        classes = [name for name, each in vars(module).items() if inspect.isclass(each) and name[0] != "_"]
        raise CommandError(
            f"--estimator {path}: {module_name} has no {class_name}; {near_misses(class_name, classes)}"
        )
    return getattr(module, class_name)


def make(name: str) -> Any:
    """Make the estimator that a name stands for, with default parameters.

    Parameters
    ----------
    name : str
        A key of `names`, or the dotted path of a class with scikit-learn's interface.

    Returns
    -------
    estimator

    Raises
    ------
    CommandError
        If there is none of that name, or it needs arguments.

    Examples
    --------
    >>> from hpcml.cli import estimators
    >>> estimators.make("sklearn.linear_model.Ridge")
    Ridge()
    """
    known = names()
    if "." not in name and name not in known:
        from hpcml.data import near_misses

        raise CommandError(
            f"--estimator {name!r} is unknown; {near_misses(name, known)} "
            "(others by dotted path, such as sklearn.linear_model.Ridge)"
        )
    found = _class_at(known.get(name, name))
    if not inspect.isclass(found) or not all(
        hasattr(found, each) for each in ("fit", "predict", "get_params")
    ):
        raise CommandError(f"--estimator {name} is no class with scikit-learn's fit, predict and get_params")
    try:
        return found()
    except Exception as error:
        raise CommandError(
            f"--estimator {name} cannot be made without arguments ({one_line(error)}); choose one that can"
        ) from None


def kind_of(estimator: Any, name: str) -> str:
    """Say whether an estimator is a classifier or a regressor.

    Parameters
    ----------
    estimator : object
    name : str
        Its name, for messages.

    Returns
    -------
    {'classifier', 'regressor'}

    Raises
    ------
    CommandError
        If it is neither.
    """
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(estimator):
        return "classifier"
    if is_regressor(estimator):
        return "regressor"
    raise CommandError(f"--estimator {name} is neither a classifier nor a regressor; choose one that is")
