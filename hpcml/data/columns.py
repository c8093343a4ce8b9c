"""How one column of a table is recognised and written as numbers: one small class a kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

# What a missing value looks like in published tables; read_csv knows NA, NaN, null, None and the like itself.
MISSING = ("", "?")

SECONDS_A_DAY = 86400.0

# An ISO 8601 date, alone or with a time; other notations are ambiguous (is 03/04 in March or in April?).
ISO_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"


def as_pandas(X: Any) -> pd.DataFrame:
    # polars: column by column, which needs no pyarrow
    if isinstance(X, pd.DataFrame):
        return X
    return pd.DataFrame({name: X[name].to_numpy() for name in X.columns})


def is_text(column: pd.Series) -> bool:
    # object columns hold text, dates as Python objects, or a mixture: all are read through their text
    return bool(
        pd.api.types.is_object_dtype(column)
        or pd.api.types.is_string_dtype(column)
        or isinstance(column.dtype, pd.CategoricalDtype)
    )


def text_of(column: pd.Series, missing: Iterable[str]) -> pd.Series:
    text = column.astype("object").where(column.notna(), None).astype("string").str.strip()
    return text.mask(text.isin(list(missing))).astype("object").where(lambda each: each.notna(), None)


def _bad_cell(column: pd.Series, bad: pd.Series, wanted: str) -> ValueError:
    return ValueError(
        f"column {column.name!r} must hold {wanted}, as in the table that the encoder was fitted on. "
        f"Got {str(column[bad].iloc[0])!r} instead."
    )


def _numbers(text: pd.Series) -> pd.Series:
    return pd.to_numeric(text, errors="coerce").astype(np.float64)


def _dates(text: pd.Series) -> pd.Series:
    return pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")


@dataclass(frozen=True)
class Numbers:
    """Numbers, booleans, time spans (in days) and text that is numbers throughout."""

    how: str = "number, as it is"

    def names(self, name: str) -> list[str]:
        return [name]

    def encode(self, column: pd.Series, missing: tuple[str, ...]) -> np.ndarray:
        if pd.api.types.is_timedelta64_dtype(column):
            return column.dt.total_seconds().to_numpy(dtype=np.float64)[:, None] / SECONDS_A_DAY
        if not is_text(column):
            return column.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        text = text_of(column, missing)
        numbers = _numbers(text)
        bad = numbers.isna() & text.notna() & (text.astype("string").str.lower() != "nan").fillna(True)
        if bad.any():
            raise _bad_cell(column, bad, "numbers")
        return numbers.to_numpy()[:, None]


@dataclass(frozen=True)
class Dates:
    """Days since the earliest date that was fitted, fractions for the time of day."""

    start: pd.Timestamp

    @property
    def how(self) -> str:
        return f"date -> days since {self.start.date()}"

    def names(self, name: str) -> list[str]:
        return [name]

    def encode(self, column: pd.Series, missing: tuple[str, ...]) -> np.ndarray:
        if pd.api.types.is_datetime64_any_dtype(column):
            dates, given = pd.to_datetime(column, utc=True), column
        else:
            given = text_of(column, missing)
            dates = _dates(given)
            bad = dates.isna() & given.notna()
            if bad.any():
                raise _bad_cell(column, bad, "ISO dates such as 2026-01-31")
        return (dates - self.start).dt.total_seconds().to_numpy(dtype=np.float64)[:, None] / SECONDS_A_DAY


@dataclass(frozen=True)
class Codes:
    """One column of codes 0, 1, ...; a category that was not there in fit is -1, a missing one stays NaN."""

    categories: tuple[str, ...]
    how: str

    def names(self, name: str) -> list[str]:
        return [name]

    def encode(self, column: pd.Series, missing: tuple[str, ...]) -> np.ndarray:
        text = text_of(column, missing)
        # -1 reads as "rarer than the rarest", or "below the lowest"
        codes = pd.Index(self.categories, dtype=object).get_indexer(pd.Index(text)).astype(np.float64)
        codes[text.isna().to_numpy()] = np.nan
        return codes[:, None]


@dataclass(frozen=True)
class OneHot:
    """One 0/1 column a category, and one for missing values where there were some in fit."""

    categories: tuple[str, ...]
    has_missing: bool

    @property
    def how(self) -> str:
        listed = [*self.categories, *(["missing"] if self.has_missing else [])]
        return f"{len(self.categories)} categories -> one 0/1 column each ({', '.join(listed)})"

    def names(self, name: str) -> list[str]:
        return [f"{name}={each}" for each in self.categories] + (
            [f"{name} is missing"] if self.has_missing else []
        )

    def encode(self, column: pd.Series, missing: tuple[str, ...]) -> np.ndarray:
        text = text_of(column, missing)
        codes = pd.Index(self.categories, dtype=object).get_indexer(pd.Index(text))
        columns = (codes[:, None] == np.arange(len(self.categories))).astype(np.float64)
        if self.has_missing:
            columns = np.column_stack([columns, text.isna().to_numpy(dtype=np.float64)])
        return columns


@dataclass(frozen=True)
class LeftOut:
    """No column at all: nothing can be learnt from it."""

    how: str

    def names(self, name: str) -> list[str]:
        return []

    def encode(self, column: pd.Series, missing: tuple[str, ...]) -> np.ndarray:
        return np.empty((len(column), 0))


Rule = Numbers | Dates | Codes | OneHot | LeftOut


def choose(column: pd.Series, max_one_hot: int, missing: tuple[str, ...]) -> Rule:
    """Choose how a column is written as numbers, from its values alone."""
    if pd.api.types.is_datetime64_any_dtype(column) and column.notna().any():
        return Dates(pd.to_datetime(column, utc=True).min().normalize())
    if pd.api.types.is_bool_dtype(column) and not is_text(column):
        return Numbers("false, true -> 0, 1")
    if pd.api.types.is_timedelta64_dtype(column):
        return Numbers("time span -> days")
    if not is_text(column):
        return Numbers()
    text = text_of(column, missing)
    present = text[text.notna()]
    if present.empty:
        return LeftOut("left out: every value is missing")
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        ordered = tuple(str(each).strip() for each in column.cat.categories)
        return Codes(ordered, f"{len(ordered)} ordered categories -> 0 to {len(ordered) - 1}")
    if _numbers(present).notna().all():
        return Numbers("text of numbers -> numbers")
    if present.str.fullmatch(ISO_DATE).all() and _dates(present).notna().all():
        return Dates(_dates(present).min().normalize())
    counts = present.value_counts()
    if len(counts) <= 2:
        return _two_categories(tuple(sorted(counts.index)))
    if len(counts) <= max_one_hot:
        return OneHot(tuple(sorted(counts.index)), bool(text.isna().any()))
    if len(counts) > len(present) / 2:
        return LeftOut(
            f"left out: {len(counts)} different texts in {len(present)} rows name rows, not categories"
        )
    # value_counts leaves the order of ties to the hash; by name it is the same in every run
    return Codes(
        tuple(sorted(counts.index, key=lambda each: (counts[each], each))),
        f"{len(counts)} categories -> ordinal codes by frequency (0 the rarest, -1 one not seen in fit)",
    )


def _two_categories(names: tuple[str, ...]) -> Codes:
    if len(names) == 1:
        return Codes(names, f"always {names[0]} -> 0")
    return Codes(names, f"{names[0]}, {names[1]} -> 0, 1")


def is_missing(column: pd.Series, missing: tuple[str, ...]) -> pd.Series:
    return (text_of(column, missing) if is_text(column) else column).isna()
