"""The parameters of trees and forests: what each allows and what it says in the documentation."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from typing import Any, TypeVar

from hpcml.validation import (
    BOOLEAN,
    CALLABLE,
    NONE,
    RANDOM_STATE,
    VERBOSE,
    Allowed,
    UnsupportedError,
    check_parameters,
    instance,
    integer,
    one_of,
    real,
)

__all__ = ["ATTRIBUTES", "PARAMETERS", "Parameter", "check", "documented"]

Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Parameter:
    """One parameter: the kinds of values it allows, their words, and what it means."""

    allowed: tuple[Allowed, ...]
    words: str
    text: str


_CLASSES = Parameter(
    (one_of("gini", "entropy", "log_loss"),),
    "{'gini', 'entropy', 'log_loss'}",
    "What a split improves: Gini impurity, or information gain under its two names.",
)
_REGRESSION = Parameter(
    (one_of("squared_error"),), "{'squared_error'}", "What a split improves: the variance."
)

#: By name; a name may be prefixed with "classifier:", "regressor:" or "forest:" where these differ.
PARAMETERS: dict[str, Parameter] = {
    "n_estimators": Parameter((integer(1),), "int", "Number of trees."),
    "classifier:criterion": _CLASSES,
    "regressor:criterion": _REGRESSION,
    "splitter": Parameter(
        (one_of("best"),), "{'best'}", "How a split is chosen; random splits are not supported."
    ),
    "max_depth": Parameter(
        (integer(1), NONE),
        "int or None",
        "Greatest depth of a tree. None grows until a leaf is pure or too small.",
    ),
    "min_samples_split": Parameter(
        (integer(2), real(0.0, 1.0, closed="right", integers=False)),
        "int or float",
        "Fewest rows of a node that is split; a float is a fraction of the rows, rounded up.",
    ),
    "min_samples_leaf": Parameter(
        (integer(1), real(0.0, 1.0, closed="neither", integers=False)),
        "int or float",
        "Fewest rows of a leaf; a float is a fraction of the rows, rounded up.",
    ),
    "min_weight_fraction_leaf": Parameter(
        (real(0.0, 0.5, closed="both"),),
        "float",
        "Least weight of a leaf, as a fraction of the weight of its tree.",
    ),
    "max_features": Parameter(
        (integer(1), real(0.0, 1.0, closed="right", integers=False), one_of("sqrt", "log2"), NONE),
        "int, float, {'sqrt', 'log2'} or None",
        "Features that a node looks at, drawn at random: their number, a fraction of all, the root or the "
        "logarithm of their number, or all. A node looks further until one of them varies in it.",
    ),
    "max_leaf_nodes": Parameter(
        (integer(2), NONE),
        "int or None",
        "Most leaves of a tree, which then grows best first: the split of largest improvement goes first.",
    ),
    "min_impurity_decrease": Parameter(
        (real(0.0),),
        "float",
        "Least improvement of a split, ``N_t / N * (impurity - N_t_R / N_t * right_impurity - "
        "N_t_L / N_t * left_impurity)`` in weights of rows.",
    ),
    "bootstrap": Parameter(
        (BOOLEAN,), "bool", "Whether a tree is grown on rows drawn with replacement, or on all of them."
    ),
    "oob_score": Parameter(
        (BOOLEAN, CALLABLE),
        "bool or callable",
        "Whether to score every row by the trees that were not grown on it; a callable is ``metric(y_true, "
        "y_pred)``.",
    ),
    "n_jobs": Parameter(
        (integer(), NONE),
        "int or None",
        "Threads; -1 is all cores. None is the thread budget of `hpcml.config_context`. Results do not "
        "depend on it.",
    ),
    "random_state": Parameter(
        (RANDOM_STATE,),
        "int, RandomState instance or None",
        "Decides the rows of the bootstrap and the features that a node looks at.",
    ),
    "verbose": Parameter((VERBOSE,), "int", "Above 0, growth tells on stderr how many trees it has grown."),
    "warm_start": Parameter(
        (BOOLEAN,),
        "bool",
        "Whether a further `fit` keeps the trees and adds what `n_estimators` asks for beyond them.",
    ),
    "classifier:class_weight": Parameter(
        (instance(dict), one_of("balanced"), NONE),
        "dict, 'balanced' or None",
        "Weights of the classes by label; 'balanced' gives all classes the same weight.",
    ),
    "forest:class_weight": Parameter(
        (one_of("balanced", "balanced_subsample"), instance(dict), NONE),
        "dict, {'balanced', 'balanced_subsample'} or None",
        "Weights of the classes by label; 'balanced' gives all classes the same weight, 'balanced_subsample' "
        "in the bootstrap of each tree.",
    ),
    "ccp_alpha": Parameter(
        (real(0.0),), "float", "Price of a leaf in minimal cost-complexity pruning; 0 does not prune."
    ),
    "max_samples": Parameter(
        (NONE, real(0.0, closed="neither", integers=False), integer(1)),
        "int, float or None",
        "Rows that the bootstrap draws: their number, a fraction of the weight of all rows, or as many as "
        "there are.",
    ),
    "monotonic_cst": Parameter((NONE,), "None", "Monotonic constraints are not supported."),
    "max_bins": Parameter(
        (integer(2, 255),),
        "int",
        "Most bins of a feature, from 2 to 255; a feature of no more distinct values is split exactly.",
    ),
}

ATTRIBUTES: dict[str, tuple[str, str]] = {
    "classes_": ("ndarray of shape (n_classes,)", "Labels of the classes, sorted."),
    "n_classes_": ("int", "Number of classes."),
    "estimators_": ("list", "The trees, as estimators whose ``random_state`` is their seed."),
    "tree_": ("hpcml.training.tree_view.Tree", "Structure of the tree, as arrays."),
    "max_features_": ("int", "Features that a node looked at."),
    "feature_importances_": (
        "ndarray of shape (n_features_in_,)",
        "Impurity decrease that each feature brings; they sum to 1 unless no node was split.",
    ),
    "estimators_samples_": (
        "list of ndarray",
        "Rows that each tree was grown on, drawn anew at every access.",
    ),
    "oob_score_": ("float", "Score of the rows by trees that were not grown on them; with `oob_score` only."),
    "oob_decision_function_": (
        "ndarray of shape (n_samples, n_classes)",
        "Class probabilities of the rows by trees that were not grown on them; with `oob_score` only.",
    ),
    "oob_prediction_": (
        "ndarray of shape (n_samples,)",
        "Prediction of the rows by trees that were not grown on them; with `oob_score` only.",
    ),
    "n_features_in_": ("int", "Number of features of the training table."),
    "feature_names_in_": ("ndarray of shape (n_features_in_,)", "Names of the features, if all are strings."),
    "n_outputs_": ("int", "Always 1."),
}

#: What scikit-learn can do under these parameters, and hpcml cannot: parameter -> (values, or None for any
#: but None; what is allowed instead).
_UNSUPPORTED = {
    "criterion": (("absolute_error", "poisson"), "'squared_error'"),
    "splitter": (("random",), "'best'"),
    "monotonic_cst": (None, "None"),
}


def check(owner: str, values: dict[str, Any], allowed: dict[str, tuple[Allowed, ...]]) -> None:
    """Raise for the first parameter that is not allowed, or not supported."""
    for name, (known, instead) in _UNSUPPORTED.items():
        value = values.get(name)
        if value is not None and (known is None or (isinstance(value, str) and value in known)):
            raise UnsupportedError(
                f"The {name!r} parameter of {owner} must be {instead}. Got {value!r} instead, which hpcml "
                "does not support; scikit-learn's estimator of the same name does."
            )
    check_parameters(owner, values, allowed)


def documented(*kinds: str, attributes: tuple[str, ...]) -> Any:
    """Complete a class: its docstring from the tables above at ``{parameters}``, and ``_allowed``.

    Parameters
    ----------
    *kinds : str
        Prefixes of names in `PARAMETERS`, the more special first.
    attributes : tuple of str
        Names in `ATTRIBUTES`.
    """

    def complete(cls: Class) -> Class:
        lines, allowed = ["Parameters", "----------"], {}
        for name, parameter in list(inspect.signature(cls).parameters.items()):
            keys = [f"{kind}:{name}" for kind in kinds] + [name]
            found = next(PARAMETERS[key] for key in keys if key in PARAMETERS)
            lines.append(f"{name} : {found.words}, default={parameter.default!r}")
            lines += textwrap.wrap(found.text, 106, initial_indent="    ", subsequent_indent="    ")
            allowed[name] = found.allowed
        lines += ["", "Attributes", "----------"]
        for name in attributes:
            words, text = ATTRIBUTES[name]
            lines.append(f"{name} : {words}")
            lines += textwrap.wrap(text, 106, initial_indent="    ", subsequent_indent="    ")
        text = inspect.getdoc(cls) or ""
        cls.__doc__ = text.replace("{parameters}", "\n".join(lines))
        cls._allowed = allowed  # type: ignore[attr-defined]
        return cls

    return complete
