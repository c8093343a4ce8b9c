"""The arguments of a search: are they allowed, and which of fit's parameters go where."""

import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn import get_config
from sklearn.callback import FitCallback
from sklearn.utils.metadata_routing import process_routing

from hpcml.model_selection.scoring import Scoring

__all__ = ["Routed", "check_arguments", "check_refit_metric", "has_callbacks", "route"]


@dataclass(frozen=True)
class Routed:
    """Parameters of ``fit`` by who gets them: the estimator's fit, the splitter, the scorers."""

    fit: Mapping[str, Any]
    split: Mapping[str, Any]
    score: Mapping[str, Any]


def route(search: Any, scoring: Scoring, params: Mapping[str, Any]) -> Routed:
    """Send the parameters of ``fit`` where scikit-learn sends them, with and without its metadata routing."""
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(search, "fit", **params)
        return Routed(routed["estimator"]["fit"], routed["splitter"]["split"], routed["scorer"]["score"])
    fit_params = dict(params)
    groups = fit_params.pop("groups", None)
    weight = fit_params.get("sample_weight")
    scored = weight is not None and scoring.accepts_sample_weight(search.estimator, search)
    return Routed(fit_params, {"groups": groups}, {"sample_weight": weight} if scored else {})


def has_callbacks(search: Any) -> bool:
    """Say whether callbacks were given to `set_callbacks`, wherever scikit-learn keeps them."""
    held = (value for value in vars(search).values() if isinstance(value, list))
    return any(
        isinstance(item, FitCallback) for value in held for item in value if not isinstance(item, type)
    )


def check_refit_metric(refit: Any, scores: Iterable[str]) -> None:
    """Check that `refit` says which of several metrics is the best one's.

    Raises
    ------
    ValueError
    """
    if refit is False or callable(refit) or (isinstance(refit, str) and refit in scores):
        return
    raise ValueError(
        "For multi-metric scoring, the parameter refit must be set to a scorer key or a callable to refit "
        "an estimator with the best parameter setting on the whole data and make the best_* attributes "
        "available for that metric. If this is not needed, refit should be set to False explicitly. "
        f"{refit!r} was passed."
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_cv(value: Any) -> bool:
    if value is None or _is_integer(value):
        return True
    return (hasattr(value, "split") and hasattr(value, "get_n_splits")) or (
        isinstance(value, Iterable) and not isinstance(value, str)
    )


def _is_flag(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")


def check_arguments(search: Any) -> None:
    """Check the parameters of a search, except its grid, which ParameterGrid and ParameterSampler check.

    Raises
    ------
    ValueError
        If one is not allowed; names it, what is allowed and what came.
    """
    checks = {
        "estimator": (
            lambda v: hasattr(v, "fit") and not isinstance(v, type),
            "an estimator: an object with a method fit",
        ),
        "scoring": (
            lambda v: v is None or isinstance(v, (str, list, tuple, Mapping)) or callable(v),
            "a scorer's name, a callable, a list, tuple or dict of those, or None",
        ),
        "n_jobs": (
            lambda v: v is None or (_is_integer(v) and v != 0),
            "an integer other than 0 or None",
        ),
        "refit": (
            lambda v: _is_flag(v) or isinstance(v, str) or callable(v),
            "a bool, the name of a metric or a callable",
        ),
        "cv": (_is_cv, "an integer, a splitter, an iterable of (train, test) or None"),
        "verbose": (lambda v: _is_flag(v) or (_is_integer(v) and v >= 0), "an integer of at least 0"),
        "pre_dispatch": (
            lambda v: _is_integer(v) or isinstance(v, str),
            "an integer or an expression of n_jobs",
        ),
        "error_score": (
            lambda v: _is_real(v) or (isinstance(v, str) and v == "raise"),
            "the string 'raise' or a number",
        ),
        "return_train_score": (_is_flag, "a bool"),
        "n_iter": (lambda v: _is_integer(v) and v >= 1, "an integer of at least 1"),
        "journal": (lambda v: v is None or isinstance(v, (str, os.PathLike)), "the path of a file or None"),
    }
    for name, value in search.get_params(deep=False).items():
        if name in checks and not checks[name][0](value):
            raise ValueError(
                f"The {name!r} parameter of {type(search).__name__} must be {checks[name][1]}. "
                f"Got {value!r} instead."
            )
