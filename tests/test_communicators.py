"""What every communicator of one process must do; the ranks of an MPI job have tests of their own."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import hpcml
from hpcml import communicators
from hpcml.kernels.csr import CSR

NAMES = ["serial", "processes"]


@pytest.fixture(params=NAMES)
def communicator(request):
    with hpcml.config_context(communicator=request.param, n_workers=2), communicators.current() as found:
        assert found.name == request.param
        yield found


def rows(n=5000, d=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), rng.random(n)


def moments(X, weights, center):
    return {"n": len(X), "sum": weights @ (X - center), "product": X.T @ X}


def halves(X):
    return {"half": X[:, 0] / 2, "sign": (X > 0).astype(np.int8)}


def test_map_reduce_adds_up_a_function_of_shards(communicator):
    X, weights = rows()
    with communicator.put(X=X, weights=weights) as table:
        assert (table.n_rows, table.n_local, table.first_row) == (5000, 5000, 0)
        found = table.map_reduce(moments, center=1.0)
    assert found["n"] == 5000 and found["n"].shape == ()
    assert all(part.dtype == np.float64 for part in found.values())
    np.testing.assert_allclose(found["sum"], weights @ (X - 1.0))
    np.testing.assert_allclose(found["product"], X.T @ X)


@pytest.mark.parametrize("sparse_rows", [False, True])
def test_map_reduce_runs_a_kernel_by_its_name(communicator, sparse_rows):
    X, weights = rows()
    X[X < 0] = 0
    given = CSR.of(sparse.csr_array(X)) if sparse_rows else X
    with communicator.put(X=given, weights=weights) as table:
        found = table.map_reduce("moments", centers=np.zeros(3))
        unweighted = table.map_reduce("moments", centers=np.zeros(3), weights=None)
    np.testing.assert_allclose(found["sums"], weights @ X)
    np.testing.assert_allclose(found["squares"], weights @ X**2)
    np.testing.assert_allclose(unweighted["counts"], 5000)


def test_an_absent_row_array_is_none(communicator):
    X, _ = rows()
    with communicator.put(X=X, weights=None) as table:
        np.testing.assert_allclose(table.map_reduce("moments", centers=np.zeros(3))["sums"], X.sum(axis=0))


def test_row_state_stays_with_the_rows(communicator):
    X, _ = rows()
    with communicator.put(X=X) as table:
        table.map_rows(halves)
        assert_array_equal(table.rows("half"), X[:, 0] / 2)
        assert table.rows("sign").dtype == np.int8
        table.fill("labels", -1, np.int32)
        assert_array_equal(table.rows("labels"), np.full(5000, -1, dtype=np.int32))
        table.set(margin=X[:, 1])
        total = table.map_reduce(lambda half, margin: {"dot": half @ margin})["dot"]
        np.testing.assert_allclose(total, X[:, 0] @ X[:, 1] / 2)
        renamed = table.map_reduce(lambda margin: {"sum": margin.sum()}, margin="half")["sum"]
        np.testing.assert_allclose(renamed, X[:, 0].sum() / 2)
        table.drop("half")
        with pytest.raises(Exception, match="half"):
            table.rows("half")


def test_rows_are_taken_by_number(communicator):
    X, weights = rows()
    numbers = np.array([4999, 0, 17, 17, 2500])
    with communicator.put(X=X, weights=weights) as table:
        assert_array_equal(table.take(numbers), X[numbers])
        assert_array_equal(table.take(numbers, "weights"), weights[numbers])
        for wrong in (-1, 5000):
            with pytest.raises(IndexError, match="rows from 0 to 4999"):
                table.take(np.array([0, wrong]))
    X[X < 0] = 0
    with communicator.put(X=CSR.of(sparse.csr_array(X))) as table:
        assert_array_equal(table.take(numbers).to_scipy().toarray(), X[numbers])


def test_rows_are_found_by_the_running_sum(communicator):
    X, weights = rows()
    weights[:100] = 0
    ends = np.cumsum(weights)
    targets = np.array([0.0, 1e-9, ends[-1] / 3, ends[-1] * (1 - 1e-9), ends[-1] * 2])
    with communicator.put(X=X, weights=weights) as table:
        found = table.where_sum_reaches("weights", targets)
        table.fill("shares", np.inf, np.float64)
        for i in range(3):  # what is summed again and again, changed by kernels and otherwise
            table.map_reduce("add_seed", weights=None, seed=X[i : i + 1].copy())
            sums = np.cumsum(np.minimum.reduce([np.square(X - X[j]).sum(axis=1) for j in range(i + 1)]))
            again = table.where_sum_reaches("shares", sums[[7, 4000]] * (1 - 1e-9))
            assert_array_equal(again, [7, 4000])
        table.fill("shares", 1.0, np.float64)
        assert_array_equal(table.where_sum_reaches("shares", np.array([9.5, 4444.5])), [9, 4444])
        table.map_rows(lambda X: {"shares": np.full(len(X), 2.0)})
        assert_array_equal(table.where_sum_reaches("shares", np.array([9.5, 4444.5])), [4, 2222])
    assert_array_equal(found, np.minimum(np.searchsorted(ends, targets, side="right"), 4999))


@pytest.mark.parametrize("n", [1, 2, 1023, 2048])
def test_small_tables(communicator, n):
    X, weights = rows(n)
    with communicator.put(X=X, weights=weights) as table:
        np.testing.assert_allclose(table.map_reduce(moments, center=0.0)["sum"], weights @ X, atol=1e-12)
        table.map_rows(halves)
        assert_array_equal(table.rows("half"), X[:, 0] / 2)


def test_rows_are_read_and_never_written(communicator):
    X, weights = rows()
    X.setflags(write=False)
    with communicator.put(X=np.asfortranarray(X), weights=weights) as table:
        np.testing.assert_allclose(table.map_reduce(moments, center=0.0)["product"], X.T @ X)


def test_state_that_kernels_overwrite_is_a_copy_of_what_was_set(communicator):
    X, _ = rows()
    labels = np.full(len(X), -1, dtype=np.int32)
    with communicator.put(X=X, labels=labels) as table:
        found = table.map_reduce("assign_rows", centers=X[:2].copy(), origin=None)
        assert found["changed"] == len(X)
        nearest = np.argmin(((X[:, np.newaxis] - X[:2]) ** 2).sum(axis=2), axis=1)
        assert_array_equal(table.rows("labels"), nearest)
    assert (labels == -1).all() and labels.flags.writeable


def test_wrong_rows_are_refused(communicator):
    with pytest.raises(ValueError, match=r"same number of rows.*'X': 3"):
        communicator.put(X=np.zeros((3, 1)), y=np.zeros(4))
    with pytest.raises(TypeError, match="X must be an ndarray of numbers or a CSR. Got list"):
        communicator.put(X=[[1.0]])
    with communicator.put(X=np.zeros((3, 1))) as table, pytest.raises(ValueError, match="3 rows. Got 4"):
        table.set(y=np.zeros(4))


def test_an_error_of_a_kernel_arrives(communicator):
    def fails(X):
        raise ZeroDivisionError("in a shard")

    X, weights = rows()
    with communicator.put(X=X, weights=weights) as table:
        with pytest.raises(ZeroDivisionError, match="in a shard"):
            table.map_reduce(fails)
        np.testing.assert_allclose(table.map_reduce(moments, center=0.0)["sum"], weights @ X)


def test_one_process_speaks_for_itself(communicator):
    assert (communicator.rank, communicator.size) == (0, 1)
    assert communicator.gather("a") == ["a"]
    assert communicator.bcast(3) == 3 and communicator.total(4) == 4
    drawn = communicator.random_state(0).random(3)
    assert_array_equal(drawn, np.random.RandomState(0).random_sample(3))


def test_unknown_communicator_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="serial, processes, mpi. Got 'threads'"):
        hpcml.set_config(communicator="threads")
    monkeypatch.setenv("HPCML_COMMUNICATOR", "cluster")
    with pytest.raises(ValueError, match="HPCML_COMMUNICATOR must be one of .* Got 'cluster'"):
        communicators.current()


def lengths(X):
    return {"length": np.zeros(len(X) % 7)}


def test_a_kernel_that_does_not_suit_is_named(communicator):
    with communicator.put(X=np.zeros((3000, 2))) as table:
        with pytest.raises(ValueError, match="of the kind \"reduce\". Got 'nope'.* there are .*moments"):
            table.map_reduce("nope")
        with pytest.raises(ValueError, match="did you mean moments"):
            table.map_reduce("momets")
        with pytest.raises(ValueError, match="map_rows: .* Got 'moments'.*use map_reduce"):
            table.map_rows("moments", centers=np.zeros(2))
        with pytest.raises(ValueError, match="map_reduce: .* Got 'apply_bins'.*use map_rows"):
            table.map_reduce("apply_bins")
        with pytest.raises(TypeError, match="must be a function or the name of a kernel. Got int"):
            table.map_reduce(3)


@pytest.mark.parametrize(
    ("found", "got"),
    [
        (np.zeros(2), "Got ndarray"),
        (1.5, "Got float"),
        (None, "Got NoneType"),
        ((1.0,), "Got tuple"),
        ({}, "Got an empty dict"),
        ({"n": 1, "text": "2"}, "Got str for 'text'"),
        ({"n": None}, "Got NoneType for 'n'"),
        ({"n": [[1], [1, 2]]}, "Got list for 'n'"),
        ({"n": np.array([1j])}, "Got an array of complex128 for 'n'"),
    ],
)
def test_what_is_no_dict_of_numbers_is_refused(communicator, found, got):
    def answer(X):
        return found

    with communicator.put(X=np.zeros((3000, 2))) as table:
        with pytest.raises(TypeError, match=f"map_reduce: answer must return a dict .*{got}"):
            table.map_reduce(answer)
        if "complex" not in got:  # which rows may be
            with pytest.raises(TypeError, match=f"map_rows: answer must return a dict .*{got}"):
                table.map_rows(answer)


def test_parts_have_one_shape_in_all_shards(communicator):
    with communicator.put(X=np.zeros((3001, 2)), first=np.arange(3001) == 0) as table:
        with pytest.raises(ValueError, match="part 'length' must have the same shape in every shard"):
            table.map_reduce(lengths)
        # shards answer in any order
        either = "same parts in the same order.* Got (a, b for one and b, a|b, a for one and a, b)"
        with pytest.raises(ValueError, match=either):
            table.map_reduce(lambda first: {"a": 1, "b": 2} if first.any() else {"b": 2, "a": 1})
        with pytest.raises(ValueError, match="'length' of lengths must have one entry for each of the 1500"):
            table.map_rows(lengths)
        with pytest.raises(ValueError, match="'sum' of <lambda> must have one entry.* Got shape \\(\\)"):
            table.map_rows(lambda X: {"sum": X.sum()})


def test_unknown_row_arrays_are_named(communicator):
    with communicator.put(X=np.zeros((3000, 2)), weights=np.ones(3000)) as table:
        known = "row array of the table: X, weights. Got 'w' instead"
        for ask in (
            lambda: table.rows("w"),
            lambda: table.take(np.array([1]), "w"),
            lambda: table.drop("X", "w"),
            lambda: table.where_sum_reaches("w", np.zeros(1)),
        ):
            with pytest.raises(KeyError, match=known):
                ask()
        assert table.rows("X").shape == (3000, 2)


def test_a_closed_table_says_so(communicator):
    table = communicator.put(X=np.zeros((3000, 2)), weights=np.ones(3000))
    table.close()
    table.close()
    for ask in (
        lambda: table.map_reduce(moments, center=0.0),
        lambda: table.map_reduce("moments", centers=np.zeros(2)),
        lambda: table.map_rows(halves),
        lambda: table.rows("X"),
        lambda: table.take(np.array([1])),
        lambda: table.set(y=np.zeros(3000)),
        lambda: table.fill("y", 0, np.float64),
        lambda: table.drop("X"),
        lambda: table.where_sum_reaches("weights", np.zeros(1)),
    ):
        with pytest.raises(ValueError, match="the table is closed"):
            ask()
