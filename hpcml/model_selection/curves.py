"""Scores over training sizes, or over the values of one parameter: one shared plan each."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import model_selection
from sklearn.utils import check_random_state

from hpcml.model_selection.crossval import Work
from hpcml.model_selection.results import report_failed_fits

__all__ = ["learning_curve", "validation_curve"]

# scikit-learn's, parts of the training rows
_TRAIN_SIZES = np.linspace(0.1, 1.0, 5)


def learning_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    train_sizes: Any = _TRAIN_SIZES,
    cv: Any = None,
    scoring: Any = None,
    exploit_incremental_learning: bool = False,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    shuffle: bool = False,
    random_state: Any = None,
    error_score: Any = np.nan,
    return_times: bool = False,
    params: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Score an estimator on growing parts of the training rows; all sizes and folds are one shared plan.

    Drop-in for scikit-learn's function of the same name: parameters and result are described there.

    Parameters
    ----------
    estimator, X, y, groups, cv, scoring, n_jobs, pre_dispatch, verbose, error_score, params
        As in `cross_val_score`.
    train_sizes : array-like of float or int
        Parts of the training rows, or numbers of them.
    exploit_incremental_learning : bool, default=False
        Whether ``partial_fit`` goes from size to size; then scikit-learn's own function runs.
    shuffle, random_state
        Whether, and with which seed, training rows are shuffled first.
    return_times : bool, default=False
        Whether to return times too.

    Returns
    -------
    tuple
        ``train_sizes_abs``, ``train_scores``, ``test_scores`` of shape (n_sizes, n_folds), and with
        `return_times` the times of fitting and scoring of the same shape.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.linear_model import LogisticRegression
    >>> from hpcml.model_selection import learning_curve
    >>> X, y = load_iris(return_X_y=True)
    >>> sizes, train, test = learning_curve(LogisticRegression(), X, y, cv=3, shuffle=True, random_state=0)
    >>> sizes.tolist(), test.shape
    ([10, 32, 55, 77, 100], (5, 3))
    """
    if exploit_incremental_learning:
        return tuple(
            model_selection.learning_curve(
                estimator,
                X,
                y,
                groups=groups,
                train_sizes=train_sizes,
                cv=cv,
                scoring=scoring,
                exploit_incremental_learning=True,
                n_jobs=n_jobs,
                pre_dispatch=pre_dispatch,
                verbose=verbose,
                shuffle=shuffle,
                random_state=random_state,
                error_score=error_score,
                return_times=return_times,
                params=params,
            )
        )
    work = Work(
        "learning_curve",
        estimator,
        X,
        y,
        groups=groups,
        params=params,
        cv=cv,
        scoring=scoring,
        error_score=error_score,
        n_jobs=n_jobs,
        verbose=verbose,
        pre_dispatch=pre_dispatch,
        shuffle=shuffle,
        return_times=return_times,
    )
    splits = work.split()
    sizes = _sizes(train_sizes, len(splits[0][0]))
    if verbose > 0:
        print(f"[learning_curve] Training set sizes: {sizes}")
    if shuffle:
        rng = check_random_state(random_state)
        splits = [(rng.permutation(train), test) for train, test in splits]
    records = work.records([(train[:size], test) for train, test in splits for size in sizes])
    report_failed_fits(records, error_score)
    keys = ("train_scores", "test_scores", *(("fit_time", "score_time") if return_times else ()))
    values = ([record[key] for record in records] for key in keys)
    return (sizes, *(np.asarray(of_key).reshape(-1, len(sizes)).T for of_key in values))


def _sizes(train_sizes: Any, most: int) -> NDArray[Any]:
    """Return numbers of training rows."""
    sizes = np.asarray(train_sizes)
    low, high = sizes.min(), sizes.max()
    if np.issubdtype(sizes.dtype, np.floating):
        if low <= 0 or high > 1:
            raise ValueError(
                "train_sizes has been interpreted as fractions of the maximum number of training samples "
                f"and must be within (0, 1], but is within [{low:f}, {high:f}]."
            )
        sizes = np.clip((sizes * most).astype(int), 1, most)
    elif low <= 0 or high > most:
        raise ValueError(
            "train_sizes has been interpreted as absolute numbers of training samples and must be within "
            f"(0, {most}], but is within [{low}, {high}]."
        )
    unique = np.unique(sizes)
    if len(unique) < len(sizes):
        warnings.warn(
            "Removed duplicate entries from 'train_sizes'. Number of ticks will be less than the size of "
            f"'train_sizes': {len(unique)} instead of {len(sizes)}.",
            RuntimeWarning,
            stacklevel=3,
        )
    return unique


def validation_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    param_name: str,
    param_range: Any,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    error_score: Any = np.nan,
    params: Mapping[str, Any] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Score an estimator for several values of one parameter, which share what they can.

    Drop-in for scikit-learn's function of the same name.

    Parameters
    ----------
    estimator, X, y, groups, cv, scoring, n_jobs, pre_dispatch, verbose, error_score, params
        As in `cross_val_score`.
    param_name : str
        The parameter.
    param_range : array-like of shape (n_values,)
        Its values.

    Returns
    -------
    train_scores, test_scores : ndarray of shape (n_values, n_folds)

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from hpcml.linear_model import Ridge
    >>> from hpcml.model_selection import validation_curve
    >>> X, y = load_diabetes(return_X_y=True)
    >>> train, test = validation_curve(Ridge(), X, y, param_name="alpha", param_range=[0.1, 1.0], cv=3)
    >>> test.mean(axis=1).round(2)
    array([0.49, 0.41])
    """
    work = Work(
        "validation_curve",
        estimator,
        X,
        y,
        groups=groups,
        params=params,
        cv=cv,
        scoring=scoring,
        error_score=error_score,
        n_jobs=n_jobs,
        verbose=verbose,
        pre_dispatch=pre_dispatch,
    )
    candidates = [{param_name: value} for value in param_range]
    splits = work.split()
    records = work.records(splits, candidates)
    shape = len(candidates), len(splits)
    train, test = (
        np.asarray([record[key] for record in records]).reshape(shape)
        for key in ("train_scores", "test_scores")
    )
    return train, test
