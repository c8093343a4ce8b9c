"""What a search draws at random, and how a journal keeps it: splits, candidates, the shared seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from hpcml.model_selection.candidates import with_parameters
from hpcml.model_selection.journal import decode_splits, encode_splits
from hpcml.model_selection.planning import reason_not_to_share
from hpcml.model_selection.rows import as_rows, n_rows

__all__ = ["Drawn", "draw_seed", "draw_splits", "narrow_classes", "unseeded_names", "with_seed"]

# What estimators draw as seeds themselves; fits scikit-learn's check on every platform.
_MAX_SEED = np.iinfo(np.int32).max

# They ask of classes only which rows have the same, and in which order classes are sorted and first met.
_STRATIFIED = (StratifiedKFold, StratifiedShuffleSplit, RepeatedStratifiedKFold)


@dataclass(frozen=True)
class Drawn:
    """Splits, candidates and seed of a search.

    Parameters
    ----------
    splits : list of (ndarray of int, ndarray of int)
    candidates : list of dict
    seed : int or None
    """

    splits: list[tuple[Any, Any]]
    candidates: list[dict[str, Any]]
    seed: int | None

    def encoded(self, n: int, spaces: Any) -> dict[str, Any]:
        """Return what a journal keeps; `spaces` are the lists and distributions that candidates came from."""
        return {
            "n_rows": n,
            "splits": encode_splits(self.splits, n),
            "candidates": [
                {name: _encode(value, name, spaces) for name, value in parameters.items()}
                for parameters in self.candidates
            ],
            "seed": self.seed,
        }

    @classmethod
    def decoded(cls, kept: Mapping[str, Any], spaces: Any) -> "Drawn":
        """Return what a journal kept."""
        candidates = [
            {name: _decode(value, spaces) for name, value in parameters.items()}
            for parameters in kept["candidates"]
        ]
        return cls(decode_splits(kept["splits"], kept["n_rows"]), candidates, kept["seed"])


def narrow_classes(y: Any) -> Any:
    """Return small whole numbers in one byte each: they are sorted several times as fast.

    Parameters
    ----------
    y : array-like or None
        Anything else stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.model_selection.drawn import narrow_classes
    >>> narrow_classes(np.array([1, 0, 2])).dtype, narrow_classes(np.array([1, 1000])).dtype
    (dtype('int8'), dtype('int64'))
    """
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        return y
    limits = np.iinfo(np.int8)
    return y.astype(np.int8) if limits.min <= y.min() and y.max() <= limits.max else y


def draw_splits(cv: Any, X: Any, y: Any, params: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return the splits of `cv`.

    Raises
    ------
    ValueError
        If `cv` promises another number of them.
    IndexError
        If a mask has another length than the table.
    """
    if type(cv) in _STRATIFIED:
        y = narrow_classes(y)
    n_splits = cv.get_n_splits(X, y, **params)
    n = n_rows(X)
    splits = [(as_rows(train, n), as_rows(test, n)) for train, test in cv.split(X, y, **params)]
    if len(splits) != n_splits:
        raise ValueError(
            "cv.split and cv.get_n_splits return inconsistent results. "
            f"Expected {n_splits} splits, got {len(splits)}"
        )
    return splits


def draw_seed(estimator: Any, candidates: Sequence[Mapping[str, Any]]) -> int | None:
    """Draw the seed that fits share whose ``random_state`` is None; None if there are none such."""
    if any(unseeded_names(estimator, candidates)):
        return int(check_random_state(None).randint(_MAX_SEED))
    return None


def with_seed(
    estimator: Any, candidates: Sequence[Mapping[str, Any]], seed: int | None
) -> list[dict[str, Any]]:
    """Return candidates in which the seed stands for every ``random_state=None`` of what shares."""
    if seed is None:
        return [dict(parameters) for parameters in candidates]
    names = unseeded_names(estimator, candidates)
    return [{**own, **dict.fromkeys(none, seed)} for own, none in zip(candidates, names, strict=True)]


def unseeded_names(estimator: Any, candidates: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the parameters ``random_state`` that are None, of candidates or of the steps of pipelines.

    Parameters
    ----------
    estimator : estimator
        Only estimators that share work are looked at: of any other one, every fit draws as it does alone.
    candidates : sequence of dict

    Returns
    -------
    list of list of str
        One a candidate.
    """
    if type(estimator) is not Pipeline:
        params = estimator.get_params(deep=False) if _shares(estimator) else {"random_state": 0}
        shares = "random_state" in params and _shares(estimator)
        return [
            ["random_state"] if shares and {**params, **own}["random_state"] is None else []
            for own in candidates
        ]
    usual = _unseeded_steps(estimator)
    return [_unseeded_steps(estimator, own) if _changes_steps(own) else usual for own in candidates]


def _changes_steps(parameters: Mapping[str, Any]) -> bool:
    """Say whether a candidate may have other estimators, or other seeds, than the pipeline itself."""
    return any(
        "__" not in name
        or name.endswith("random_state")
        or hasattr(value, "get_params")
        or type(value) is str
        for name, value in parameters.items()
    )


def _unseeded_steps(pipeline: Any, parameters: Mapping[str, Any] | None = None) -> list[str]:
    try:
        found = with_parameters(pipeline, parameters or {}).get_params(deep=True)
    except Exception:  # a candidate that is not allowed: its fit tells why
        return []
    names = []
    for name, value in found.items():
        owner, _, parameter = name.rpartition("__")
        if parameter == "random_state" and value is None and owner and _shares(found.get(owner)):
            names.append(name)
    return names


def _shares(estimator: Any) -> bool:
    return reason_not_to_share(estimator) is None


def _as_list(spaces: Any) -> list[Mapping[str, Any]]:
    return [spaces] if isinstance(spaces, Mapping) else list(spaces)


def _encode(value: Any, name: str, spaces: Any) -> Any:
    plain = _encode_plain(value)
    if plain is not None:
        return plain
    for k, space in enumerate(_as_list(spaces)):
        if name in space and not hasattr(space[name], "rvs"):
            for i, item in enumerate(space[name]):
                if item is value:
                    return {"item": [k, name, i]}
    raise TypeError(
        f"parameter {name!r} cannot be kept in the journal: a distribution drew a {type(value).__name__}, "
        "and only numbers, texts and tuples of them can be. Draw from a list, or give journal=None."
    )


def _encode_plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return {"value": value}
    if (
        isinstance(value, np.generic)
        and value.dtype.kind in "biufU"
        and value.dtype.itemsize <= _widest(value)
    ):
        return {"value": value.item(), "dtype": value.dtype.str}
    if type(value) in (tuple, list):
        items = [_encode_plain(item) for item in value]
        return None if any(item is None for item in items) else {type(value).__name__: items}
    return None


def _widest(value: Any) -> int:
    return value.dtype.itemsize if value.dtype.kind == "U" else 8  # JSON has no longer floats than doubles


def _decode(kept: Mapping[str, Any], spaces: Any) -> Any:
    if "item" in kept:
        k, name, i = kept["item"]
        return list(_as_list(spaces)[k][name])[i]
    for kind in (tuple, list):
        if kind.__name__ in kept:
            return kind(_decode(item, spaces) for item in kept[kind.__name__])
    return np.dtype(kept["dtype"]).type(kept["value"]) if "dtype" in kept else kept["value"]
