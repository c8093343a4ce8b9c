"""What the parameters of logistic regression say about the penalty, in their old and their new form."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.training.inputs import INTERCEPT_SCALINGS

__all__ = ["Penalty", "resolved_penalty"]

#: Frames between the warning and the caller of `fit`.
_STACK = 5


@dataclass(frozen=True)
class Penalty:
    """``1 / C ((1 - l1_ratio) / 2 ||w||^2 + l1_ratio ||w||_1)``.

    Parameters
    ----------
    C, l1_ratio : float
    intercept_scaling : float or None
        The intercept divided by this is penalised too; None leaves it alone.
    """

    C: float
    l1_ratio: float
    intercept_scaling: float | None = None

    def strengths(
        self, n_columns: int, n_features: int, total_weight: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the l2 and the l1 strength of every parameter, the intercepts last, for the mean loss.

        Examples
        --------
        >>> from hpcml.linear_model.penalty import Penalty
        >>> l2, l1 = Penalty(C=0.1, l1_ratio=0.25).strengths(1, 2, total_weight=100.0)
        >>> l2, l1
        (array([[0.075, 0.075, 0.   ]]), array([[0.025, 0.025, 0.   ]]))
        """
        strength = 1.0 / (self.C * total_weight)
        l2 = np.full((n_columns, n_features + 1), strength * (1.0 - self.l1_ratio))
        l1 = np.full((n_columns, n_features + 1), strength * self.l1_ratio)
        scaling = math.inf if self.intercept_scaling is None else self.intercept_scaling
        l2[:, -1] /= scaling**2
        l1[:, -1] /= scaling
        return l2, l1


def resolved_penalty(model: Any) -> Penalty:
    """Return the penalty that a logistic regression asks for.

    Parameters
    ----------
    model : LogisticRegression
        Its `penalty`, `C`, `l1_ratio`, `solver`, `dual`, `fit_intercept` and `intercept_scaling` count, and
        `n_jobs` is warned about.

    Raises
    ------
    ValueError
        If scikit-learn's solver of this name has no such penalty.

    Warns
    -----
    FutureWarning
        About parameters that scikit-learn has deprecated.
    UserWarning
        About parameters that contradict each other.
    """
    kind = _kind(model)
    _check_solver(model.solver, kind, model.dual)
    ratio = model.l1_ratio
    if kind != "elasticnet" and ratio is not None and 0 < ratio < 1:
        _warn(f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={kind})")
    if (model.penalty == "l2" and ratio != 0) or (model.penalty == "l1" and ratio != 1):
        _warn(
            f"Inconsistent values: penalty={model.penalty} with l1_ratio={ratio}. penalty is deprecated. "
            "Please use l1_ratio only."
        )
    if kind == "elasticnet" and ratio is None:
        raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
    C = float(model.C)
    if model.penalty is None:
        if C != 1.0:
            _warn("Setting penalty=None will ignore the C and l1_ratio parameters")
        C = math.inf
    if model.n_jobs is not None:
        _warn(
            "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
            f"'n_jobs={model.n_jobs}', please leave it unspecified; hpcml.config_context sets the threads.",
            FutureWarning,
        )
    l1_ratio = {"l1": 1.0, "elasticnet": ratio}.get(kind or "l2", 0.0)
    scaling = None
    if model.solver == "liblinear":
        scaling = float(np.clip(float(model.intercept_scaling), *INTERCEPT_SCALINGS))
    return Penalty(C, float(l1_ratio), scaling)


def _warn(text: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(text, category, stacklevel=_STACK)


def _kind(model: Any) -> str | None:
    """Return the name of the penalty."""
    if model.penalty != "deprecated":
        _warn(
            "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this warning, "
            "leave 'penalty' set to its default value and use 'l1_ratio' or 'C' instead: l1_ratio=0 for "
            "penalty='l2', l1_ratio=1 for penalty='l1', a number between for penalty='elasticnet', and "
            "C=np.inf for penalty=None.",
            FutureWarning,
        )
        kind: str | None = model.penalty
        return kind
    if model.l1_ratio is None:
        _warn(
            "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. Use "
            "0<=l1_ratio<=1 instead.",
            FutureWarning,
        )
    if math.inf == model.C:
        return None
    if model.l1_ratio is None or model.l1_ratio == 0:
        return "l2"
    return "l1" if model.l1_ratio == 1 else "elasticnet"


def _check_solver(solver: str, kind: str | None, dual: bool) -> None:
    if solver not in ("liblinear", "saga") and kind not in ("l2", None):
        raise ValueError(f"Solver {solver} supports only 'l2' or None penalties, got {kind} penalty.")
    if solver != "liblinear" and dual:
        raise ValueError(f"Solver {solver} supports only dual=False, got dual={dual}")
    if kind == "elasticnet" and solver != "saga":
        raise ValueError(f"Only 'saga' solver supports elasticnet penalty, got solver={solver}.")
    if solver == "liblinear" and kind is None:
        raise ValueError("C=np.inf as well as penalty=None is not supported for the liblinear solver")
