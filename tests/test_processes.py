"""Worker processes compute what one process computes, to the bit; rows, row state, settings and files."""

import functools
import os
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

import hpcml
from hpcml import communicators, config, machine
from hpcml.communicators import channel, pool, processes, shared_memory
from hpcml.kernels.csr import CSR

WORKERS = [1, 2, 3, 4]


@pytest.fixture(autouse=True, scope="module")
def _no_worker_is_left():
    yield
    pool.end_pool()


def put(communicator, n_workers=None, **rows):
    with hpcml.config_context(communicator=communicator, n_workers=n_workers):
        return communicators.current().put(**rows)


def table_of(n, d, dtype, sparse_rows=False, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    if sparse_rows:
        X[X < 0.5] = 0
        return CSR.of(sparse.csr_array(X))
    return X


def statistics(X, weights, center):
    X = X.toarray() if sparse.issparse(X) else X
    return {"n": len(X), "sum": weights @ (X - center), "product": X.T @ (X * weights[:, None])}


def nearest(X, centers):
    X = X.toarray() if sparse.issparse(X) else X
    distances = ((X[:, None, :] - centers) ** 2).sum(axis=2)
    return {"labels": distances.argmin(axis=1).astype(np.int32), "distances": distances}


def everything(table, centers):
    """Return what a method may ask of a table, in a fixed order."""
    found = dict(table.map_reduce("moments", centers=np.ones(len(centers[0]))))
    found |= {f"own {name}": part for name, part in table.map_reduce(statistics, center=0.5).items()}
    table.map_rows(nearest, centers=centers)
    found["labels"], found["distances"] = table.rows("labels"), table.rows("distances")
    numbers = np.array([table.n_rows - 1, 0, table.n_rows // 2, 0])
    found["taken"] = table.take(numbers, "distances")
    X = table.take(numbers)
    found["taken X"] = X.to_scipy().toarray() if isinstance(X, CSR) else X
    table.map_rows(lambda distances: {"least": distances.min(axis=1)})
    targets = np.array([0.0, 0.3, 0.9, 2.0]) * found["own sum"].size
    for name in ("least", "weights"):
        found[f"reached {name}"] = table.where_sum_reaches(name, targets)
    table.fill("margin", 2.5, np.float32, (2,))
    found["margin"] = table.rows("margin")
    found["counted"] = table.map_reduce(lambda labels: {"n": np.bincount(labels, minlength=3)})["n"]
    return found


def assert_same_bits(found, expected):
    assert list(found) == list(expected)
    for name, part in expected.items():
        assert found[name].dtype == part.dtype and found[name].shape == part.shape, name
        assert found[name].tobytes() == np.ascontiguousarray(part).tobytes(), name


@pytest.mark.parametrize("n_workers", WORKERS)
@pytest.mark.parametrize("sparse_rows", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_of_one_process(n_workers, sparse_rows, dtype):
    X = table_of(7000, 5, dtype, sparse_rows)
    weights, centers = np.random.default_rng(1).random(7000), np.eye(3, 5)
    with put("serial", X=X, weights=weights) as table:
        expected = everything(table, centers)
    with put("processes", n_workers, X=X, weights=weights) as table:
        assert_same_bits(everything(table, centers), expected)


@given(
    n=st.integers(1, 5000),
    d=st.integers(1, 4),
    n_workers=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
    sparse_rows=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_bits_of_any_table(n, d, n_workers, dtype, sparse_rows, seed):
    X = table_of(n, d, dtype, sparse_rows, seed)
    weights, centers = np.random.default_rng(seed).random(n), np.eye(3, d)
    with put("serial", X=X, weights=weights) as table:
        expected = everything(table, centers)
    with put("processes", n_workers, X=X, weights=weights) as table:
        assert_same_bits(everything(table, centers), expected)


def test_what_a_kernel_overwrites_is_a_copy():
    X, shares = table_of(3000, 2, np.float64), np.full(3000, np.inf)
    found = []
    for name in ("serial", "processes"):
        with put(name, 2, X=X, weights=None, shares=shares.copy()) as table:
            total = table.map_reduce("add_seed", seed=X[:1].copy())["potential"]
            found.append((total, table.rows("shares")))
    assert_array_equal(found[0][0], found[1][0])
    assert_array_equal(found[0][1], found[1][1])
    assert np.isfinite(found[1][1]).all()
    given = shares.copy()
    given.setflags(write=False)
    with put("processes", 2, X=X, weights=None, shares=given) as table:
        table.map_reduce("add_seed", seed=X[:1].copy())
        assert_array_equal(table.take(np.array([5, 2999]), "shares"), found[0][1][[5, 2999]])
    assert np.isinf(given).all()


@pytest.mark.parametrize("n_rows", [0, 1])
@pytest.mark.parametrize("n_columns", [0, 1])
def test_tables_without_entries(n_rows, n_columns):
    def size(X):
        return {"rows": X.shape[0], "columns": X.shape[1]}

    with put("processes", 3, X=np.zeros((n_rows, n_columns))) as table:
        found = table.map_reduce(size)
        table.map_rows(lambda X: {"sum": X.sum(axis=1)})
        assert table.rows("sum").shape == (n_rows,)
    assert (found["rows"], found["columns"]) == (n_rows, n_columns)


def test_row_arrays_of_any_type_and_layout():
    X = np.asfortranarray(np.arange(6000.0).reshape(3000, 2))
    flags, times = np.arange(3000) % 3 == 0, np.arange(3000).astype("datetime64[s]")

    def kernel(X, flags, times):
        assert X.flags.c_contiguous and not X.flags.writeable
        return {"sum": X[flags].sum(axis=0), "last": times.max().astype(int)}

    with put("processes", 2, X=X[::1], flags=flags, times=times, none=None) as table:
        assert_array_equal(table.map_reduce(kernel)["sum"], X[flags].sum(axis=0))
        assert table.map_reduce(lambda times: {"sum": times.astype(int).sum()})["sum"] == 2999 * 1500
        table.set(y=X[::-1, 0])
        assert table.map_reduce(lambda X, y: {"dot": X[:, 0] @ y})["dot"] == X[:, 0] @ X[::-1, 0]


def test_statistics_without_entries():
    with put("processes", 2, X=np.ones((3000, 2))) as table:
        found = table.map_reduce(lambda X: {"none": X[:0, 0]})
    assert found["none"].shape == (0,)


def test_an_iteration_costs_little():
    with put("processes", 2, X=np.ones((2048, 1))) as table:
        times = []
        for _ in range(300):
            start = time.perf_counter()
            table.map_reduce("moments", centers=np.zeros(1), weights=None)
            times.append(time.perf_counter() - start)
    assert min(times) < 1e-3  # seconds; 0.15 ms on two idle cores


def test_results_stay_as_they_are():
    X = table_of(3000, 2, np.float64)
    with put("processes", 2, X=X) as table:
        first = table.map_reduce(lambda X: {"sum": X.sum(axis=0)})["sum"]
        table.map_rows(lambda X: {"twice": 2 * X})
        twice = table.rows("twice")
        before = first.copy()
        for _ in range(3):
            table.map_reduce(lambda X: {"sum": np.full(2, 7.0)})
        table.map_rows(lambda X: {"twice": 3 * X})
        assert_array_equal(first, before)
        assert_array_equal(twice, 2 * X)
    twice[0] = 0.0  # the caller's own


def test_large_arguments_and_statistics():
    model = np.random.default_rng(0).random(300_000)  # 2.4 MB, more than a message has room for at first
    with put("processes", 2, X=np.ones((4096, 1))) as table:
        for _ in range(2):
            found = table.map_reduce(lambda X, model: {"model": model * len(X)}, model=model)
            assert_array_equal(found["model"], model * 4096)
    assert len(pool.current_pool(2)._outbox._memory or b"") <= 1 << 18  # given back with the table


def test_functions_of_every_kind():
    X = np.ones((3000, 1))
    captured = 2.0

    class Scale:
        """A model of the user's own, as argument and as kernel."""

        def __init__(self, factor):
            self.factor = factor

        def __call__(self, X):
            return {"sum": self.factor * X.sum()}

    def weighted(X, center, weights):
        return {"sum": weights @ (X - center)}

    def closure(X, offset):
        return {"sum": captured * X.sum() + 0 * offset}

    kernels = [
        closure,
        functools.partial(weighted, weights=np.ones(1500)),
        Scale(3.0),
        lambda X: {"sum": X.sum()},
    ]
    with put("processes", 2, X=X) as table:
        assert table.map_reduce(kernels[0], offset=1.0)["sum"] == 6000
        captured = 5.0  # a closure is taken as it is now
        assert table.map_reduce(kernels[0], offset=1.0)["sum"] == 15000
        assert table.map_reduce(kernels[1], center=0.0)["sum"] == 3000
        assert table.map_reduce(kernels[2])["sum"] == 9000
        assert table.map_reduce(lambda X, model: model(X), model=Scale(4.0))["sum"] == 12000


def test_settings_reach_the_workers(monkeypatch):
    def seen(X):
        import os

        from hpcml import config, machine

        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        if X[0, 0] == 0:  # the first shard: in this process
            return dict.fromkeys(("reference", "serial", "isa", "threads", "blas"), 0)
        return {
            "reference": config.kernels() == "reference",
            "serial": config.communicator() == "serial",
            "isa": machine.isa_level(),
            "threads": config.n_threads(),
            "blas": all(os.environ[name] == "1" for name in names),
        }

    monkeypatch.setenv("HPCML_COMMUNICATOR", "processes")
    with put("processes", 2, X=np.arange(2048.0)[:, None]) as table:
        for level, isa in enumerate(machine.supported_isas()):
            monkeypatch.setenv("HPCML_ISA", isa)
            found = table.map_reduce(seen)
            assert (found["isa"], found["serial"], found["blas"]) == (level, 1, 1)
        monkeypatch.delenv("HPCML_ISA")
        assert table.map_reduce(seen)["isa"] == machine.isa_level()
        with hpcml.config_context(kernels="reference"):
            assert table.map_reduce(seen)["reference"] == 1
        assert table.map_reduce(seen)["threads"] == config.worker_threads(2)


def test_settings_are_those_of_the_fit_and_not_of_the_start(monkeypatch):
    pool.end_pool()
    monkeypatch.setenv("HPCML_ISA", "baseline")
    put("processes", 2, X=np.zeros((2048, 1))).close()
    monkeypatch.delenv("HPCML_ISA")

    def isa(X):
        from hpcml import machine

        return {"isa": machine.isa_level()}

    with hpcml.config_context(n_threads=1), put("processes", 2, X=np.zeros((2048, 1))) as table:
        assert table.map_reduce(isa)["isa"] == 2 * machine.isa_level()  # of two shards


def test_workers_times_threads_fit_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: (8, "a test"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (config.n_workers(), config.worker_threads(8)) == (8, 1)
    assert [config.worker_threads(k) for k in (1, 2, 3, 5, 9)] == [8, 4, 2, 1, 1]
    with hpcml.config_context(n_threads=3):
        assert (config.n_workers(), config.worker_threads(2)) == (2, 3)
    with hpcml.config_context(n_workers=4):
        assert (config.n_workers(), config.worker_threads(4)) == (4, 2)
    with hpcml.config_context(n_workers=4, n_threads=8):  # asked for
        assert (config.n_workers(), config.worker_threads(4)) == (4, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert config.worker_threads(2) == 2


def test_warnings_of_workers_are_given_here():
    def warns(X):
        import warnings

        warnings.warn("the shard is odd", FutureWarning, stacklevel=1)
        return {"log": np.log(X.sum() * 0)}

    with put("processes", 2, X=np.ones((3000, 1))) as table:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            table.map_reduce(warns)
        odd = [each for each in seen if str(each.message) == "the shard is odd"]
        assert len(odd) == 2 and len(seen) == 4  # those of this process and those of the other, in any order
        assert {each.category for each in odd} == {FutureWarning}
        # a function that has travelled has forgotten its file (cloudpickle); here it is known
        assert __file__ in {each.filename for each in odd}
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            with pytest.raises(FutureWarning, match="odd"):
                table.map_reduce(warns)
        assert table.map_reduce(lambda X: {"n": len(X)})["n"] == 3000


def test_workers_stay_warm_and_are_shared_by_tables():
    X = np.ones((5000, 1))
    with put("processes", 2, X=X) as first:
        before = pool.current_pool(1).process_ids[:1]
        with put("processes", 3, X=2 * X) as second:
            for _ in range(2):
                assert first.map_reduce(lambda X: {"sum": X.sum()})["sum"] == 5000
                assert second.map_reduce(lambda X: {"sum": X.sum()})["sum"] == 10000
        assert pool.current_pool(1).process_ids[:1] == before
        abandoned = put("processes", 2, X=X)
        number = abandoned._number
        del abandoned
        assert first.map_reduce(lambda X: {"sum": X.sum()})["sum"] == 5000

        def tables_left(X):
            import gc
            import sys

            kind = getattr(sys.modules["__main__"], "Worker", ())  # not in this process
            return {"n": sum(len(each._tables) for each in gc.get_objects() if isinstance(each, kind))}

        assert (
            first.map_reduce(tables_left)["n"] == 2
        )  # one table, seen by the two shards of the other process
        assert number > first._number


def test_one_worker_is_this_process():
    pool.end_pool()
    X = np.ones((5000, 3))
    with put("processes", 1, X=X) as table:
        assert table.map_reduce(lambda X: {"n": len(X)})["n"] == 5000
        table.fill("ones", 1, np.int8)
        assert table.rows("ones").sum() == 5000
        assert table.take(np.array([7, 4999]), "ones").tolist() == [1, 1]
        assert pool.current_pool(0).process_ids == []


def test_this_process_computes_its_own_rows():
    def pids(X):
        import os

        return {"pid": np.full(len(X), os.getpid())}

    with put("processes", 3, X=np.ones((5000, 3))) as table:  # four shards
        table.map_rows(pids)
        found = table.rows("pid").tolist()
        others = pool.current_pool(2).process_ids
        assert found == [os.getpid()] * 1250 + others[:1] * 1250 + others[1:2] * 2500


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the time is told in /proc")
def test_idle_workers_sleep():
    with put("processes", 2, X=np.ones((5000, 3))) as table:
        table.map_reduce("moments", centers=np.zeros(3), weights=None)
        (worker,) = pool.current_pool(1).process_ids[:1]
        before = cpu_seconds(worker)
        time.sleep(0.3)
        assert cpu_seconds(worker) - before <= 0.02  # the resolution


def test_nobody_waits_awake_where_cores_are_few(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: (4, "a test"))
    channel.patience_of.cache_clear()
    assert channel.patience_of(4) == channel.PATIENCE and channel.patience_of(5) == 0.0
    channel.patience_of.cache_clear()


def test_two_threads_at_once():
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((6000, 3)) for _ in range(4)]

    def fit(X, n_workers):
        centers = X[:3].copy()
        with put("processes", n_workers, X=X) as table:
            for _ in range(15):
                table.map_rows(nearest, centers=centers)

                def sums(X, labels):
                    return {"sums": np.eye(3)[labels].T @ X, "n": np.bincount(labels, minlength=3)}

                found = table.map_reduce(sums)
                centers = found["sums"] / np.maximum(found["n"], 1)[:, None]
            return centers, table.rows("labels")

    expected = [fit(X, 1 + i % 3) for i, X in enumerate(tables)]
    found = [None] * 4

    def run(i):
        found[i] = fit(tables[i], 1 + i % 3)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one[0], other[0])
        assert_array_equal(one[1], other[1])


def open_files(pids):
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_no_file_stays_open():
    X, S = table_of(2048, 3, np.float64), table_of(2048, 3, np.float64, sparse_rows=True)

    def fit():
        with put("processes", 2, X=X, S=S, weights=None) as table:
            table.fill("labels", 0, np.int32)
            table.map_rows(lambda X: {"sum": X.sum(axis=1)})
            table.map_reduce("moments", centers=np.zeros(3))
            return table.rows("sum"), table.take(np.arange(5), "labels")

    fit()
    pids = [os.getpid(), *pool.current_pool(1).process_ids]
    before = open_files(pids)
    kept = [fit() for _ in range(100)]
    assert open_files(pids) == before
    assert len(kept) == 100


@pytest.mark.parametrize("allowed", [True, False])
def test_many_rows_are_written_to_the_workers_where_that_is_allowed(monkeypatch, allowed):
    monkeypatch.setattr(processes, "SENT_BYTES", 1)
    if not allowed:
        monkeypatch.setattr(pool, "write", lambda *_: False)
    sizes = shared_bytes(monkeypatch)
    X, weights = table_of(5000, 3, np.float32), np.arange(5000.0)

    def overwrites(X):
        X[0] = 0

    with put("processes", 3, X=X) as table:
        table.set(weights=weights)
        found = table.map_reduce(lambda X, weights: {"sum": weights @ X, "weight": weights.sum()})
        with pytest.raises(ValueError, match="read-only"):
            table.map_rows(overwrites)
        assert_array_equal(table.rows("X"), X)
        written = pool.current_pool(2).may_write
    pool.end_pool()
    assert_array_equal(found["weight"], weights.sum())
    np.testing.assert_allclose(found["sum"], weights @ X, rtol=1e-6)
    assert sizes == ([] if written else [X.nbytes * 3 // 4, weights.nbytes * 3 // 4])
    assert allowed or not written


# -- memory maps -------------------------------------------------------------------------------------------


def shared_bytes(monkeypatch):
    """Return a list to which the sizes of new segments are added."""
    sizes, real = [], shared_memory.reserve

    def reserve(n_bytes, purpose):
        sizes.append(n_bytes)
        return real(n_bytes, purpose)

    monkeypatch.setattr(shared_memory, "reserve", reserve)
    return sizes


def sums_with_workers(X):
    with put("processes", 3, X=X) as table:
        return table.map_reduce(lambda X: {"sum": X.sum(axis=0)})["sum"]


needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/maps"), reason="memory maps are found in /proc"
)


@needs_proc
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize(
    "view",
    [lambda m: m, lambda m: m[1000:], lambda m: np.asarray(m)[17:4000], lambda m: m.reshape(-1, 5)],
)
def test_a_memory_map_is_mapped_and_not_copied(tmp_path, monkeypatch, mode, view):
    np.save(tmp_path / "X.npy", np.random.default_rng(0).integers(0, 9, (5000, 3)).astype(float))
    X = view(np.load(tmp_path / "X.npy", mmap_mode=mode))
    sizes = shared_bytes(monkeypatch)
    assert_array_equal(sums_with_workers(X), X.sum(axis=0, dtype=X.dtype).astype(float))
    assert sizes == []


@needs_proc
def test_a_renamed_memory_map_is_still_mapped(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", np.ones((5000, 3)))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    os.rename(tmp_path / "X.npy", tmp_path / "old name.npy")
    np.save(tmp_path / "X.npy", np.full((5000, 3), 2.0))  # another file under the old name
    sizes = shared_bytes(monkeypatch)
    assert_array_equal(sums_with_workers(X), [5000.0] * 3)
    assert sizes == []


def test_what_may_differ_from_the_file_is_copied(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", np.ones((5000, 3)))
    sizes = shared_bytes(monkeypatch)
    changed = np.load(tmp_path / "X.npy", mmap_mode="c")
    changed[0] = 10.0  # in this process alone
    assert_array_equal(sums_with_workers(changed), [5009.0] * 3)
    replaced = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", np.zeros((5000, 3)))
    os.replace(tmp_path / "new.npy", tmp_path / "X.npy")
    assert_array_equal(sums_with_workers(replaced), [5000.0] * 3)
    assert_array_equal(sums_with_workers(replaced[::2]), [2500.0] * 3)  # not contiguous
    assert_array_equal(sums_with_workers(replaced[:, 1:]), [5000.0] * 2)
    # the first of four shards is read in place, and of two where every other row is taken
    assert sizes == [90_000, 90_000, 30_000, 60_000]


@needs_proc
def test_sparse_rows_of_memory_maps(tmp_path, monkeypatch):
    S = sparse.random_array((5000, 8), density=0.3, format="csr", rng=np.random.default_rng(0))
    parts = {"data": S.data, "indices": S.indices.astype(np.int32), "indptr": S.indptr.astype(np.int64)}
    for name, part in parts.items():
        np.save(tmp_path / f"{name}.npy", part)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in parts]
    sizes = shared_bytes(monkeypatch)
    found = sums_with_workers(CSR(*maps, 8))
    np.testing.assert_allclose(found, S.sum(axis=0))
    assert sizes == [8 * (5000 * 3 // 4 + 2)]  # an indptr of their own for two workers with three shards


def test_rows_that_lie_across_words_are_copied(tmp_path, monkeypatch):
    rows = np.arange(9000.0).reshape(3000, 3)
    (tmp_path / "X.bin").write_bytes(b"abc" + rows.tobytes())
    X = np.memmap(tmp_path / "X.bin", dtype=float, mode="r", offset=3, shape=(3000, 3))
    sizes = shared_bytes(monkeypatch)
    assert_array_equal(sums_with_workers(X), rows.sum(axis=0))
    assert sizes == [rows.nbytes // 2]  # the second of two shards


def test_files_are_never_written_to(tmp_path):
    X = table_of(3000, 2, np.float64)
    np.save(tmp_path / "shares.npy", np.full(3000, np.inf))
    shares = np.load(tmp_path / "shares.npy", mmap_mode="r+")
    with put("processes", 2, X=X, weights=None, shares=shares) as table:
        table.map_reduce("add_seed", seed=X[:1].copy())
        assert np.isfinite(table.rows("shares")).all()
    assert np.isinf(np.load(tmp_path / "shares.npy")).all()
