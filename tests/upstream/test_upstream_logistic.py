"""scikit-learn's own tests of logistic regression, with hpcml's in the place of its own."""

import pytest

from upstream import run_upstream

LESS_EXACT = (
    "compares six digits with what scikit-learn's solver leaves at tol=1e-4; at tol=1e-10 that solver gives "
    "these coefficients to 1e-7"
)

EXPECTED_FAILURES = {
    "test_logistic_cv": LESS_EXACT,
    "test_logistic_cv_multinomial_score[neg_log_loss-multiclass_agg_list3]": LESS_EXACT,
    "test_liblinear_dual_random_state[42]": "asserts that two seeds give different coefficients; here "
    "nothing is random",
    "test_newton_cholesky_fallback_to_lbfgs": "asserts that a singular Hessian leads to scikit-learn's "
    "lbfgs: its count of iterations, and its name in the warning; here it needs no other solver",
}


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_logistic_regression():
    result = run_upstream(
        "sklearn.linear_model.tests.test_logistic",
        {"LogisticRegression": "private_names.LogisticRegression"},
        EXPECTED_FAILURES,
    )
    assert len(result.tests("passed")) >= 250
