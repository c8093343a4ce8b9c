"""The transformer that turns a raw table into a matrix of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from hpcml.data.columns import MISSING, LeftOut, Numbers, as_pandas, choose, is_missing


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turn a raw table (numbers, text, dates, missing values) into a matrix of numbers.

    The rule of a column follows from its own values in ``fit``, never from the target:

    ==================================  ====================================================================
    column                              becomes
    ==================================  ====================================================================
    numbers, text of numbers            itself
    booleans, two categories (t and f)  0 and 1
    dates (ISO 8601 text, datetimes)    days since the earliest one
    ordered categories (pandas)         their ranks
    text, few categories                one 0/1 column a category, one more for missing values if any
    text, more categories               ordinal codes by frequency, 0 the rarest
    text, over half of it distinct      nothing: it names rows
    nothing but missing values          nothing
    ==================================  ====================================================================

    Missing values (NaN, None, ``missing``) stay NaN, except in 0/1 columns. Codes by frequency serve trees
    well (a split sets rare categories apart from common ones); a category that ``fit`` did not see is -1,
    rarer than all.

    Parameters
    ----------
    max_one_hot : int, default=10
        Text columns of up to this many categories get a 0/1 column for each.
    missing : tuple of str, default=("", "?")
        Texts that mean a missing value.
    dtype : {"float64", "float32"}, default="float64"
        Type of the matrix. Trees read float32, which saves half of the memory.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all are text.

    Examples
    --------
    >>> import pandas as pd
    >>> from hpcml.data import TableEncoder
    >>> table = pd.DataFrame({"when": ["2026-01-01", "2026-01-11", None], "kind": ["a", "b", "a"]})
    >>> TableEncoder().fit_transform(table)
    array([[ 0.,  0.],
           [10.,  1.],
           [nan,  0.]])
    """

    def __init__(
        self, *, max_one_hot: int = 10, missing: tuple[str, ...] = MISSING, dtype: str = "float64"
    ) -> None:
        self.max_one_hot = max_one_hot
        self.missing = missing
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> TableEncoder:
        """Choose how each column is written.

        Parameters
        ----------
        X : DataFrame (pandas or polars) or array-like of shape (n_samples, n_columns)
        y : ignored

        Returns
        -------
        TableEncoder
        """
        if not isinstance(self.max_one_hot, (int, np.integer)) or self.max_one_hot < 0:
            raise ValueError(f"max_one_hot must be an int of at least 0. Got {self.max_one_hot!r} instead.")
        if str(self.dtype) not in ("float64", "float32"):
            raise ValueError(f"dtype must be 'float64' or 'float32'. Got {self.dtype!r} instead.")
        table = self._table(X, reset=True)
        missing = tuple(self.missing)
        self._rules = [choose(table.iloc[:, j], self.max_one_hot, missing) for j in range(table.shape[1])]
        self._names = [str(each) for each in table.columns]
        self._n_missing = [int(is_missing(table.iloc[:, j], missing).sum()) for j in range(table.shape[1])]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Write a table as numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
            The columns of ``fit``; further columns of a frame (the target, say) are passed over.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)

        Raises
        ------
        ValueError
            If a column is missing, or holds text where there were numbers or dates in ``fit``.
        """
        check_is_fitted(self, "_rules")
        table = self._table(X, reset=False)
        ends = np.cumsum([0, *(len(rule.names("")) for rule in self._rules)])
        out = np.empty((len(table), int(ends[-1])), dtype=np.dtype(self.dtype))
        for j, rule in enumerate(self._rules):
            out[:, ends[j] : ends[j + 1]] = rule.encode(table.iloc[:, j], tuple(self.missing))
        return out

    def describe(self, *, brief: bool = False) -> list[str]:
        """Say of every column in one sentence how it is written.

        Parameters
        ----------
        brief : bool, default=False
            Whether all columns of plain numbers share one sentence, the last.

        Returns
        -------
        list of str
        """
        check_is_fitted(self, "_rules")
        sentences, plain, plain_missing = [], 0, 0
        for name, rule, n_missing in zip(self._names, self._rules, self._n_missing, strict=True):
            if brief and rule == Numbers():
                plain += 1
                plain_missing += n_missing
                continue
            note = f"; {n_missing} missing" if n_missing and not isinstance(rule, LeftOut) else ""
            sentences.append(f"{name}: {rule.how}{note}")
        if plain:
            kept = f"; {plain_missing} missing values stay missing" if plain_missing else ""
            sentences.append(f"{plain} {'columns' if plain > 1 else 'column'} of numbers, as they are{kept}")
        return sentences

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the matrix.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the columns where ``fit`` saw none; otherwise they must be those of ``fit``.

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self, "_rules")
        names = self._names
        if input_features is not None:
            given = [str(each) for each in input_features]
            if hasattr(self, "feature_names_in_") and given != names:
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != len(names):
                raise ValueError(
                    "input_features should have length equal to number of features "
                    f"({len(names)}), got {len(given)}"
                )
            names = given
        out = [each for name, rule in zip(names, self._rules, strict=True) for each in rule.names(name)]
        return np.asarray(out, dtype=object)

    def _table(self, X: Any, *, reset: bool) -> pd.DataFrame:
        if hasattr(X, "columns"):
            known = getattr(self, "feature_names_in_", None)
            if not reset and known is not None and len(X.columns) > len(known):
                wanted = set(known)
                X = X[[name for name in X.columns if name in wanted]]
            validate_data(self, X, reset=reset, skip_check_array=True)
            if X.shape[0] == 0 or X.shape[1] == 0:
                raise ValueError(
                    f"Found a table with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); it needs both."
                )
            return as_pandas(X)
        X = check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(self, X, reset=reset, skip_check_array=True)
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]).infer_objects()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
