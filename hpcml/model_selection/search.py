"""Searches over grids of parameters that compute shared work once."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
from sklearn import model_selection
from sklearn.model_selection import ParameterGrid, ParameterSampler

from hpcml.model_selection.base import SharingSearch

__all__ = ["GridSearchCV", "RandomizedSearchCV"]


class GridSearchCV(SharingSearch, model_selection.GridSearchCV):
    """Search over every candidate of a grid, computing what candidates and folds share once.

    Drop-in for scikit-learn's class of the same name: what is not described here is as there. Estimators
    that can share work (`hpcml.protocol`) are fitted in batches, with scores equal to those of separate
    fits; any other one is fitted candidate by fold.

    Parameters
    ----------
    estimator : estimator object
        Not fitted.
    param_grid : dict or list of dict
        Lists of values by name of parameter.
    scoring : str, callable, list, tuple, dict or None, default=None
        One metric or several; None is the estimator's `score`.
    n_jobs : int or None, default=None
        joblib's workers; None is 1 unless a joblib context says otherwise. Each runs its batches with the
        thread budget (`hpcml.config_context`) divided by the workers, so that None already uses all cores.
        Unless a joblib backend is active, batches whose fits keep all threads busy (`Batch.threaded`) run in
        the calling process with the threads of all workers instead.
    refit : bool, str or callable, default=True
        Whether, and by which metric or rule, to fit the best candidate on all rows.
    cv : int, splitter, iterable or None, default=None
        Splits; None is 5 folds.
    verbose : int, default=0
        From 1 on what is to do goes to stdout and progress to stderr; from 2 on every fit is told of.
    pre_dispatch : int or str, default='2*n_jobs'
        As in joblib.
    error_score : 'raise' or number, default=numpy.nan
        Score of a fit that fails.
    return_train_score : bool, default=False
        Whether to score the training rows too.
    journal : path-like, optional
        File in which finished fits are kept. The same search with the same journal, after whatever ended the
        first, does only what is missing and gives the same result; another search is refused.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_,
    multimetric_, classes_, n_features_in_, feature_names_in_
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, how much work was asked for and how much was done.

    Notes
    -----
    An estimator that shares and has ``random_state=None`` gets one seed for the whole search
    (``plan_.seed``), drawn from NumPy's global generator; the refit uses it too. A search with callbacks
    (`set_callbacks`) runs scikit-learn's own `fit`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'C': 10}
    >>> print(search.plan_)
    9 fits asked for; 9 done
    """

    _space = ("param_grid",)

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Iterable[Any]]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class RandomizedSearchCV(SharingSearch, model_selection.RandomizedSearchCV):
    """Search over candidates drawn at random, computing what candidates and folds share once.

    Drop-in for scikit-learn's class of the same name: what is not described here is as there, and what is not
    specific to the drawing is as in `GridSearchCV`.

    Parameters
    ----------
    estimator : estimator object
        Not fitted.
    param_distributions : dict or list of dict
        Lists of values, or distributions with a method ``rvs``, by name of parameter.
    n_iter : int, default=10
        How many candidates to draw.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score, journal
        As in `GridSearchCV`. A journal keeps the candidates that were drawn.
    random_state : int, RandomState instance or None, default=None
        Seed of the drawing of candidates.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_,
    multimetric_, classes_, n_features_in_, feature_names_in_
        As in scikit-learn.
    plan_ : hpcml.model_selection.Plan
        What was shared, how much work was asked for and how much was done.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection import RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = RandomizedSearchCV(SVC(), {"C": loguniform(1e-2, 1e2)}, n_iter=4, cv=3, random_state=0)
    >>> len(search.fit(X, y).cv_results_["params"])
    4
    """

    _space = ("param_distributions", "n_iter", "random_state")

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state))
