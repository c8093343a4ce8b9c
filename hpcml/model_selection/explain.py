"""What a search would share, told before any work."""

from typing import Any

from sklearn.base import is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from hpcml.model_selection.arguments import route
from hpcml.model_selection.base import SharingSearch
from hpcml.model_selection.evaluation import plan_candidates
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.row_sharded import unpacked
from hpcml.model_selection.rows import n_rows, take_params
from hpcml.model_selection.scoring import Scoring

__all__ = ["explain_plan"]


def explain_plan(search: Any, X: Any, y: Any = None, **params: Any) -> Plan:
    """Say what a search would share, and what it would do, without fitting anything.

    Parameters
    ----------
    search : GridSearchCV, RandomizedSearchCV or a halving search of hpcml
        Not changed. Of a halving search it is the first iteration that is planned.
    X, y, **params
        As for its ``fit``; only the number of splits comes from them.

    Returns
    -------
    hpcml.model_selection.Plan
        What ``search.plan_`` will be, but for the seed, which is drawn by ``fit``. Its text tells the work
        asked for and done; its `table` what is shared, and where nothing is, why.

    Raises
    ------
    TypeError
        If it is no search of hpcml.
    ValueError
        If a parameter of the search is not allowed, or a candidate sets something that is not a parameter.

    Notes
    -----
    The candidates of a random search are drawn as ``fit`` draws them: give it a ``random_state`` for the same
    ones. Splits that can be read only once (a generator) are used up; give a list.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.svm import SVC
    >>> from hpcml.model_selection import GridSearchCV, explain_plan
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1, 10]})
    >>> print(explain_plan(search, X, y))
    15 fits asked for, 15 StandardScaler; 15 fits, 5 StandardScaler done
    """
    if not isinstance(search, SharingSearch):
        raise TypeError(
            f"search must be one of hpcml.model_selection's searches. Got {type(search).__name__} instead."
        )
    search.check()
    X, y = indexable(*unpacked(X, y))
    params = take_params(params, n_rows(X))
    routed = route(search, Scoring(search.scoring, search.estimator, search.error_score), params)
    cv = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
    n_folds = cv.get_n_splits(X, y, **routed.split)
    candidates = search.first_candidates(X, y, n_folds)
    # any seed will do: batches do not depend on it
    plan, _ = plan_candidates(search.estimator, candidates, n_folds, seed=0)
    plan.seed = None
    return plan
