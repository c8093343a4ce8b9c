"""Coordinate descent on quadratic models: compiled against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import call

from hpcml import machine
from hpcml.training.proximal import least_subgradient


def model(p, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((p + 3, p))
    H = A.T @ A / p + 0.1 * np.eye(p)
    start = rng.standard_normal(p) * (rng.random(p) < 0.5)
    return H, rng.standard_normal(p), start, 0.5 * rng.random(p) * (rng.random(p) < 0.9)


@pytest.mark.require("cython")
@pytest.mark.parametrize("isa", machine.supported_isas())
@given(p=st.integers(1, 40), seed=st.integers(0, 10**6), sweeps=st.integers(0, 5))
def test_compiled_descent_has_the_bits_of_the_definition(isa, p, seed, sweeps):
    arguments = model(p, seed)
    expected = call("descend_coordinates", "reference", *arguments, tol=1e-3, max_sweeps=sweeps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCML_ISA", isa)
        found = call("descend_coordinates", "cython", *arguments, tol=1e-3, max_sweeps=sweeps)
    assert found.tobytes() == expected.tobytes()


def test_descent_ends_at_the_minimum():
    H, g, start, l1 = model(30, 0)
    u = call("descend_coordinates", "reference", H, g, start, l1, tol=1e-12, max_sweeps=100_000)
    V = least_subgradient(u, g + H @ (u - start), l1)
    assert np.abs(V).max() <= 1e-11
