"""Column transformers whose branches are fitted once for each setting of their own."""

from typing import Any

import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer

from hpcml.model_selection.identity import identity, unseeded
from hpcml.model_selection.tables import FoldTable, TableCache, n_bytes

__all__ = ["branches_of", "fit_columns", "shares_branches"]


def _is_branch(transformer: Any) -> bool:
    return hasattr(transformer, "fit") or hasattr(transformer, "fit_transform")


def branches_of(columns: ColumnTransformer) -> list[tuple[str | None, Any]]:
    """Return key and transformer of every branch; a key of None is like no other.

    Examples
    --------
    >>> from sklearn.compose import ColumnTransformer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from hpcml.model_selection.branches import branches_of
    >>> columns = ColumnTransformer([("a", StandardScaler(), [0]), ("b", "passthrough", [1])])
    >>> [branch for _, branch in branches_of(columns)]
    [StandardScaler()]
    """
    found = [(_key(t, c), t) for _, t, c in columns.transformers if _is_branch(t)]
    if _is_branch(columns.remainder):
        rest = [identity(c) for _, _, c in columns.transformers]
        found.append((None if None in rest else _key(columns.remainder, rest), columns.remainder))
    return found


def _key(transformer: Any, columns: Any) -> str | None:
    if unseeded(transformer):
        return None
    return identity((transformer, columns))


def shares_branches(columns: ColumnTransformer) -> bool:
    """Say whether `fit_columns` can serve: nobody watches the single fits, and no metadata is routed."""
    return not (columns.verbose or sklearn.get_config()["enable_metadata_routing"])


class _Branch(BaseEstimator):  # type: ignore[misc]
    """A transformer whose fits and outputs come from a cache, for one training and one test table."""

    def __init__(self, transformer: Any, key: Any, cache: TableCache) -> None:
        self.transformer = transformer
        self.key = key
        self.cache = cache

    def __sklearn_clone__(self) -> "_Branch":
        return self  # what is fitted inside must be found from outside

    def fit(self, X: Any, y: Any = None) -> "_Branch":
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        found = None if self.key is None else self.cache.get((self.key, "train"))
        if found is None:
            fitted = clone(self.transformer)
            if hasattr(fitted, "fit_transform"):
                output = fitted.fit_transform(X, y)
            else:
                output = fitted.fit(X, y).transform(X)
            found = output, fitted
            if self.key is not None:
                self.cache.put((self.key, "train"), found, n_bytes(output))
        output, self.fitted = found
        return output

    def transform(self, X: Any) -> Any:
        found = None if self.key is None else self.cache.get((self.key, "test"))
        if found is None:
            found = self.fitted.transform(X)
            if self.key is not None:
                self.cache.put((self.key, "test"), found, n_bytes(found))
        return found

    def get_feature_names_out(self, names: Any = None) -> Any:
        return self.fitted.get_feature_names_out(names)


def fit_columns(
    columns: ColumnTransformer, table: FoldTable, y: Any, cache: TableCache, where: Any
) -> tuple[Any, FoldTable]:
    """Fit a column transformer on the training rows and apply it to both parts.

    Parameters
    ----------
    columns : ColumnTransformer
        Not fitted; stays so.
    table : FoldTable
    y : array-like or None
        Target of the training rows.
    cache : TableCache
        Holds the outputs of branches.
    where : hashable
        Tells tables apart: branches of equal settings on the same table are fitted once.

    Returns
    -------
    (fitted, FoldTable)
    """
    keys = {id(t): (None if key is None else (where, key)) for key, t in branches_of(columns)}

    def wrapped(transformer: Any) -> Any:
        return _Branch(transformer, keys[id(transformer)], cache) if id(transformer) in keys else transformer

    own = clone(columns)
    given, remainder, n_jobs = own.transformers, own.remainder, own.n_jobs
    own.transformers = [(name, wrapped(t), c) for name, t, c in columns.transformers]
    own.remainder = wrapped(columns.remainder)
    own.n_jobs = None  # the cache is in this process
    train = own.fit_transform(table.train(), y)
    test = own.transform(table.test())
    own.transformers, own.remainder, own.n_jobs = given, remainder, n_jobs
    own.transformers_ = [
        (name, t.fitted if isinstance(t, _Branch) else t, c) for name, t, c in own.transformers_
    ]
    return own, FoldTable.transformed(train, test)
