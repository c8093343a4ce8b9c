"""scikit-learn's own tests of principal components, with hpcml's classes in the place of its own."""

import pytest

from upstream import run_upstream


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_pca():
    result = run_upstream("sklearn.decomposition.tests.test_pca", {"PCA": "hpcml.decomposition.PCA"})
    assert len(result.tests("passed")) >= 380


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_incremental_pca():
    result = run_upstream(
        "sklearn.decomposition.tests.test_incremental_pca",
        {"PCA": "hpcml.decomposition.PCA", "IncrementalPCA": "hpcml.decomposition.IncrementalPCA"},
    )
    assert len(result.tests("passed")) >= 20
