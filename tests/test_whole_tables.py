"""What needs all rows in one process refuses rows that MPI ranks share, before it looks at them."""

import pytest

import hpcml
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor
from hpcml.validation import UnsupportedError

TREES = [
    DecisionTreeClassifier(),
    DecisionTreeRegressor(),
    RandomForestClassifier(n_estimators=2),
    RandomForestRegressor(n_estimators=2),
]
SEARCHES = [
    GridSearchCV(TREES[0], {"max_depth": [1, 2]}, cv=2),
    RandomizedSearchCV(TREES[0], {"max_depth": [1, 2]}, n_iter=2, cv=2),
]


@pytest.mark.parametrize("estimator", TREES + SEARCHES, ids=lambda estimator: type(estimator).__name__)
def test_rows_of_one_rank_are_not_taken_for_the_whole_table(estimator):
    name = type(estimator).__name__
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    with hpcml.config_context(communicator="mpi"):
        with pytest.raises(UnsupportedError, match=f"{name} needs all rows .*communicator='serial'"):
            estimator.fit(X, y)
        with hpcml.config_context(communicator="serial"):
            assert estimator.fit(X, y) is estimator
