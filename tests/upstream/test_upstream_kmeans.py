"""scikit-learn's own tests of k-means, with hpcml's two estimators in the place of its own."""

import pytest

from upstream import run_upstream


@pytest.mark.timeout(600)
def test_scikit_learns_tests_of_k_means():
    result = run_upstream(
        "sklearn.cluster.tests.test_k_means",
        {"KMeans": "private_names.KMeans", "MiniBatchKMeans": "hpcml.cluster.MiniBatchKMeans"},
    )
    assert len(result.tests("passed")) >= 230
