"""The registry: which implementation runs, how the others decline, and that every one keeps the contract."""

import inspect
import warnings

import numpy as np
import pytest

import hpcml
from hpcml import kernels, parts
from hpcml.errors import KernelUnavailable
from hpcml.kernels import contract, registry
from needs import implementations

ALL = [(name, value) for name in contract.KERNELS for value in implementations(name, reference=True)]
PAIRS = [
    pytest.param(name, *value.values, marks=value.marks, id=f"{name}-{value.values[0]}")
    for name, value in ALL
]


@pytest.fixture
def missing(monkeypatch):
    """Return a function that makes implementations of every kernel unavailable."""
    real = registry._load

    def hide(*hidden):
        def load(name, implementation):
            return "hidden by the test" if implementation in hidden else real(name, implementation)

        monkeypatch.setattr(registry, "_load", load)
        monkeypatch.setattr(registry, "_warned", False)

    return hide


@pytest.mark.parametrize(("name", "implementation"), PAIRS)
def test_every_implementation_is_found_and_takes_the_contract_s_arguments(name, implementation):
    with hpcml.config_context(kernels=implementation):
        kernel = kernels.lookup(name)
    assert kernel.__name__ == name
    assert kernel.__module__ == f"hpcml.kernels.{implementation}.{contract.KERNELS[name].module}"
    expected = [a.name for a in contract.KERNELS[name].call_arguments]
    assert list(inspect.signature(kernel).parameters) == expected


@pytest.mark.parametrize("name", list(contract.KERNELS))
def test_automatic_choice_is_the_first_that_works(name):
    row = next(row for row in kernels.available() if row.kernel == name)
    working = [i for i in registry.PROCESSOR if row.reasons[i] is None]
    with hpcml.config_context(kernels="auto"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert kernels.lookup(name).__module__.split(".")[2] == working[0] == row.implementation


def test_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="find_bins, apply_bins, .* Got 'sort' instead"):
        kernels.lookup("sort")


@pytest.mark.parametrize("implementation", ["cython", "numba"])
def test_a_missing_implementation_that_was_asked_for_raises_with_reason_and_cure(missing, implementation):
    missing(implementation)
    with hpcml.config_context(kernels=implementation):
        with pytest.raises(KernelUnavailable) as caught:
            kernels.lookup("find_bins")
        row = kernels.available()[0]
    for word in ("find_bins", implementation, "hidden by the test", parts.PARTS[implementation].cure):
        assert word in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert row.implementation is None
    assert row.reasons[implementation] == "hidden by the test"


def test_declining_by_design_falls_to_the_preference_order():
    with hpcml.config_context(kernels="auto"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        best = kernels.lookup("grow")
    with hpcml.config_context(kernels="numba"):
        assert kernels.lookup("grow") is best
        row = next(row for row in kernels.available() if row.kernel == "grow")
    assert row.reasons["numba"].startswith("not implemented by design")


def test_doing_without_compiled_kernels_warns_once(missing):
    missing("cython", "numba")
    with hpcml.config_context(kernels="auto"):
        with pytest.warns(RuntimeWarning, match="slower reference kernels.*hidden by the test.*hpcml info"):
            kernels.lookup("find_bins")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kernels.lookup("apply_bins").__module__ == "hpcml.kernels.reference.binning"


def test_asking_for_the_reference_does_not_warn(missing):
    missing("cython", "numba")
    with hpcml.config_context(kernels="reference"), warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.lookup("find_bins")


X = np.zeros((4, 2), dtype=np.float32)
UPPER = np.zeros((2, 256), dtype=np.float32)
N_BINS = np.ones(2, dtype=np.int32)


@pytest.mark.parametrize(
    ("name", "args", "error", "words"),
    [
        ("find_bins", (X.astype(np.float64), 255, 1), TypeError, ["X", "float32", "float64"]),
        ("find_bins", (np.asfortranarray(X), 255, 1), TypeError, ["X", "C-contiguous", "strides"]),
        ("find_bins", (X[::2], 255, 1), TypeError, ["X", "C-contiguous", "strides"]),
        ("find_bins", (X.tolist(), 255, 1), TypeError, ["X", "list"]),
        ("find_bins", (X[0], 255, 1), ValueError, ["X", "(n, d)", "(2,)"]),
        ("find_bins", (X, 256, 1), ValueError, ["max_bins", "2 to 255", "256"]),
        ("find_bins", (X, 1, 1), ValueError, ["max_bins", "2 to 255", "1"]),
        ("find_bins", (X, 9.5, 1), TypeError, ["max_bins", "int", "9.5"]),
        ("find_bins", (X, 255, 0), ValueError, ["n_threads", "at least 1", "0"]),
        ("find_bins", (X,), TypeError, ["find_bins", "max_bins"]),
        ("find_bins", (X, 255, 1, 1), TypeError, ["find_bins", "3 positional"]),
        ("apply_bins", (X, UPPER[:1], N_BINS, 1), ValueError, ["upper", "(d, 256)", "d = 2"]),
        ("apply_bins", (X, UPPER[:, :-1].copy(), N_BINS, 1), ValueError, ["upper", "(2, 255)"]),
        ("apply_bins", (X, UPPER, N_BINS.astype(np.int64), 1), TypeError, ["n_bins", "int32", "int64"]),
    ],
)
def test_contract_refuses_what_kernels_do_not_take(name, args, error, words):
    with pytest.raises(error) as caught:
        contract.check_call(name, args)
    assert all(word in str(caught.value) for word in words)


def test_contract_binds_dimensions_across_arguments():
    nodes = np.zeros(3, dtype=contract.NODE_DTYPE)
    offsets = np.array([0, 1, 3])
    dimensions = contract.check_call("predict_leaves", (X, nodes, offsets), {"n_threads": 2})
    assert dimensions == {"n": 4, "d": 2, "N": 3, "T": 2}
    with pytest.raises(TypeError, match="leaves must be a C-contiguous int32"):
        contract.check_result("predict_leaves", np.zeros((4, 2)), dimensions)
    with pytest.raises(ValueError, match=r"Got shape \(4, 3\)"):
        contract.check_result("predict_leaves", np.zeros((4, 3), dtype=np.int32), dimensions)


@pytest.mark.parametrize("kernel", contract.KERNELS.values(), ids=list(contract.KERNELS))
def test_contract_is_whole(kernel):
    assert kernel.kind in contract.KINDS
    assert kernel.kind == "model" or kernel.call_arguments[-1].name == "n_threads"  # models are small
    assert set(kernel.declined) < set(registry.IMPLEMENTATIONS)
    page = contract.markdown()
    assert f"## `{kernel.name}`" in page
    for each in (*kernel.call_arguments, *kernel.results):
        assert f"| `{each.name}` |" in page
        assert each.meaning in page


def test_optional_parts_tell_their_cure():
    assert {"cython", "numba", "parquet", "polars"} <= set(parts.PARTS)
    for part in parts.PARTS.values():
        assert "pip install" in part.cure
    with pytest.raises(ValueError, match="cython, numba.* Got 'fortran'"):
        parts.check("fortran")
