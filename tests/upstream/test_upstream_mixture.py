"""scikit-learn's own tests of mixtures, with hpcml's GaussianMixture in the place of its own."""

from upstream import run_upstream

REPLACED = {"GaussianMixture": "private_names.GaussianMixture"}

EXPECTED_FAILURES = {
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": (
        "it counts the calls of a private function inside scikit-learn's module"
    ),
}


def test_scikit_learns_tests_of_gaussian_mixtures():
    result = run_upstream("sklearn.mixture.tests.test_gaussian_mixture", REPLACED, EXPECTED_FAILURES)
    assert len(result.tests("passed")) >= 45


def test_scikit_learns_tests_of_mixtures():
    result = run_upstream("sklearn.mixture.tests.test_mixture", REPLACED)
    assert len(result.tests("passed")) == 4
