"""scikit-learn's own tests of scalers, with hpcml's StandardScaler in the place of its own."""

import pytest

from upstream import run_upstream

#: scikit-learn 1.9 calls back from fits, experimentally, through methods that are private to its own classes.
CALLBACKS = "set_callbacks is not supported"
EXPECTED_FAILURES = {"test_standard_scaler_callback_support": CALLBACKS}


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_standard_scaler():
    result = run_upstream(
        "sklearn.preprocessing.tests.test_data",
        {"StandardScaler": "hpcml.preprocessing.StandardScaler"},
        EXPECTED_FAILURES,
    )
    assert len(result.tests("passed")) >= 450
