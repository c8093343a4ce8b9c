"""What a search must equal: scikit-learn's own, which fits every candidate on every fold."""

import numpy as np
from sklearn import model_selection
from sklearn.base import clone

from hpcml.model_selection.drawn import with_seed


def score_columns(search):
    """Return the columns of the results that hold scores."""
    return {k: v for k, v in search.cv_results_.items() if k.startswith(("split", "mean_t", "std_t", "rank"))}


def assert_equal_to_separate_fits(search, X, y, fit=None):
    """Assert that the scores of a fitted search are those of separate fits, to the bit."""
    estimator = clone(search.estimator)
    seed = search.plan_.seed
    grid = [
        {name: [value] for name, value in params.items()}
        for params in with_seed(estimator, search.cv_results_["params"], seed)
    ]
    separate = model_selection.GridSearchCV(
        estimator,
        grid,
        scoring=search.scoring,
        cv=search.cv,
        refit=False,
        return_train_score=search.return_train_score,
    ).fit(X, y, **(fit or {}))
    found, expected = score_columns(search), score_columns(separate)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values, err_msg=key)
