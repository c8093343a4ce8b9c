"""What needs all rows in one process refuses rows that MPI ranks share, before it looks at them."""

import pytest

import hpcml
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.linear_model import Ridge
from hpcml.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
    learning_curve,
)
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
OTHERS = [HalvingGridSearchCV(TREES[0], {"max_depth": [1, 2]}, cv=2, min_resources=4, refit=False)]
X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]


@pytest.mark.parametrize(
    "estimator", TREES + SEARCHES + OTHERS, ids=lambda estimator: type(estimator).__name__
)
def test_rows_of_one_rank_are_not_taken_for_the_whole_table(estimator):
    # searches share the rows of ranks, but trees among their candidates cannot
    name = type(TREES[0] if estimator in SEARCHES else estimator).__name__
    with hpcml.config_context(communicator="mpi"):
        with pytest.raises(ValueError, match=f"(?s){name}.* needs all rows .*communicator='serial'"):
            estimator.fit(X, y)
        with hpcml.config_context(communicator="serial"):
            assert estimator.fit(X, y) is estimator


@pytest.mark.parametrize("function", [cross_validate, cross_val_score, learning_curve])
def test_neither_do_functions_of_cross_validation(function):
    with hpcml.config_context(communicator="mpi"):
        with pytest.raises(UnsupportedError, match="needs all rows .*communicator='serial'"):
            function(Ridge(), X, y, cv=2)
