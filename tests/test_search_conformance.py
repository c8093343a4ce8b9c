"""scikit-learn's checks of estimators, over the searches."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV

SEARCHES = [
    GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2, error_score="raise"),
    GridSearchCV(RandomForestClassifier(random_state=0), {"max_depth": [2, 4], "n_estimators": [5]}, cv=2),
    RandomizedSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, random_state=0),
    RandomizedSearchCV(RandomForestRegressor(random_state=0), {"n_estimators": [2, 5]}, n_iter=2, cv=2),
]


def declared(search):
    """Return what scikit-learn declares for its own searches: Ridge gives no warning to catch."""
    return (
        {"check_supervised_y_2d": "DataConversionWarning not caught"}
        if isinstance(search.estimator, Ridge)
        else {}
    )


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(SEARCHES, expected_failed_checks=declared)
def test_conformance(estimator, check):
    check(estimator)
