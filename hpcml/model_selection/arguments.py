"""The arguments of a search: are they allowed, and which of fit's parameters go where."""

import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn import get_config
from sklearn.utils.metadata_routing import process_routing

from hpcml.model_selection.scoring import Scoring
from hpcml.validation import BOOLEAN, VERBOSE, Allowed, check_parameters, integer, real

__all__ = ["Routed", "check_arguments", "check_named", "check_refit_metric", "route"]


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


def _is_cv(value: Any) -> bool:
    if value is None or integer(2).test(value):
        return True
    return (hasattr(value, "split") and hasattr(value, "get_n_splits")) or (
        isinstance(value, Iterable) and not isinstance(value, str)
    )


#: What each parameter may be.
_ALLOWED = {
    "estimator": Allowed(
        lambda v: hasattr(v, "fit") and not isinstance(v, type),
        "an estimator: an object with a method fit",
    ),
    "scoring": Allowed(
        lambda v: v is None or isinstance(v, (str, list, tuple, Mapping)) or callable(v),
        "a scorer's name, a callable, a list, tuple or dict of those, or None",
    ),
    "n_jobs": Allowed(
        lambda v: v is None or (integer().test(v) and v != 0), "an integer other than 0 or None"
    ),
    "refit": Allowed(
        lambda v: BOOLEAN.test(v) or isinstance(v, str) or callable(v),
        "a bool, the name of a metric or a callable",
    ),
    "cv": Allowed(_is_cv, "an integer of at least 2, a splitter, an iterable of (train, test) or None"),
    "verbose": Allowed(VERBOSE.test, "an integer of at least 0"),
    "pre_dispatch": Allowed(
        lambda v: integer().test(v) or isinstance(v, str), "an integer or an expression of n_jobs"
    ),
    "error_score": Allowed(
        lambda v: (isinstance(v, numbers.Real) and not isinstance(v, bool)) or v == "raise",
        "the string 'raise' or a number",
    ),
    "return_train_score": Allowed(BOOLEAN.test, "a bool"),
    "return_estimator": Allowed(BOOLEAN.test, "a bool"),
    "return_indices": Allowed(BOOLEAN.test, "a bool"),
    "return_times": Allowed(BOOLEAN.test, "a bool"),
    "shuffle": Allowed(BOOLEAN.test, "a bool"),
    "n_iter": Allowed(integer(1).test, "an integer of at least 1"),
    "factor": Allowed(real(1, closed="neither").test, "a number above 1"),
    "resource": Allowed(lambda v: isinstance(v, str), "'n_samples' or the name of a parameter"),
    "max_resources": Allowed(
        lambda v: v == "auto" or integer(1).test(v), "an integer of at least 1 or 'auto'"
    ),
    "min_resources": Allowed(
        lambda v: v in ("exhaust", "smallest") or integer(1).test(v),
        "an integer of at least 1, 'exhaust' or 'smallest'",
    ),
    "aggressive_elimination": Allowed(BOOLEAN.test, "a bool"),
    "n_candidates": Allowed(
        lambda v: v == "exhaust" or integer(1).test(v), "an integer of at least 1 or 'exhaust'"
    ),
    "journal": Allowed(
        lambda v: v is None or isinstance(v, (str, os.PathLike)), "the path of a file or None"
    ),
}


def check_arguments(search: Any) -> None:
    """Check the parameters of a search, except its grid, which ParameterGrid and ParameterSampler check.

    Raises
    ------
    ValueError
        If one is not allowed; names it, what is allowed and what came.
    """
    check_named(type(search).__name__, **search.get_params(deep=False))


def check_named(owner: str, **values: Any) -> None:
    """Check parameters of a search, or of a function, by their names.

    Raises
    ------
    ValueError
        If one is not allowed; names it, what is allowed and what came.
    """
    allowed = {name: (kind,) for name, kind in _ALLOWED.items()}
    check_parameters(owner, values, allowed)
