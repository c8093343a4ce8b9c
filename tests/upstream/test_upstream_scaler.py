"""scikit-learn's own tests of scalers, with hpcml's StandardScaler in the place of its own."""

import pytest

from upstream import run_upstream


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_standard_scaler():
    result = run_upstream(
        "sklearn.preprocessing.tests.test_data",
        {"StandardScaler": "hpcml.preprocessing.StandardScaler"},
    )
    assert len(result.tests("passed")) >= 270
