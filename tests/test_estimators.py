"""scikit-learn's own conformance checks on every estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hpcml.cluster import KMeans, MiniBatchKMeans
from hpcml.decomposition import PCA, IncrementalPCA
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.linear_model import LinearRegression, LogisticRegression, Ridge
from hpcml.mixture import GaussianMixture
from hpcml.preprocessing import StandardScaler
from hpcml.svm import LinearSVC, LinearSVR
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor

#: As scikit-learn declares for its own class: the bootstrap of a weighted table draws other rows than that of
#: a table with repeated rows, because its size follows the number of rows.
WEIGHTS_ARE_DRAWN = {
    f"check_sample_weight_equivalence_on_{kind}_data": "sample_weight is not equivalent to "
    "removing/repeating samples."
    for kind in ("dense", "sparse")
}
EXPECTED = {"RandomForestClassifier": WEIGHTS_ARE_DRAWN, "RandomForestRegressor": WEIGHTS_ARE_DRAWN}
#: As scikit-learn declares for these too: starts and batches are drawn by weight.
EXPECTED |= {"KMeans": WEIGHTS_ARE_DRAWN, "MiniBatchKMeans": WEIGHTS_ARE_DRAWN}

ESTIMATORS = [
    KMeans(n_clusters=3),
    KMeans(n_clusters=3, algorithm="elkan"),
    MiniBatchKMeans(n_clusters=3),
    DecisionTreeClassifier(),
    DecisionTreeRegressor(),
    RandomForestClassifier(n_estimators=5),
    RandomForestRegressor(n_estimators=5),
    RandomForestClassifier(n_estimators=5, bootstrap=False, max_leaf_nodes=20),
    *(GaussianMixture(covariance_type=kind) for kind in ("full", "tied", "diag", "spherical")),
    StandardScaler(),
    StandardScaler(with_mean=False),
    *(PCA(svd_solver=solver) for solver in ("auto", "full", "covariance_eigh", "randomized")),
    IncrementalPCA(batch_size=10),
    LinearRegression(),
    LinearRegression(positive=True),
    *(Ridge(solver=solver) for solver in ("auto", "svd", "lsqr")),
    Ridge(positive=True),
    LogisticRegression(),
    LogisticRegression(solver="saga", l1_ratio=0.5),
    LogisticRegression(solver="liblinear", l1_ratio=1),
    LinearSVC(),
    LinearSVC(loss="hinge"),
    LinearSVC(penalty="l1"),
    LinearSVC(multi_class="crammer_singer"),
    LinearSVR(),
    LinearSVR(loss="squared_epsilon_insensitive"),
]


#: As scikit-learn declares for its own: most solvers count no iterations.
NO_ITERATIONS = {"check_non_transformer_estimators_n_iter": "n_iter_ cannot be easily accessed."}


def expected_failures(estimator):
    if isinstance(estimator, Ridge) and estimator.solver != "lsqr":
        return NO_ITERATIONS
    return EXPECTED.get(type(estimator).__name__, {}) if getattr(estimator, "bootstrap", True) else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
@pytest.mark.filterwarnings("ignore")
def test_conformance(estimator, check):
    check(estimator)
