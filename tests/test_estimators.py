"""scikit-learn's own conformance checks on every estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.mixture import GaussianMixture
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor

#: As scikit-learn declares for its own class: the bootstrap of a weighted table draws other rows than that of
#: a table with repeated rows, because its size follows the number of rows.
WEIGHTS_ARE_DRAWN = {
    f"check_sample_weight_equivalence_on_{kind}_data": "sample_weight is not equivalent to "
    "removing/repeating samples."
    for kind in ("dense", "sparse")
}
EXPECTED = {"RandomForestClassifier": WEIGHTS_ARE_DRAWN, "RandomForestRegressor": WEIGHTS_ARE_DRAWN}

ESTIMATORS = [
    DecisionTreeClassifier(),
    DecisionTreeRegressor(),
    RandomForestClassifier(n_estimators=5),
    RandomForestRegressor(n_estimators=5),
    RandomForestClassifier(n_estimators=5, bootstrap=False, max_leaf_nodes=20),
    *(GaussianMixture(covariance_type=kind) for kind in ("full", "tied", "diag", "spherical")),
]


def expected_failures(estimator):
    if getattr(estimator, "bootstrap", False):
        return EXPECTED.get(type(estimator).__name__, {})
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
@pytest.mark.filterwarnings("ignore")
def test_conformance(estimator, check):
    check(estimator)
