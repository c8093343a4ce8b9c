"""What the batches of several families of estimators have in common; see `hpcml.protocol`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpcml.protocol import Batch

__all__ = ["candidate_estimators", "one_batch_a_fold", "response_values", "weights_alone"]


#: Values that nobody can change.
_PLAIN = (str, int, float, type(None))


def candidate_estimators(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return an estimator for every candidate, each with copies of its own, as scikit-learn's clones have.

    Parameters
    ----------
    estimator : estimator
        Gives the parameters that a candidate does not set; none of them may be an estimator.
    candidates : iterable of mapping
        Settings of parameters.

    Raises
    ------
    ValueError
        If a candidate sets something that is not a parameter.
    """
    base = estimator.get_params(deep=False)
    made = []
    for settings in candidates:
        unknown = sorted(set(settings) - set(base))
        if unknown:
            raise ValueError(
                f"Parameters of {type(estimator).__name__} must be among {', '.join(base)}. "
                f"Got {', '.join(unknown)} instead."
            )
        values = {**base, **settings}.items()
        own = {name: value if isinstance(value, _PLAIN) else copy.deepcopy(value) for name, value in values}
        made.append(type(estimator)(**own))
    return made


def one_batch_a_fold(costs: Sequence[float], n_folds: int, shared: str) -> list[Batch]:
    """Return one batch of all candidates for every fold.

    Parameters
    ----------
    costs : sequence of float
        Relative time of a separate fit of each candidate, not 0.
    n_folds : int
    shared : str
        What is shared, where there are several candidates.

    Examples
    --------
    >>> from hpcml.training.grids import one_batch_a_fold
    >>> one_batch_a_fold([1.0, 3.0], 2, "a pass")[1].weights
    (0.25, 0.75)
    """
    if not costs:
        return []
    total = sum(costs)
    weights = tuple(cost / total for cost in costs)
    text = shared if len(costs) > 1 else "nothing: there is no other candidate"
    return [
        Batch(
            candidates=tuple(range(len(costs))),
            folds=(fold,),
            cost=total,
            shared=text,
            weights=weights,
            asked={"fits": len(costs)},
            done={"fits": 1},
        )
        for fold in range(n_folds)
    ]


def weights_alone(fit_params: Mapping[str, Any]) -> Any:
    """Return ``sample_weight`` of the arguments of `fit`, or None; raise if there are others."""
    others = sorted(set(fit_params) - {"sample_weight"})
    if others:
        raise TypeError(f"fit takes sample_weight. Got {', '.join(others)} instead.")
    return fit_params.get("sample_weight")


def response_values(fitted: Any, responses: Sequence[str], rows: Any) -> dict[str, Any]:
    """Return what a fitted estimator's methods say of some rows, by their names; nothing for None."""
    return {} if rows is None else {name: getattr(fitted, name)(rows) for name in responses}
