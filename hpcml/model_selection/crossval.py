"""Cross-validation of one estimator, over the shared plan."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from hpcml.model_selection.arguments import Routed, check_named
from hpcml.model_selection.drawn import draw_seed
from hpcml.model_selection.evaluation import Options, evaluate
from hpcml.model_selection.fitting import Record
from hpcml.model_selection.results import NO_FITS, insert_error_scores, report_failed_fits
from hpcml.model_selection.rows import as_rows, n_rows, take_params
from hpcml.model_selection.scoring import Scoring
from hpcml.validation import check_whole_table

__all__ = ["Work", "cross_val_score", "cross_validate"]


def _routed(
    owner: str, estimator: Any, cv: Any, scorer: Any, groups: Any, params: Mapping[str, Any]
) -> Routed:
    """Send parameters where scikit-learn sends them, with and without its metadata routing."""
    if not sklearn.get_config()["enable_metadata_routing"]:
        return Routed(params, {"groups": groups}, {})
    router = MetadataRouter(owner=owner)
    for name, receiver, callee in (
        ("splitter", cv, "split"),
        ("estimator", estimator, "fit"),
        ("scorer", scorer, "score"),
    ):
        router.add(**{name: receiver}, method_mapping=MethodMapping().add(caller="fit", callee=callee))
    try:
        routed = process_routing(router, "fit", **params)
    except UnsetMetadataPassedError as error:
        raise UnsetMetadataPassedError(
            message=str(error).replace(f"{owner}.fit", owner),
            unrequested_params=error.unrequested_params,
            routed_params=error.routed_params,
        ) from None
    return Routed(routed["estimator"]["fit"], routed["splitter"]["split"], routed["scorer"]["score"])


class Work:
    """The arguments that cross-validation and curves have in common, checked and made ready."""

    def __init__(
        self,
        owner: str,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        groups: Any,
        params: Mapping[str, Any] | None,
        cv: Any,
        scoring: Any,
        error_score: Any,
        n_jobs: int | None,
        verbose: int,
        pre_dispatch: int | str,
        **others: Any,
    ) -> None:
        if groups is not None and sklearn.get_config()["enable_metadata_routing"]:
            raise ValueError(
                "`groups` can only be passed if metadata routing is not enabled via "
                "`sklearn.set_config(enable_metadata_routing=True)`. When routing is enabled, pass `groups` "
                "alongside other metadata via the `params` argument instead."
            )
        options: dict[str, Any] = {"n_jobs": n_jobs, "verbose": verbose, "pre_dispatch": pre_dispatch}
        options["error_score"] = error_score
        check_named(owner, estimator=estimator, cv=cv, scoring=scoring, **options, **others)
        check_whole_table(owner)
        self.estimator, self.options = estimator, {**options, "verbose": int(verbose)}
        self.X, self.y, groups = indexable(X, y, groups)
        self.cv = check_cv(cv, self.y, classifier=is_classifier(estimator))
        self.scoring = Scoring(scoring, estimator, error_score)
        params = take_params(params or {}, n_rows(self.X))
        self.routed = _routed(owner, estimator, self.cv, self.scoring.scorer, groups, params)

    def split(self) -> list[tuple[Any, Any]]:
        """Return the splits."""
        pairs = self.cv.split(self.X, self.y, **self.routed.split)
        n = n_rows(self.X)
        return [(as_rows(train, n), as_rows(test, n)) for train, test in pairs]

    def records(
        self,
        splits: list[tuple[Any, Any]],
        candidates: Sequence[Mapping[str, Any]] = ({},),
        *,
        return_train_score: bool = True,
        refuse: str | None = None,
    ) -> list[Record]:
        """Evaluate candidates on splits."""
        if not splits or not candidates:
            raise ValueError(NO_FITS)
        _, records = evaluate(
            clone(self.estimator),
            self.X,
            self.y,
            candidates,
            splits,
            scoring=self.scoring,
            routed=self.routed,
            seed=draw_seed(self.estimator, candidates) if refuse is None else None,
            options=Options(progress=False, return_train_score=return_train_score, **self.options),
            refuse=refuse,
        )
        return records


def _scores(records: Sequence[Record], key: str) -> dict[str, NDArray[Any]]:
    """Return the scores by metric, one a record."""
    first = records[0][key]
    if not isinstance(first, dict):
        return {"score": np.asarray([record[key] for record in records])}
    return {name: np.asarray([record[key][name] for record in records]) for name in first}


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: Mapping[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: Any = np.nan,
) -> dict[str, Any]:
    """Evaluate one estimator by cross-validation; folds share what its class can share.

    Drop-in for scikit-learn's function of the same name: parameters and result are described there.

    Parameters
    ----------
    estimator : estimator object
        Not fitted.
    X, y : array-like
        The table and its target.
    groups, scoring, cv, n_jobs, verbose, params, pre_dispatch, return_train_score, error_score
        As in scikit-learn.
    return_estimator, return_indices : bool, default=False
        As in scikit-learn. With fitted estimators in the result, every fold is fitted on its own.

    Returns
    -------
    dict
        ``fit_time``, ``score_time``, ``test_score`` (or one ``test_<metric>`` each), and what was asked for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from hpcml.linear_model import LogisticRegression
    >>> from hpcml.model_selection import cross_validate
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_validate(LogisticRegression(), X, y, cv=3)["test_score"].round(2)
    array([0.98, 0.96, 0.98])
    """
    work = Work(
        "cross_validate",
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
        return_train_score=return_train_score,
        return_estimator=return_estimator,
        return_indices=return_indices,
    )
    splits = work.split()
    records = work.records(
        splits,
        return_train_score=bool(return_train_score),
        refuse="the fitted estimators are wanted" if return_estimator else None,
    )
    report_failed_fits(records, error_score)
    if callable(scoring):
        insert_error_scores(records, error_score)
    found: dict[str, Any] = {
        name: np.array([record[name] for record in records]) for name in ("fit_time", "score_time")
    }
    if return_estimator:
        found["estimator"] = [record["estimator"] for record in records]
    if return_indices:
        train, test = zip(*splits, strict=True)
        found["indices"] = {"train": train, "test": test}
    train_scores = _scores(records, "train_scores") if return_train_score else {}
    for name, values in _scores(records, "test_scores").items():
        found[f"test_{name}"] = values
        if return_train_score:
            found[f"train_{name}"] = train_scores[name]
    return found


def cross_val_score(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: Mapping[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    error_score: Any = np.nan,
) -> NDArray[Any]:
    """Return the test scores of one estimator by cross-validation; folds share what its class can share.

    Drop-in for scikit-learn's function of the same name.

    Parameters
    ----------
    estimator, X, y, groups, cv, n_jobs, verbose, params, pre_dispatch, error_score
        As in `cross_validate`.
    scoring : str, callable or None, default=None
        One metric; None is the estimator's `score`.

    Returns
    -------
    ndarray of float, shape (n_folds,)

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from hpcml.linear_model import Ridge
    >>> from hpcml.model_selection import cross_val_score
    >>> X, y = load_diabetes(return_X_y=True)
    >>> cross_val_score(Ridge(), X, y, cv=3).round(2)
    array([0.37, 0.42, 0.44])
    """
    if isinstance(scoring, (list, tuple, dict, set)):
        raise ValueError(
            "The 'scoring' parameter of cross_val_score must be a scorer's name, a callable or None. "
            f"Got {scoring!r} instead."
        )
    scorer = check_scoring(estimator, scoring=scoring)
    found = cross_validate(
        estimator,
        X,
        y,
        groups=groups,
        scoring=None if scoring is None else {"score": scorer},
        cv=cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
        error_score=error_score,
    )
    return np.asarray(found["test_score"])
