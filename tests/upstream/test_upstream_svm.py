"""scikit-learn's own tests of linear support vector machines, with hpcml's classes in their place."""

import pytest

from upstream import run_upstream

#: All tests of its module in which LinearSVC or LinearSVR occurs.
TESTS = (
    "test_svr or test_linearsvr or test_weight or test_auto_weight or test_bad_input or test_linearsvc or "
    "test_crammer_singer or test_dense_liblinear_intercept_handling or test_liblinear_set_coef or "
    "test_linear_svm_convergence_warnings or test_lsvc_intercept_scaling_zero or "
    "test_linearsvm_liblinear_sample_weight"
)


@pytest.mark.timeout(300)
def test_scikit_learns_tests_of_linear_svms():
    replace = {"LinearSVC": "hpcml.svm.LinearSVC", "LinearSVR": "hpcml.svm.LinearSVR"}
    result = run_upstream(
        "sklearn.svm.tests.test_svm", {**replace, "svm": "linear_svm_names.svm"}, select=TESTS
    )
    assert len(result.tests("passed")) >= 35
