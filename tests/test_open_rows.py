"""open_rows: every kind of file, any share of its rows, only the bytes of the share, clear errors."""

import os
import sys
from itertools import chain, pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

import hpcml
from hpcml.data.open_files import open_source
from hpcml.data.tables import existing
from mpi_runs import run_ranks

N, D = 1000, 4


def matrix():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def frame():
    table = pd.DataFrame(matrix(), columns=["age", "hours", "gain", "loss"])
    table["count"] = np.arange(N)
    table["income"] = np.where(table["age"] > 0, ">50K", "<=50K")
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One table in every kind of file."""
    folder = tmp_path_factory.mktemp("tables")
    X, table = matrix(), frame()
    np.save(folder / "rows.npy", X)
    np.save(folder / "fortran.npy", np.asfortranarray(X))
    np.save(folder / "target.npy", X[:, 0] > 0)
    records = table.drop(columns="income").to_records(index=False)
    np.save(folder / "records.npy", np.asarray(records))
    cuts = [0, 300, 300, 310, 990, N]
    for name in ("parts", "targets", "parquets"):
        (folder / name).mkdir()
    for i, (start, stop) in enumerate(pairwise(cuts), start=8):  # 8, ..., 12
        np.save(folder / "parts" / f"part-{i}.npy", X[start:stop])
        np.save(folder / "targets" / f"part-{i}.npy", X[start:stop, 0] > 0)
        if stop > start:
            table.iloc[start:stop].to_parquet(folder / "parquets" / f"part-{i}.parquet", row_group_size=64)
    table.to_parquet(folder / "table.parquet", row_group_size=77)
    return folder


@pytest.fixture(scope="module")
def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    X = matrix()
    with h5py.File(folder / "rows.h5", "w") as file:
        file["a/plain"] = X
        file.create_dataset("a/packed", data=X, chunks=(64, D), compression="gzip")
        file["y"] = X[:, 0] > 0
        file["names"] = np.array(["yes", "no"] * (N // 2), dtype=object)
    with h5py.File(folder / "single.h5", "w") as file:
        file["X"] = X
    return folder


# -- what comes back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.npy", "fortran.npy", "parts"])
@pytest.mark.parametrize("target", [None, 0, -1, "2", "target.npy", "targets"])
def test_matrices(folder, name, target):
    X = matrix()
    if isinstance(target, str) and target.startswith("target"):
        wanted, expected, named = folder / target, X[:, 0] > 0, Path(target).stem
    elif target is None:
        wanted, expected, named = None, None, None
    else:
        wanted, expected, named = target, X[:, int(target)], str(target)
        X = np.delete(X, int(target), axis=1)
    rows = hpcml.open_rows(folder / name, target=str(wanted) if isinstance(wanted, Path) else wanted)
    np.testing.assert_array_equal(rows.X, X)
    assert rows.X.dtype == np.float32 and rows.target_name == named
    assert (rows.n_rows, rows.first_row, len(rows.feature_names)) == (N, 0, X.shape[1])
    if expected is None:
        assert rows.y is None and rows.feature_names == ["x0", "x1", "x2", "x3"]
    else:
        np.testing.assert_array_equal(rows.y, expected)


@pytest.mark.require("parquet")
@pytest.mark.parametrize("name", ["table.parquet", "parquets"])
def test_parquet(folder, name):
    table = frame()
    rows = hpcml.open_rows(folder / name, target="income")
    np.testing.assert_array_equal(rows.X, table.drop(columns="income").to_numpy(dtype=np.float64))
    assert rows.feature_names == ["age", "hours", "gain", "loss", "count"]
    assert rows.y.tolist() == table["income"].tolist() and rows.y.dtype.kind == "U"
    assert rows.n_rows == N


@pytest.mark.require("parquet")
def test_parquet_of_float32_stays_so_and_missing_values_are_nan(tmp_path):
    table = pd.DataFrame({"a": np.float32([1, 2, np.nan]), "b": np.float32([1, 2, 3])})
    table.to_parquet(tmp_path / "t.parquet")
    rows = hpcml.open_rows(tmp_path / "t.parquet")
    assert rows.X.dtype == np.float32 and np.isnan(rows.X[2, 0]) and rows.y is None
    mixed = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "flag": [True, False, True]})
    mixed["kind"] = pd.Categorical(["u", "v", "u"])
    mixed.to_parquet(tmp_path / "m.parquet")
    rows = hpcml.open_rows(tmp_path / "m.parquet", target="kind")
    np.testing.assert_array_equal(rows.X, [[1, 1], [np.nan, 0], [3, 1]])
    assert rows.y.tolist() == ["u", "v", "u"]


def test_structured_rows(folder):
    rows = hpcml.open_rows(folder / "records.npy", target="count")
    np.testing.assert_array_equal(rows.X, matrix())
    assert rows.feature_names == ["age", "hours", "gain", "loss"]
    assert rows.X.dtype == np.float32 and rows.y.tolist() == list(range(N))


@pytest.mark.require("hdf5")
@pytest.mark.parametrize("dataset", ["a/plain", "/a/packed"])
@pytest.mark.parametrize("target", ["y", "names", 1])
def test_hdf5(hdf5, dataset, target):
    X = matrix()
    rows = hpcml.open_rows(hdf5 / "rows.h5", dataset=dataset, target=target)
    expected = {"y": X[:, 0] > 0, "names": np.array(["yes", "no"] * (N // 2)), 1: X[:, 1]}[target]
    np.testing.assert_array_equal(rows.y, expected)
    np.testing.assert_array_equal(rows.X, np.delete(X, 1, axis=1) if target == 1 else X)
    if target != 1:
        assert isinstance(rows.X, np.memmap) == (dataset == "a/plain")


@pytest.mark.require("hdf5")
def test_hdf5_with_one_matrix_needs_no_name(hdf5):
    np.testing.assert_array_equal(hpcml.open_rows(hdf5 / "single.h5").X, matrix())


def test_a_matrix_is_mapped_and_cannot_be_written_to(folder):
    rows = hpcml.open_rows(folder / "rows.npy", target=-1)
    assert isinstance(rows.X, np.memmap) and not rows.X.flags.writeable
    rows = hpcml.open_rows(folder / "rows.npy", target=folder / "target.npy")
    assert rows.X.flags.c_contiguous


# -- shares ------------------------------------------------------------------------------------------------


@pytest.mark.require("parquet")
@given(data=st.data())
@pytest.mark.parametrize(
    "name, target",
    [("rows.npy", 1), ("fortran.npy", 0), ("records.npy", "age"), ("parts", -1)]
    + [("table.parquet", "income"), ("parquets", "income")],
)
def test_shares_put_together_are_the_table(folder, name, target, data):
    source = open_source(folder / name, target, None)
    cuts = sorted(data.draw(st.lists(st.integers(0, N), max_size=5)))
    shares = [source.read(start, stop) for start, stop in zip([0, *cuts], [*cuts, N], strict=True)]
    X, y = source.read(0, N)
    np.testing.assert_array_equal(np.concatenate([share for share, _ in shares]), X)
    assert all(share.shape[1] == X.shape[1] and share.dtype == X.dtype for share, _ in shares)
    np.testing.assert_array_equal(np.concatenate([some for _, some in shares if len(some)]), y)


def opened(folder, names):
    found = []
    for name, target in names:
        rows = hpcml.open_rows(Path(folder, name), target=target)
        found.append((rows.X.tolist(), rows.y.tolist(), rows.n_rows, rows.first_row))
    return found


@pytest.mark.require("mpi", "parquet")
def test_ranks_open_shares_in_their_order(folder):
    names = [("rows.npy", -1), ("parts", -1), ("table.parquet", "income"), ("parquets", "income")]
    run = run_ranks(3, opened, str(folder), names)
    for i, (X, y, n_rows, first_row) in enumerate(opened(folder, names)):
        shares = [result[i] for result in run.results]
        assert [list(chain(*parts)) for parts in zip(*(share[:2] for share in shares), strict=True)] == [X, y]
        assert {share[2] for share in shares} == {n_rows}
        assert [share[3] for share in shares] == [0, 333, 666] and first_row == 0


# -- errors ------------------------------------------------------------------------------------------------


def test_missing_files_and_columns_name_what_may_be_meant(folder):
    with pytest.raises(FileNotFoundError, match=r"did you mean .*rows\.npy\?"):
        hpcml.open_rows(folder / "row.npy")
    with pytest.raises(FileNotFoundError, match="check the path"):
        existing(folder / "nowhere" / "x.npy")
    with pytest.raises(ValueError, match=r"from -4 to 3, or a file\. Got 4 instead"):
        hpcml.open_rows(folder / "rows.npy", target=4)
    with pytest.raises(FileNotFoundError, match=r"did you mean .*target\.npy"):
        hpcml.open_rows(folder / "rows.npy", target=folder / "targe.npy")
    with pytest.raises(ValueError, match=r"no column 'cuont' .*did you mean count\?"):
        hpcml.open_rows(folder / "records.npy", target="cuont")


@pytest.mark.require("parquet")
def test_errors_of_parquet(folder, tmp_path):
    with pytest.raises(ValueError, match=r"no column 'incme' .*did you mean income\?"):
        hpcml.open_rows(folder / "table.parquet", target="incme")
    with pytest.raises(ValueError, match="column 'income' of .* must hold numbers"):
        hpcml.open_rows(folder / "table.parquet", target="age")
    table = frame()
    table.loc[3, "income"] = None
    table.to_parquet(tmp_path / "holes.parquet")
    with pytest.raises(ValueError, match="the target 'income' of .* is missing in 1 rows"):
        hpcml.open_rows(tmp_path / "holes.parquet", target="income")
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        hpcml.open_rows(tmp_path / "broken.parquet")
    (tmp_path / "parts").mkdir()
    frame().to_parquet(tmp_path / "parts" / "1.parquet")
    frame().drop(columns="loss").to_parquet(tmp_path / "parts" / "2.parquet")
    with pytest.raises(ValueError, match=r"same columns\. 1\.parquet has 5 \(age, .*2\.parquet has 4 \(age"):
        hpcml.open_rows(tmp_path / "parts", target="income")


@pytest.mark.require("hdf5")
def test_errors_of_hdf5(hdf5, tmp_path):
    with pytest.raises(ValueError, match="it has a/packed, a/plain"):
        hpcml.open_rows(hdf5 / "rows.h5")
    with pytest.raises(ValueError, match=r"no dataset 'a/plan' .*did you mean a/plain\?"):
        hpcml.open_rows(hdf5 / "rows.h5", dataset="a/plan")
    with pytest.raises(ValueError, match="must be a matrix of numbers"):
        hpcml.open_rows(hdf5 / "rows.h5", dataset="y")
    with pytest.raises(ValueError, match="no dataset 'z'"):
        hpcml.open_rows(hdf5 / "single.h5", target="z")
    with pytest.raises(ValueError, match="from -4 to 3"):
        hpcml.open_rows(hdf5 / "single.h5", target=7)
    with pytest.raises(ValueError, match="must have one entry for each of 1000 rows"):
        hpcml.open_rows(hdf5 / "rows.h5", dataset="a/plain", target="a/packed")
    (tmp_path / "broken.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        hpcml.open_rows(tmp_path / "broken.h5")


def test_errors_of_npy(folder, tmp_path):
    cases = {
        "objects.npy": (np.array([[1, "a"]], dtype=object), "holds Python objects"),
        "cube.npy": (
            np.zeros((2, 3, 4)),
            r"must hold a matrix of numbers .* Got float64 of shape \(2, 3, 4\)",
        ),
        "words.npy": (np.array([["a"]]), "must hold a matrix of numbers"),
    }
    for name, (array, message) in cases.items():
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=message):
            hpcml.open_rows(tmp_path / name)
    text = np.array([(1.0, "a")], dtype=[("x", "f8"), ("name", "U4")])
    np.save(tmp_path / "text.npy", text)
    with pytest.raises(ValueError, match="column 'name' of .* must hold numbers"):
        hpcml.open_rows(tmp_path / "text.npy", target="x")
    whole = (folder / "rows.npy").read_bytes()
    (tmp_path / "torn.npy").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="is cut off: it has 16028 bytes of 16128"):
        hpcml.open_rows(tmp_path / "torn.npy")
    (tmp_path / "none.npy").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"cannot be read as \.npy"):
        hpcml.open_rows(tmp_path / "none.npy")
    np.save(tmp_path / "short.npy", np.zeros(7))
    with pytest.raises(ValueError, match=r"has 1000 rows and the target .*short\.npy has 7"):
        hpcml.open_rows(folder / "rows.npy", target=tmp_path / "short.npy")
    with pytest.raises(ValueError, match=r"must be one number a row, of shape \(n,\)\. Got \(1000, 4\)"):
        hpcml.open_rows(folder / "rows.npy", target=folder / "rows.npy")


def test_errors_of_folders_and_other_files(folder, tmp_path):
    with pytest.raises(ValueError, match="has no parts"):
        hpcml.open_rows(tmp_path)
    np.save(tmp_path / "a.npy", matrix())
    with pytest.raises(ValueError, match="dataset names a part of an HDF5 file"):
        hpcml.open_rows(tmp_path / "a.npy", dataset="X")
    np.save(tmp_path / "b.npy", matrix().astype(np.float64))
    with pytest.raises(ValueError, match=r"same type\. a\.npy is float32, b\.npy is float64"):
        hpcml.open_rows(tmp_path)
    (tmp_path / "c.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="parts of one kind"):
        hpcml.open_rows(tmp_path)
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"x\.csv must be a \.npy, \.parquet or \.h5 file, or a folder"):
        hpcml.open_rows(tmp_path / "x.csv")


def opened_wrongly(folder):
    try:
        return hpcml.open_rows(Path(folder, "rows.npy" if os.environ["PMI_RANK"] == "0" else "no.npy")).n_rows
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.require("mpi")
def test_a_file_that_one_rank_lacks_is_told_to_all(folder):
    run = run_ranks(2, opened_wrongly, str(folder))
    assert run.results[1].startswith("FileNotFoundError: no such file")
    assert run.results[0] == f"WorkerLost: rank 1 raised {run.results[1]}"


# -- larger than memory ------------------------------------------------------------------------------------

HUGE_ROWS, HUGE_COLUMNS = 12_000_000, 32  # 3 GB of float64 that take no room on the disk


def within_two_gigabytes(path):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    from hpcml.cluster import KMeans
    from hpcml.preprocessing import StandardScaler

    rows = hpcml.open_rows(path)
    scaler = StandardScaler().fit(rows.X)
    starts = np.stack([np.zeros(HUGE_COLUMNS), np.full(HUGE_COLUMNS, 2.0)])
    model = KMeans(2, init=starts, n_init=1, max_iter=2).fit(rows.X)
    return (
        len(rows.X),
        int(scaler.n_samples_seen_),
        float(scaler.mean_[0]),
        model.cluster_centers_[:, 0].tolist(),
    )


@pytest.mark.slow
@pytest.mark.require("mpi")
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space is Linux's")
def test_a_file_larger_than_the_memory_of_a_rank(tmp_path):
    path = tmp_path / "huge.npy"
    header = {"descr": "<f8", "fortran_order": False, "shape": (HUGE_ROWS, HUGE_COLUMNS)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + 8 * HUGE_ROWS * HUGE_COLUMNS)
        file.seek(start)
        file.write(np.ones(HUGE_COLUMNS).tobytes())
        file.seek(-8 * HUGE_COLUMNS, os.SEEK_END)
        file.write(np.full(HUGE_COLUMNS, 2.0).tobytes())
    run = run_ranks(4, within_two_gigabytes, str(path))
    assert run.results == [(HUGE_ROWS // 4, HUGE_ROWS, 3.0 / HUGE_ROWS, [0.0, 1.5])] * 4


@pytest.mark.parametrize("path", [None, 3, ["rows.npy"], np.zeros((2, 2))])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match=f"path must be a str or a path. Got {type(path).__name__} instead"):
        hpcml.open_rows(path)


def test_a_column_of_text_may_be_the_target(folder, tmp_path):
    with pytest.raises(ValueError, match="column 'income' of .* or pass target=\"income\""):
        hpcml.open_rows(folder / "table.parquet")
    records = np.zeros(3, dtype=[("age", "f8"), ("income", "U5")])
    np.save(tmp_path / "text.npy", records)
    with pytest.raises(ValueError, match="column 'income' of .* or pass target=\"income\""):
        hpcml.open_rows(tmp_path / "text.npy")


@pytest.mark.parametrize(("name", "sep", "more"), [("a.csv", ",", ""), ("a.tsv.gz", "\t", r", sep='\t'")])
def test_how_to_convert_a_table_of_text_is_said(tmp_path, monkeypatch, name, sep, more):
    monkeypatch.chdir(tmp_path)
    frame().to_csv(name, index=False, sep=sep)
    with pytest.raises(ValueError, match="convert it once") as raised:
        hpcml.open_rows(name)
    command = str(raised.value).partition("convert it once: ")[2].removesuffix(".")
    assert command == f"pandas.read_csv('{name}'{more}).to_parquet('a.parquet')"
    exec(command, {"pandas": pd})
    assert hpcml.open_rows("a.parquet", target="income").n_rows == N


def test_rows_are_shown_in_one_line(folder):
    rows = hpcml.open_rows(folder / "table.parquet", target="income")
    assert repr(rows).startswith("<Rows: 1000 rows, 5 features of float64, target 'income' of ")
    rows = hpcml.open_rows(folder / "rows.npy")
    assert repr(rows) == "<Rows: 1000 rows, 4 features of float32, no target>"
