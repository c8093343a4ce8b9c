"""Scores of a fitted candidate: which responses the scorers need, and scoring from stored ones."""

import inspect
import numbers
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from traceback import format_exc
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring, get_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing

__all__ = ["RESPONSES", "Scoring", "StoredResponses"]

#: What a shared fit can compute on the test rows for the scorers.
RESPONSES = ("predict", "predict_proba", "decision_function")

# Objects of this class call one response method of the estimator, and nothing else of it.
_SCORER = type(get_scorer("accuracy"))


class _Asked(Exception):
    pass


class _Probe:
    """Stands for a fitted estimator and tells which response a scorer calls."""

    def __init__(self, estimator: Any, classes: Any) -> None:
        self._estimator = estimator
        if classes is not None:
            self.classes_ = classes
        self._asked: str | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._estimator, name)
        if name not in RESPONSES:
            return found

        def response(X: Any) -> Any:
            self._asked = name
            raise _Asked

        response.__name__ = name
        return response

    def __sklearn_tags__(self) -> Any:
        return self._estimator.__sklearn_tags__()


class _Stored:
    """One response method whose values on the rows are known, or computed when asked for: of a pipeline by
    its last step, from what the steps before it have made of the rows."""

    def __init__(
        self, name: str, fitted: Any, rows: Callable[[], Any], values: Any, last: Any, made: Callable[[], Any]
    ) -> None:
        self.__name__ = name
        self._fitted, self._rows, self._values = fitted, rows, values
        self._last, self._made = last, made

    def __call__(self, X: Any) -> Any:
        if X is not self._rows:
            return getattr(self._fitted, self.__name__)(X)
        if self._values is None:
            self._values = getattr(self._last, self.__name__)(self._made())
        return self._values


def _transformed(transformers: Sequence[Any], rows: Callable[[], Any]) -> Any:
    X = rows()
    for step in transformers:
        X = step.transform(X)
    return X


def _unfolded(fitted: Any) -> tuple[list[Any], Any]:
    """Return the transformers of a pipeline and its last step; another estimator is its own last step."""
    transformers: list[Any] = []
    while type(fitted) is Pipeline:
        steps = [step for _, step in fitted.steps]
        transformers += [step for step in steps[:-1] if step is not None and step != "passthrough"]
        fitted = steps[-1]
    return transformers, fitted


class _SeesFitted:
    """A scorer that may ask anything of an estimator: it is given the fitted one and its rows."""

    def __init__(self, scorer: Any) -> None:
        self.scorer = scorer

    def __call__(self, estimator: Any, X: Any, *target: Any, **params: Any) -> Any:
        if isinstance(estimator, StoredResponses):
            X = X() if X is estimator.rows else X
            estimator = estimator.fitted
        return self.scorer(estimator, X, *target, **params)

    def __getattr__(self, name: str) -> Any:
        if name == "scorer":  # not set yet, while copied or unpickled
            raise AttributeError(name)
        return getattr(self.scorer, name)


class StoredResponses:
    """A fitted estimator that predicts some rows once at most; a pipeline transforms them once at most.

    Nothing that it holds refers to it, so that the rows go with it: joblib waits a second for a worker that
    still has its table mapped.

    Parameters
    ----------
    fitted : estimator
        Answers everything that is not stored.
    rows : callable
        Returns the rows; called only for a response that is not stored. The scorer is given this very
        object as X, so that the rows need not be cut out of the table.
    responses : mapping of str to array
        Response method -> its values on the rows, where they are known.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from hpcml.model_selection.scoring import StoredResponses
    >>> X, y = [[0.0], [1.0]], [0, 1]
    >>> fitted = DummyClassifier().fit(X, y)
    >>> stored = StoredResponses(fitted, lambda: X, {"predict": [1, 1]})
    >>> stored.predict(stored.rows)
    [1, 1]
    """

    def __init__(self, fitted: Any, rows: Callable[[], Any], responses: Mapping[str, Any]) -> None:
        self.fitted, self.rows = fitted, rows
        transformers, last = _unfolded(fitted)
        made = cache(partial(_transformed, transformers, rows)) if transformers else rows
        for name in RESPONSES:
            if name in responses or hasattr(fitted, name):
                setattr(self, name, _Stored(name, fitted, rows, responses.get(name), last, made))

    def _accuracy(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the accuracy; of plain labels without scikit-learn's checks, which cost more than a fit."""
        predicted = self.predict(X)
        plain = all(type(each) is np.ndarray and each.ndim == 1 for each in (predicted, y))
        if plain and sample_weight is None and predicted.shape == y.shape and len(y):
            kinds = {predicted.dtype.kind, y.dtype.kind}
            if kinds <= set("iu") or kinds == {"U"}:
                return np.count_nonzero(predicted == y) / len(y)
        return ClassifierMixin.score(self, X, y, sample_weight)

    def _own_score(self, X: Any, *target: Any, **params: Any) -> Any:
        return self.fitted.score(X() if X is self.rows else X, *target, **params)

    def _routed_score(self, score: Callable[..., Any], X: Any, *target: Any, **params: Any) -> Any:
        if params:
            return self._own_score(X, *target, **params)
        # a pipeline looks who takes the weights even where there are none
        process_routing(self.fitted, "score", sample_weight=None)
        return score(X, *target)

    def __getattr__(self, name: str) -> Any:
        if name == "fitted":  # not set yet, while copied or unpickled
            raise AttributeError(name)
        found = getattr(self.fitted, name)
        if name != "score":
            return found
        mixin = _scoring_mixin(self.fitted)
        if mixin is None:
            return self._own_score
        score = self._accuracy if mixin is ClassifierMixin else partial(mixin.score, self)
        if type(self.fitted) is Pipeline and get_config()["enable_metadata_routing"]:
            return partial(self._routed_score, score)
        return score

    def __sklearn_tags__(self) -> Any:
        return self.fitted.__sklearn_tags__()


def _scoring_mixin(estimator: Any) -> Any:
    """Return scikit-learn's mixin if the estimator's `score` is the mixin's own, which only predicts.

    A pipeline scores by its last step.
    """
    score = getattr(type(_unfolded(estimator)[1]), "score", None)
    return next((mixin for mixin in (ClassifierMixin, RegressorMixin) if score is mixin.score), None)


class Scoring:
    """The scorers of a search, resolved.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        As in scikit-learn's searches.
    estimator : estimator
    error_score : 'raise' or float

    Attributes
    ----------
    scorer : callable
        ``scorer(estimator, X, y)`` returns a number, or a dict of numbers for several metrics.
    named : dict of str to callable, or None
        The scorers of several metrics.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from hpcml.model_selection.scoring import Scoring
    >>> Scoring("roc_auc", LogisticRegression(), "raise").responses(LogisticRegression(), [0, 1, 1])
    ('decision_function',)
    """

    def __init__(self, scoring: Any, estimator: Any, error_score: Any) -> None:
        self.error_score = error_score
        self.named: dict[str, Callable] | None = None
        self.default = scoring is None
        if callable(scoring):
            self.scorer = scoring
        elif scoring is None or isinstance(scoring, str):
            self.scorer = check_scoring(estimator, scoring)
        else:
            check_scoring(estimator, scoring)
            items = scoring.items() if isinstance(scoring, Mapping) else zip(scoring, scoring, strict=True)
            self.named = {name: check_scoring(estimator, scorer) for name, scorer in items}
            shown = {
                name: scorer if type(scorer) is _SCORER else _SeesFitted(scorer)
                for name, scorer in self.named.items()
            }
            self.scorer = check_scoring(estimator, shown, raise_exc=error_score == "raise")

    @property
    def public(self) -> Any:
        """What the search shows as `scorer_`."""
        return self.scorer if self.named is None else self.named

    def accepts_sample_weight(self, estimator: Any, owner: Any) -> bool:
        """Say whether weights go to the scorers; warn of each one that cannot take them."""
        scorers = self.named if self.named is not None else {"": self.scorer}
        accepted = []
        for name, scorer in scorers.items():
            accepts = self._accepts(scorer, estimator)
            accepted.append(accepts)
            if not accepts:
                label = f"{name}={scorer}" if name else f"{scorer}"
                warnings.warn(
                    f"The scoring {label} does not support sample_weight, which may lead to statistically "
                    f"incorrect results when fitting {owner} with sample_weight. ",
                    stacklevel=4,
                )
        return any(accepted)

    def _accepts(self, scorer: Any, estimator: Any) -> bool:
        if self.default:
            return "sample_weight" in inspect.signature(estimator.score).parameters
        if isinstance(scorer, _SCORER):
            return "sample_weight" in scorer.get_metadata_routing().score.requests
        return "sample_weight" in inspect.signature(scorer).parameters

    def responses(self, estimator: Any, y: Any, others: Sequence[Any] = ()) -> tuple[str, ...] | None:
        """Return the responses that the scorers call, or None if all scorers must see the fitted estimator
        itself.

        Parameters
        ----------
        estimator : estimator
            Not fitted.
        y : array-like
            Its classes take the place of the fitted ones.
        others : sequence of estimator
            Other kinds in the grid, of which scorers may call other responses.
        """
        found: set[str] = set()
        for one in (estimator, *others):
            needed = self._needed(one, y)
            if needed is None:
                return None
            found.update(needed)
        return tuple(sorted(found))

    def _needed(self, estimator: Any, y: Any) -> tuple[str, ...] | None:
        if self.default:
            return ("predict",) if _scoring_mixin(estimator) is not None else None
        scorers = list(self.named.values()) if self.named is not None else [self.scorer]
        scorers = [scorer for scorer in scorers if type(scorer) is _SCORER]
        if not scorers:
            return None
        needed: list[str] = []
        for scorer in scorers:
            try:
                probe = _Probe(estimator, np.unique(np.asarray(y)))
                scorer(probe, [[0.0]], np.asarray(y)[:1])
            except _Asked:
                needed.append(str(probe._asked))
            except Exception:
                return None  # it will fail on the fitted estimator too, where the user sees why
            else:
                return None
        return tuple(needed)

    def failed(self) -> Any:
        """Return the scores of a fit that failed."""
        return self.error_score if self.named is None else dict.fromkeys(self.named, self.error_score)

    def score(self, estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
        """Return the score, or the dict of scores, of a fitted estimator on some rows.

        Raises
        ------
        ValueError
            If a scorer returns no number.
        Exception
            What a scorer raises, if ``error_score='raise'``; otherwise a warning tells of it.
        """
        try:
            scores = (
                self.scorer(estimator, X, **params) if y is None else self.scorer(estimator, X, y, **params)
            )
        except Exception:
            if self.named is not None or self.error_score == "raise":
                raise
            self._warn(format_exc())
            scores = self.error_score
        if not isinstance(scores, dict):
            return _number(scores, self.scorer)
        for name, value in scores.items():
            if self.named is not None and isinstance(value, str):  # the traceback of a scorer that failed
                self._warn(value)
                value = self.error_score
            scores[name] = _number(value, name)
        return scores

    def _warn(self, details: str) -> None:
        warnings.warn(
            "Scoring failed. The score on this train-test partition for these parameters will be set to "
            f"{self.error_score}. Details: \n{details}",
            UserWarning,
            stacklevel=3,
        )


def _number(value: Any, scorer: Any) -> Any:
    if hasattr(value, "item"):
        with suppress(ValueError):
            value = value.item()
    if not isinstance(value, numbers.Number):
        raise ValueError(
            f"scoring must return a number, got {value} ({type(value)}) instead. (scorer={scorer})"
        )
    return value
