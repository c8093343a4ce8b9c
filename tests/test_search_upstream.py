"""scikit-learn's own tests of its searches, with ours in their place."""

import pytest
from upstream import run_upstream

#: Test -> why ours may fail it.
EXPECTED_FAILURES = {
    "test_custom_run_search": "wants no fitted attributes beyond scikit-learn's; ours adds plan_",
}


@pytest.mark.upstream
def test_scikit_learns_tests_of_searches():
    ours = {name: f"hpcml.model_selection.{name}" for name in ("GridSearchCV", "RandomizedSearchCV")}
    found = run_upstream("sklearn.model_selection.tests.test_search", ours, EXPECTED_FAILURES)
    assert len(found.tests("passed")) > 100
