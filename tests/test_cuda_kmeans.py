"""The CUDA kernels of k-means, run on the CPU, against the reference."""

import itertools

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from test_kernels_kmeans import assert_close, less, problem, run_all, shards, total

from hpcml.kernels.shards import bounds_of

#: bounded_step is not among the kernels of the GPU.
KERNELS = (
    "nearest_center lloyd_step labels assign_rows center_distances label_distances add_seed try_seeds shares"
)


def of_gpu(found):
    return {name: found[name] for name in KERNELS.split()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backward", [False, True])
def test_kernels_do_as_the_reference(dtype, backward):
    for i, (n, d, k) in enumerate([(1, 1, 1), (200, 17, 5), (97, 70, 40), (2050, 3, 3)]):
        case = problem(n, d, k, dtype, seed=i, weighted=bool(i % 2))
        with on_host(backward=backward) as driver:
            found = run_all("cuda", *case)
        assert_close(of_gpu(found), of_gpu(run_all("reference", *case)), dtype)
    assert driver.launched["sum_segments_float" if dtype == "float32" else "sum_segments_double"] == 2


@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 150),
    d=st.integers(1, 40),
    k=st.integers(1, 24),
    dtype=st.sampled_from(["float32", "float64"]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_any_shape(n, d, k, dtype, weighted, seed):
    case = problem(n, d, min(n, k), dtype, seed=seed, weighted=weighted, distinct=True)
    with on_host():
        found = run_all("cuda", *case)
    expected = run_all("reference", *case)
    if dtype == "float64":
        assert_close(of_gpu(found), of_gpu(expected), dtype)
    else:  # a row on a border may have another label in another order of summation
        assert (found["labels"] != expected["labels"]).sum() <= 1
        np.testing.assert_allclose(found["center_distances"], expected["center_distances"], atol=1e-4)


def test_threads_of_a_block_may_run_in_any_order_and_shards_in_any_block():
    X, w, centers, origin = problem(3100, 6, 12, "float32", weighted=True)
    found = []
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=200_000)):
        with on_host(driver):
            found.append(of_gpu(run_all("cuda", X, w, centers, origin)))
    for other in found[1:]:
        for name, value in found[0].items():
            assert other[name].tobytes() == value.tobytes(), name
    assert driver.launched["half_norms_float"] > 2  # several blocks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ties_go_to_the_lowest_center(dtype):
    X = np.repeat(np.array([[0.0], [2.0], [4.0]], dtype=dtype), 40, axis=0)
    for many in (0, 150):
        values = [[9.0], [3.0], [1.0], [3.0], [1.0], [1.0]] + [[3.0]] * many
        with on_host():
            centers, origin = np.array(values, dtype=dtype), np.zeros(1, dtype=dtype)
            labels = call("nearest_center", "cuda", X, centers, origin, 1)[0]
        assert labels.tolist() == [2] * 40 + [1] * 40 + [1] * 40


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_are_not_finite_are_counted(dtype):
    X, _, centers, origin = problem(200, 5, 7, dtype)
    bad = np.random.default_rng(0).choice(200, 30, replace=False)
    for i, row in enumerate(bad):
        X[row, i % 5] = (np.nan, np.inf, -np.inf)[i % 3]
    with on_host():
        _, overflown = call("nearest_center", "cuda", X, centers - origin, origin, 2)
    assert overflown.tolist() == [30]


def test_sets_of_centers_have_the_bits_of_single_ones():
    sizes, columns = [1, 9, 2, 17], np.array([4, 0, 2, 1])
    X, w, centers, origin = problem(1500, 8, 29, "float32", weighted=True)
    centers = less(centers, origin)
    labels = np.random.default_rng(0).integers(0, 2, size=(1500, 5)).astype(np.int32)
    before = labels.copy()
    first = np.concatenate([[0], np.cumsum(sizes)])
    sets = {"labels": labels, "columns": columns, "first": first, "centers": centers, "origin": origin}
    with on_host():
        found = total(call("lloyd_steps", "cuda", X=X, weights=w, **sets, **shards(1500)))
        sums, counts, changed = np.split(found, [29 * 8, 29 * 8 + 29])
        for i, (start, stop) in enumerate(itertools.pairwise(first)):
            own = before[:, columns[i]].copy()
            one = {"labels": own, "centers": centers[start:stop], "origin": origin, "with_inertia": 0}
            expected = total(call("lloyd_step", "cuda", X=X, weights=w, **one, **shards(1500)))
            assert (labels[:, columns[i]] == own).all()
            several = sums.reshape(29, 8)[start:stop], counts[start:stop], changed[i]
            assert np.concatenate([np.ravel(part) for part in several]).tobytes() == expected[:-1].tobytes()
    assert (labels[:, 3] == before[:, 3]).all()


def test_more_clusters_than_two_bytes_count():
    """65,537 centers of one feature; the row that is center i comes in no order."""
    k = 65_537
    centers = np.arange(k, dtype=np.float64)[:, np.newaxis] - k // 2
    X = np.ascontiguousarray(centers[[65_536, 3, 65_535, 65_536]])
    labels = np.zeros(4, dtype=np.int32)
    with on_host():
        found = total(
            call(
                "lloyd_step", "cuda", X=X, weights=None, labels=labels, centers=centers, origin=None,
                with_inertia=1, **shards(4),
            )
        )  # fmt: skip
    assert labels.tolist() == [65_536, 3, 65_535, 65_536]
    sums, counts, rest = np.split(found, [k, 2 * k])
    assert counts[[3, 65_535, 65_536]].tolist() == [1, 1, 2] and counts.sum() == 4
    assert sums[65_536] == 2 * X[0, 0] and rest.tolist() == [4, 0]


def test_as_many_clusters_as_rows():
    X, _, _, origin = problem(130, 4, 2, "float64")
    with on_host():
        labels = np.full(130, -1, dtype=np.int32)
        c = X - origin
        found = total(
            call(
                "lloyd_step", "cuda", X=X, weights=None, labels=labels, centers=c, origin=origin,
                with_inertia=1, **shards(130),
            )
        )  # fmt: skip
    assert labels.tolist() == list(range(130)) and found[-1] == 0.0 and bounds_of(130).tolist() == [0, 130]
