"""Read a table from a file and take the target column out of it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from hpcml.data.columns import MISSING, as_pandas, is_text, text_of

SEPARATORS = ",;\t|"


def near_misses(name: str, known: Iterable[str]) -> str:
    """Say in half a sentence which of the known names may have been meant.

    Parameters
    ----------
    name : str
        The name that is not known.
    known : iterable of str
        The names that are.

    Returns
    -------
    str
        ``"did you mean price?"``, or the (first) known names where none is near.

    Examples
    --------
    >>> from hpcml.data import near_misses
    >>> near_misses("prise", ["price", "beds"])
    'did you mean price?'
    >>> near_misses("xyz", ["price", "beds"])
    'there are beds, price'
    """
    known = sorted({str(each) for each in known})
    folded = {each.lower(): each for each in known}
    near = [folded[each] for each in difflib.get_close_matches(str(name).lower(), folded, n=3)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = known[:12]
    rest = len(known) - len(shown)
    return f"there are {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def existing(path: str | Path) -> Path:
    """Return a path; raise if nothing is there, with the name that may have been meant."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path. Got {type(path).__name__} instead.")
    path = Path(path)
    if path.exists():
        return path
    folder = path.parent
    neighbours = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    hint = f"; did you mean {folder / near[0]}?" if near else "; check the path"
    raise FileNotFoundError(f"no such file: {path}{hint}")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV or Parquet file as a table.

    Parameters
    ----------
    path : str or path
        A file whose name ends in ``.csv``, ``.tsv`` or ``.txt`` (also compressed: ``.csv.gz``) or in
        ``.parquet`` or ``.pq``. The separator of a text file is the most frequent of comma, semicolon, tab
        and bar in its first line. Empty cells, ``?`` and pandas' own markers (NA, NaN, ...) are missing.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another kind, cannot be read, or has no row.
    """
    path = existing(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a CSV or Parquet file in it")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if path.suffix.lower() in (".parquet", ".pq"):
        table = _read_parquet(path)
    elif {".csv", ".tsv", ".txt"}.intersection(suffixes[-2:]):
        table = _read_csv(path)
    else:
        raise ValueError(
            f"{path}: TABLE must be a .csv, .tsv, .csv.gz or .parquet file; convert it to one of these"
        )
    if table.empty:
        raise ValueError(
            f"{path}: the table is empty ({len(table)} rows, {table.shape[1]} columns); it needs rows"
        )
    table.columns = table.columns.map(str)
    doubled = table.columns[table.columns.duplicated()]
    if len(doubled):
        raise ValueError(f"{path}: two columns are named {doubled[0]!r}; rename one of them")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    # Only a quick look at the first line: the Python engine's own sniffing reads files some ten times slower.
    try:
        first = pd.read_csv(path, header=None, nrows=1, sep="\0", engine="python", dtype=str, quoting=3)
        line = str(first.iloc[0, 0])
        separator = max(SEPARATORS, key=line.count)
        return pd.read_csv(path, sep=separator, na_values=["?"], skipinitialspace=True, low_memory=False)
    except (pd.errors.EmptyDataError, IndexError):
        raise ValueError(f"{path}: the table is empty; it needs a line of column names and rows") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as CSV: {_one_line(error)}") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        pass
    except Exception as error:  # every engine has exceptions of its own
        raise ValueError(f"{path} cannot be read as Parquet: {_one_line(error)}") from error
    try:
        import polars
    except ImportError:
        raise ValueError(f'{path}: Parquet needs pyarrow or polars: pip install "hpcml[parquet]"') from None
    try:
        return as_pandas(polars.read_parquet(path))
    except Exception as error:
        raise ValueError(f"{path} cannot be read as Parquet: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def bundled_table(kind: str) -> tuple[pd.DataFrame, str, str]:
    """Return a table that scikit-learn bundles, for runs without one.

    Parameters
    ----------
    kind : {'classifier', 'regressor'}
        What is to be fitted.

    Returns
    -------
    table : pandas.DataFrame
    target : str
        Name of the target column in it.
    title : str
        What it is, for the reader.
    """
    from sklearn.datasets import load_breast_cancer, load_diabetes

    if kind == "regressor":
        return (
            load_diabetes(as_frame=True, scaled=False).frame,
            "target",
            "diabetes (bundled with scikit-learn)",
        )
    if kind == "classifier":
        cancer = load_breast_cancer(as_frame=True)
        table = cancer.frame.copy()
        table["target"] = cancer.target_names[table["target"]].astype(str)
        return table, "target", "breast cancer (bundled with scikit-learn)"
    raise ValueError(f"kind must be 'classifier' or 'regressor'. Got {kind!r} instead.")


def split_target(table: pd.DataFrame, target: str, kind: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Take the target column out of a table and check that it can be learnt.

    Parameters
    ----------
    table : pandas.DataFrame
    target : str
        Name of the column to be predicted.
    kind : {'classifier', 'regressor'}
        What is to be fitted.

    Returns
    -------
    X : pandas.DataFrame of shape (n_samples, n_columns - 1)
    y : ndarray of shape (n_samples,)
        float64 for a regressor; numbers, booleans or text (dtype object) for a classifier.

    Raises
    ------
    ValueError
        If there is no such column, no other column, a missing or constant target, text for a regressor or
        fractions for a classifier.
    """
    if target not in table.columns:
        raise ValueError(f"no column {target!r} in the table; {near_misses(target, table.columns)}")
    X = table.drop(columns=target)
    if X.shape[1] == 0:
        raise ValueError(
            f"the table has no column beside the target {target!r}; add columns to predict it from"
        )
    column = table[target]
    if is_text(column):
        column = text_of(column, MISSING)
    n_missing = int(column.isna().sum())
    if n_missing:
        raise ValueError(
            f"the target {target!r} is missing in {n_missing} of {len(column)} rows; drop or fill these rows"
        )
    if column.nunique() < 2:
        value = str(column.iloc[0])
        raise ValueError(f"the target {target!r} is constant (always {value}); name a column that varies")
    numbers = pd.to_numeric(column, errors="coerce") if is_text(column) else column
    if kind == "regressor":
        if pd.api.types.is_datetime64_any_dtype(numbers) or bool(numbers.isna().any()):
            example = str(column[numbers.isna()].iloc[0] if numbers.isna().any() else column.iloc[0])
            raise ValueError(
                f"the target {target!r} is text or dates (such as {example!r}), which no regressor predicts; "
                "name a column of numbers, or a classifier with --estimator"
            )
        y = numbers.to_numpy(dtype=np.float64)
        if not np.isfinite(y).all():
            raise ValueError(f"the target {target!r} has infinite values; drop these rows")
        return X, y
    if pd.api.types.is_float_dtype(column):
        values = column.to_numpy(dtype=np.float64)
        if not (np.isfinite(values) & (values == np.floor(values))).all():
            raise ValueError(
                f"the target {target!r} has {column.nunique()} fractional values, which are no classes; "
                "name a regressor with --estimator, or a column of classes"
            )
    if pd.api.types.is_numeric_dtype(column):  # booleans too
        return X, column.to_numpy()
    return X, column.astype(str).to_numpy(dtype=object)
