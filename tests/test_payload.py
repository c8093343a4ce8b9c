"""Tasks as bytes with their arrays beside them: each array once, everything back as it was."""

import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer

from hpcml.joblib_backends.payload import Packer, dump, load

rng = np.random.default_rng(0)

TABLES = {
    "C": rng.normal(size=(300, 4)),
    "Fortran": np.asfortranarray(rng.normal(size=(300, 4))),
    "strided": rng.normal(size=(300, 8))[::2, ::2],
    "reversed": rng.normal(size=(300, 4))[::-1],
    "broadcast": np.broadcast_to(np.arange(4.0), (300, 4)),
    "big-endian": rng.normal(size=(300, 4)).astype(">f4"),
    "bool": rng.random((900, 9)) > 0.5,
    "dates": np.arange(2000).astype("datetime64[s]"),
    "records": np.zeros(500, [("a", "f8"), ("b", "i4")]),
    "objects": np.array([f"text {i}" for i in range(1000)] + [None], dtype=object),
    "empty": np.empty((0, 4)),
    "scalar": np.array(3.0),
    "texts": [f"text {i}" for i in range(2000)],
    "csr": sparse.random(300, 40, 0.3, format="csr", rng=rng),
    "frame": pd.DataFrame({"a": rng.normal(size=2000), "b": [f"word {i % 7}" for i in range(2000)]}),
    "categories": pd.Series([f"word {i % 7}" for i in range(9000)], dtype="category"),
    "nested": (1, {"X": [rng.normal(size=1000), (rng.normal(size=1000),)]}),
}


def assert_same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if theirs.ndim == 2 and theirs.flags.f_contiguous != theirs.flags.c_contiguous:
            assert ours.flags.f_contiguous == theirs.flags.f_contiguous
    elif sparse.issparse(theirs):
        assert ours.shape == theirs.shape and (ours != theirs).nnz == 0
    elif isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs)
    elif isinstance(theirs, pd.Series):
        pd.testing.assert_series_equal(ours, theirs)
    elif isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, dict):
        assert_same(list(ours.items()), list(theirs.items()))
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("max_nbytes", [None, 0, 1000, 10**9])
def test_objects_come_back(name, max_nbytes):
    data, arrays = dump(TABLES[name], max_nbytes)
    assert_same(load(data, arrays), TABLES[name])
    for array in arrays:
        assert type(array) is np.ndarray and array.nbytes >= max(1, max_nbytes) and not array.dtype.hasobject
        assert array.flags.c_contiguous or array.flags.f_contiguous
    if max_nbytes in (None, 10**9):
        assert not arrays
    elif max_nbytes == 1000 and name not in ("empty", "scalar"):
        assert arrays and len(data) < 5000


@pytest.mark.parametrize("name", ["C", "objects", "texts", "csr", "frame"])
def test_what_tasks_share_is_kept_once(name):
    packer, alone = Packer(1000), dump(TABLES[name], 1000)[1]
    tasks = [packer.pack((TABLES[name], number)) for number in range(20)]
    assert len(packer.arrays) == len(alone)
    assert [load(task, packer.arrays)[1] for task in tasks] == list(range(20))
    one, other = (load(task, packer.arrays)[0] for task in tasks[:2])
    assert_same(one, other)
    if name == "texts":  # a task may change its own list
        assert one is not other


def test_smaller_arrays_of_several_tasks_are_kept_once_and_copied():
    packer, X = Packer(100_000, repeated_nbytes=1000), TABLES["Fortran"]
    tasks = [packer.pack((X, number, X, np.full(300, number))) for number in range(5)]
    assert len(packer.arrays) == 1 and len(tasks[0]) > X.nbytes and max(map(len, tasks[1:])) < 3000
    for number, task in enumerate(tasks):
        one, own, other, alone = load(task, packer.arrays)
        assert_same(one, X)
        assert own == number and one is other and one.flags.writeable and alone[0] == number
        one[:] = 0  # of this task alone
    none = Packer(100_000)
    assert all(len(none.pack((X, number))) > X.nbytes for number in range(3)) and not none.arrays


def test_arrays_that_are_gone_are_not_mistaken_for_new_ones():
    packer = Packer(1000)
    tasks = [packer.pack(np.full(1000, float(number))) for number in range(20)]
    assert [load(task, packer.arrays)[0] for task in tasks] == list(range(20))
    packer = Packer(10**6, repeated_nbytes=1000)
    tasks = [packer.pack(np.full(1000, float(number))) for number in range(20)]
    assert [load(task, packer.arrays)[0] for task in tasks] == list(range(20)) and not packer.arrays


def test_a_memory_map_is_its_content(tmp_path):
    np.save(tmp_path / "X.npy", TABLES["C"])
    data, arrays = dump(np.load(tmp_path / "X.npy", mmap_mode="r"), 100)
    (tmp_path / "X.npy").unlink()
    assert_same(load(data, [np.array(array) for array in arrays]), TABLES["C"])


def test_one_object_twice_stays_one_object():
    for table in (TABLES["texts"], TABLES["objects"], TABLES["C"]):
        one, other = load(*dump((table, table), 1000))
        assert one is other
    loop = list(range(2000))
    loop.append(loop)
    back = load(*dump(loop, 100))
    assert back[-1][:2000] == back[:2000] == loop[:2000]


def test_functions_and_classes_go_by_value():
    class Local:
        def __init__(self, X):
            self.X = X

        def total(self):
            return self.X.sum()

    data, arrays = dump(Local(TABLES["C"]), 1000)
    assert len(arrays) == 1
    assert load(data, arrays).total() == TABLES["C"].sum()


def test_arrays_are_found_in_fitted_estimators():
    X, y = TABLES["C"], TABLES["C"][:, 0]
    forest = RandomForestRegressor(3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(load(*dump(forest, 500)).predict(X), forest.predict(X))
    texts = CountVectorizer().fit(TABLES["texts"])
    assert load(*dump(texts, 500)).vocabulary_ == texts.vocabulary_


def test_loaded_objects_hold_the_arrays_that_are_given():
    data, arrays = dump({"X": TABLES["C"]}, 100)
    given = [array.copy() for array in arrays]
    given[0].flags.writeable = False
    back = load(data, given)["X"]
    assert back is given[0]
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 0


def test_what_cannot_be_pickled_raises_and_leaves_the_packer_usable():
    packer = Packer(100)
    for bad in (threading.Lock(), [threading.Lock()] * 2000):
        with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
            packer.pack((TABLES["C"], bad))
    assert_same(load(packer.pack(TABLES["texts"]), packer.arrays), TABLES["texts"])
