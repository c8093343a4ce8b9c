"""Grids against separate fits: what `fit_grid` yields, attribute by attribute."""

import numpy as np
from scipy import sparse
from sklearn.base import clone


def batches_of(estimator, candidates, folds, X, y=None, *, responses=(), **fit_params):
    """Return what the batches of a grid yield, by candidate and fold, and the errors at their ends."""
    found, errors = {}, []
    for batch in estimator.plan_grid(candidates, len(folds)):
        fits = clone(estimator).fit_grid(
            X,
            y,
            {i: candidates[i] for i in batch.candidates},
            {j: folds[j] for j in batch.folds},
            responses=responses,
            fit_params=fit_params,
        )
        try:
            for i, j, fitted, values in fits:
                found[i, j] = fitted, {name: np.array(value) for name, value in values.items()}
        except ValueError as error:
            errors.append(str(error))
    return found, errors


def rows(table, numbers):
    """Return rows of a table or of an array."""
    if hasattr(table, "iloc"):
        return table.iloc[numbers]
    return sparse.csr_array(table)[numbers] if sparse.issparse(table) else table[numbers]


def separate(estimator, parameters, X, y, train, **fit_params):
    """Fit one candidate on the training rows of a fold."""
    given = {
        name: value[train] if isinstance(value, np.ndarray) else value for name, value in fit_params.items()
    }
    fitted = clone(estimator).set_params(**parameters)
    return fitted.fit(rows(X, train), None if y is None else y[train], **given)


def assert_same_attributes(got, expected, tolerance, least=1e-300):
    """Assert that two fitted estimators are equal: arrays relative to their largest entry, or to `least`."""
    assert type(got) is type(expected)
    assert got.get_params() == expected.get_params() or repr(got) == repr(expected)
    assert vars(got).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        if not name.endswith("_"):
            continue
        mine = getattr(got, name)
        if isinstance(value, (np.ndarray, float, np.floating)) and np.asarray(value).dtype.kind == "f":
            assert np.asarray(mine).dtype == np.asarray(value).dtype, name
            assert np.shape(mine) == np.shape(value), name
            size = np.abs(value).max(initial=0.0) if np.size(value) else 0.0
            np.testing.assert_allclose(mine, value, rtol=0, atol=tolerance * max(size, least), err_msg=name)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(mine, value, err_msg=name)
        else:
            assert mine == value, name
