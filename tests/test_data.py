"""Tables: reading them, taking the target out, encoding columns as numbers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from hpcml.data import TableEncoder, bundled_table, near_misses, read_table, split_target


def rooms(n=40):
    """A table with one column of every kind."""
    step = np.arange(n)
    return pd.DataFrame(
        {
            "beds": step % 4,
            "rent": np.where(step % 5 == 0, np.nan, step / 2),
            "superhost": np.where(step % 3 == 0, "t", "f"),
            "pets": step % 2 == 0,
            "since": pd.Series(pd.date_range("2026-01-01", periods=n)).dt.strftime("%Y-%m-%d"),
            "seen": pd.date_range("2026-03-01", periods=n, freq="12h"),
            "kind": np.array(["flat", "house", "loft"])[step % 3],
            "level": pd.Categorical(
                np.array(["low", "high"])[step % 2], ["low", "mid", "high"], ordered=True
            ),
            "street": [f"street {int(np.sqrt(i)) + i % 7}" for i in step],
            "name": [f"room {i}" for i in step],
            "code": [str(i) if i % 4 else "?" for i in step],
            "nothing": [None] * n,
        }
    )


@parametrize_with_checks([TableEncoder(), TableEncoder(max_one_hot=0, dtype="float32")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("column", "sentence", "first"),
    [
        ("beds", "number, as it is", [0.0, 1.0, 2.0]),
        ("rent", "number, as it is; 8 missing", [np.nan, 0.5, 1.0]),
        ("superhost", "f, t -> 0, 1", [1.0, 0.0, 0.0]),
        ("pets", "false, true -> 0, 1", [1.0, 0.0, 1.0]),
        ("since", "date -> days since 2026-01-01", [0.0, 1.0, 2.0]),
        ("seen", "date -> days since 2026-03-01", [0.0, 0.5, 1.0]),
        ("level", "3 ordered categories -> 0 to 2", [0.0, 2.0, 0.0]),
        ("code", "text of numbers -> numbers; 10 missing", [np.nan, 1.0, 2.0]),
    ],
)
def test_each_kind_of_column_becomes_one_column_of_numbers(column, sentence, first):
    encoder = TableEncoder().fit(rooms()[[column]])
    assert encoder.describe() == [f"{column}: {sentence}"]
    np.testing.assert_array_equal(encoder.transform(rooms()[[column]])[:3, 0], first)
    assert list(encoder.get_feature_names_out()) == [column]


def test_few_categories_get_a_column_each_and_missing_ones_their_own():
    table = pd.DataFrame({"kind": ["flat", "house", "?", "loft", "flat"]})
    encoder = TableEncoder().fit(table)
    assert list(encoder.get_feature_names_out()) == [
        "kind=flat",
        "kind=house",
        "kind=loft",
        "kind is missing",
    ]
    assert encoder.transform(table).tolist()[:3] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert encoder.transform(pd.DataFrame({"kind": ["castle"]})).tolist() == [[0, 0, 0, 0]]


def test_many_categories_get_codes_by_frequency():
    names = np.repeat([f"c{i:02}" for i in range(12)], np.arange(1, 13))
    table = pd.DataFrame({"quarter": np.random.default_rng(0).permutation(names)})
    encoder = TableEncoder().fit(table)
    assert "12 categories -> ordinal codes by frequency" in encoder.describe()[0]
    new = pd.DataFrame({"quarter": ["c00", "c11", "elsewhere", None, ""]})
    np.testing.assert_array_equal(encoder.transform(new)[:, 0], [0, 11, -1, np.nan, np.nan])


def test_columns_that_teach_nothing_are_left_out_and_named():
    encoder = TableEncoder(max_one_hot=3).fit(rooms()[["name", "nothing", "beds"]])
    assert list(encoder.get_feature_names_out()) == ["beds"]
    assert encoder.describe()[0].startswith("name: left out: 40 different texts in 40 rows")
    assert encoder.describe()[1] == "nothing: left out: every value is missing"


def test_a_brief_description_gathers_the_plain_columns():
    described = TableEncoder().fit(rooms()[["beds", "superhost", "rent"]]).describe(brief=True)
    assert described == [
        "superhost: f, t -> 0, 1",
        "2 columns of numbers, as they are; 8 missing values stay missing",
    ]


def test_rules_do_not_depend_on_the_order_of_rows():
    table = rooms()
    shuffled = table.sample(frac=1, random_state=3)
    a, b = TableEncoder().fit(table), TableEncoder().fit(shuffled)
    assert a.describe() == b.describe()
    np.testing.assert_array_equal(a.transform(shuffled), b.transform(shuffled))


def test_a_pipeline_predicts_on_the_raw_table_with_its_target_still_in_it():
    table = rooms().assign(price=np.arange(40.0))
    X, y = split_target(table, "price", "regressor")
    model = make_pipeline(TableEncoder(), RandomForestRegressor(n_estimators=5, random_state=0)).fit(X, y)
    np.testing.assert_array_equal(model.predict(table), model.predict(X))


def test_a_column_that_went_missing_or_changed_its_kind_is_named():
    encoder = TableEncoder().fit(rooms())
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- beds"):
        encoder.transform(rooms().drop(columns="beds"))
    with pytest.raises(ValueError, match=r"column 'beds' must hold numbers.*Got 'two' instead"):
        encoder.transform(rooms().astype({"beds": object}).assign(beds="two"))
    with pytest.raises(ValueError, match=r"column 'since' must hold ISO dates.*Got 'yesterday' instead"):
        encoder.transform(rooms().assign(since="yesterday"))


def test_float32_and_float64_agree():
    wide, narrow = TableEncoder().fit_transform(rooms()), TableEncoder(dtype="float32").fit_transform(rooms())
    assert wide.dtype == np.float64 and narrow.dtype == np.float32 and narrow.flags.c_contiguous
    np.testing.assert_array_equal(wide.astype(np.float32), narrow)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_one_hot": -1}, "max_one_hot must be"),
        ({"dtype": "int8"}, "dtype must be 'float64' or 'float32'"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        clone(TableEncoder(**arguments)).fit(rooms())


def test_polars_frames_give_the_same_numbers():
    polars = pytest.importorskip("polars", reason='needs polars: pip install "hpcml[polars]"')
    table = rooms().drop(columns=["level", "nothing"])
    columns = {name: table[name].tolist() for name in table.columns}
    frame = polars.DataFrame(columns, strict=False)
    expected = TableEncoder().fit(table)
    encoder = TableEncoder().fit(frame)
    assert encoder.describe() == expected.describe()
    np.testing.assert_array_equal(encoder.transform(frame), expected.transform(table))


# Reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_text_files_of_any_separator(tmp_path, separator):
    path = tmp_path / "rooms.csv"
    rooms()[["beds", "kind", "code"]].to_csv(path, sep=separator, index=False)
    table = read_table(path)
    assert list(table.columns) == ["beds", "kind", "code"]
    assert table["code"].isna().sum() == 10


def test_compressed_and_parquet_files_hold_the_same_table(tmp_path):
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "hpcml[parquet]"')
    table = rooms()[["beds", "rent", "kind"]]
    table.to_csv(tmp_path / "rooms.csv.gz", index=False)
    table.to_parquet(tmp_path / "rooms.parquet")
    zipped, parquet = read_table(tmp_path / "rooms.csv.gz"), read_table(tmp_path / "rooms.parquet")
    np.testing.assert_array_equal(TableEncoder().fit_transform(zipped), TableEncoder().fit_transform(parquet))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.csv", "", "the table is empty"),
        ("header.csv", "a,b\n", "the table is empty"),
        ("ragged.csv", "a,b\n1,2\n1,2,3,4\n", "cannot be read as CSV"),
        ("table.xlsx", "x", "must be a .csv, .tsv, .csv.gz or .parquet file"),
        ("torn.parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_unreadable_files_are_named_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_suggests_its_neighbour(tmp_path):
    (tmp_path / "rooms.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileNotFoundError, match=r"no such file: .*room\.csv; did you mean .*rooms\.csv\?"):
        read_table(tmp_path / "room.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path)


# Targets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "target", "kind", "message"),
    [
        ([1, 2], "prise", "regressor", "no column 'prise' in the table; did you mean price"),
        ([1, None], "price", "regressor", "missing in 1 of 2 rows"),
        (["a", "?"], "price", "classifier", "missing in 1 of 2 rows"),
        ([3, 3], "price", "regressor", r"constant \(always 3\)"),
        (["a", "b"], "price", "regressor", "text or dates .*'a'"),
        (["2026-01-01", "2026-01-02"], "price", "regressor", "text or dates"),
        ([0.5, 1.5], "price", "classifier", "fractional values, which are no classes"),
        ([1.0, np.inf], "price", "regressor", "infinite"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(column, target, kind, message):
    with pytest.raises(ValueError, match=message):
        split_target(pd.DataFrame({"beds": [1, 2], "price": column}), target, kind)


def test_a_table_of_the_target_alone_is_refused():
    with pytest.raises(ValueError, match="no column beside the target"):
        split_target(pd.DataFrame({"price": [1, 2]}), "price", "regressor")


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (["1", "2.5"], "regressor", [1.0, 2.5]),
        ([True, False], "regressor", [1.0, 0.0]),
        (["yes", "no"], "classifier", ["yes", "no"]),
        ([1.0, 2.0], "classifier", [1.0, 2.0]),
        ([True, False], "classifier", [True, False]),
    ],
)
def test_targets_keep_what_the_estimator_needs(column, kind, expected):
    X, y = split_target(pd.DataFrame({"beds": [1, 2], "price": column}), "price", kind)
    assert list(X.columns) == ["beds"]
    assert y.tolist() == expected


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_bundled_tables(kind):
    table, target, title = bundled_table(kind)
    X, y = split_target(table, target, kind)
    assert len(X) == len(y) > 400 and "scikit-learn" in title
    assert (y.dtype == object) == (kind == "classifier")


def test_near_misses_names_the_nearest_or_all():
    assert near_misses("Price", ["price", "beds"]) == "did you mean price?"
    assert near_misses("zzz", [f"c{i:02}" for i in range(20)]).endswith("and 8 more")
