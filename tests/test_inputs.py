"""Tables are looked at with all threads, and errors read as scikit-learn's."""

import numpy as np
import pytest
from sklearn.utils import check_array

import hpcml
from hpcml.training.inputs import VALUES_FOR_THREADS, check_finite


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, -1])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(n_threads, value, row):
    X = np.ones((VALUES_FOR_THREADS // 2 + 1, 2), dtype=np.float32)
    with hpcml.config_context(n_threads=n_threads):
        check_finite("KMeans", X)
        X[row, 1] = value
        with pytest.raises(ValueError) as ours:
            check_finite("KMeans", X)
    with pytest.raises(ValueError) as theirs:
        check_array(X, estimator="KMeans", input_name="X")
    assert str(ours.value) == str(theirs.value)


def test_finite_values_whose_sum_is_infinite_pass():
    X = np.full((VALUES_FOR_THREADS // 2 + 1, 2), 3e38, dtype=np.float32)
    with hpcml.config_context(n_threads=2):
        check_finite("KMeans", X)
