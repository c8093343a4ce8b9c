"""scikit-learn's own tests of forests, with hpcml's two forests in the place of its own."""

import pytest

from upstream import run_upstream

OUTPUTS = "several outputs are not supported"
CRITERION = "the criteria absolute_error and poisson, and criterion objects, are not supported"

EXPECTED_FAILURES = {
    "test_regression_criterion[absolute_error-RandomForestRegressor]": CRITERION,
    "test_poisson_vs_mse": CRITERION,
    "test_balance_property_random_forest[poisson]": CRITERION,
    "test_importances[RandomForestRegressor-absolute_error-float64]": CRITERION,
    "test_importances[RandomForestRegressor-absolute_error-float32]": CRITERION,
    "test_poisson_y_positive_check": CRITERION,
    "test_mse_criterion_object_segfault_smoke_test[RandomForestRegressor]": CRITERION,
    "test_missing_values_is_resilient[RandomForestRegressor-absolute_error]": CRITERION,
    "test_missing_values_is_resilient[RandomForestRegressor-poisson]": CRITERION,
    "test_missing_value_is_predictive[42-RandomForestRegressor-absolute_error]": CRITERION,
    "test_missing_value_is_predictive[42-RandomForestRegressor-poisson]": CRITERION,
    "test_classifier_error_oob_score_multiclass_multioutput[RandomForestClassifier]": OUTPUTS,
    "test_forest_multioutput_integral_regression_target[RandomForestRegressor]": OUTPUTS,
    "test_multioutput[RandomForestClassifier]": OUTPUTS,
    "test_multioutput[RandomForestRegressor]": OUTPUTS,
    "test_multioutput_string[RandomForestClassifier]": OUTPUTS,
    "test_classes_shape[RandomForestClassifier]": OUTPUTS,
    "test_class_weights_forest[42-True-RandomForestClassifier]": OUTPUTS,
    "test_class_weights_forest[42-False-RandomForestClassifier]": OUTPUTS,
    "test_class_weight_balanced_and_bootstrap_multi_output[RandomForestClassifier]": OUTPUTS,
    "test_class_weight_errors[RandomForestClassifier]": OUTPUTS,
}
for scorer in ("True", "oob_score1"):
    for container in ("array", "sparse_csr", "sparse_csc"):
        test = f"test_forest_classifier_oob[{scorer}-X3-y3-0.18-{container}-RandomForestClassifier]"
        EXPECTED_FAILURES[test] = OUTPUTS
for scorer in ("True", "explained_variance_score"):
    for container in ("array", "sparse_csr", "sparse_csc"):
        test = f"test_forest_regressor_oob[{scorer}-X1-y1-0.55-{container}-RandomForestRegressor]"
        EXPECTED_FAILURES[test] = OUTPUTS
for container in ("coo_matrix", "coo_array", "csc_matrix", "csc_array", "csr_matrix", "csr_array"):
    for forest in ("RandomForestClassifier", "RandomForestRegressor"):
        # its target is a table of labels
        EXPECTED_FAILURES[f"test_sparse_input[{container}-{forest}]"] = OUTPUTS


@pytest.mark.timeout(900)
def test_scikit_learns_tests_of_forests():
    forests = ("RandomForestClassifier", "RandomForestRegressor")
    result = run_upstream(
        "sklearn.ensemble.tests.test_forest",
        {name: f"private_names.{name}" for name in forests},
        EXPECTED_FAILURES,
    )
    assert len(result.tests("passed")) >= 225
