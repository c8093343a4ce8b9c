"""Principal components of the rows of a table: singular values and right singular vectors about the mean.

* `by_covariance`: eigenvectors of the covariance matrix, one pass over the rows.
* `by_factors`: the SVD of the factor R of A = Q R, of `hpcml.training.factors`; few rows go to LAPACK,
  or to `hpcml.training.wide_rows`.
* `by_random_projection`: N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM
  Review 53 (2011), 217-288.
* `by_lanczos`: R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK users' guide", SIAM 1998.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from hpcml.communicators import Table
from hpcml.training import wide_rows
from hpcml.training.factors import factored
from hpcml.training.gram import (
    Gram,
    are_tiny,
    centered_gram,
    check_constant,
    check_finite,
    check_not_tiny,
    gram_times,
    symmetric,
)
from hpcml.training.moments import feature_moments

__all__ = [
    "Spectrum",
    "by_covariance",
    "by_factors",
    "by_lanczos",
    "by_random_projection",
    "dimension_by_evidence",
    "signed",
]

Matrix = NDArray[np.float64]

#: Tables of at most so many numbers, or of no more rows than columns, go to LAPACK.
NUMBERS_FOR_LAPACK = 1 << 18
#: All eigenvalues of matrices of this size are computed at once; of larger ones only those that are wanted.
SMALL_COVARIANCE = 512


@dataclass(frozen=True)
class Spectrum:
    """Singular values and vectors of centred rows.

    Attributes
    ----------
    mean : ndarray of shape (d,)
    singular_values : ndarray of shape (k,)
        In falling order.
    components : ndarray of shape (k, d)
        Right singular vectors; the largest entry of each is positive.
    total : float
        Sum of the squares of all singular values.
    rest : float
        Mean of the squares of those that are left out; 0 if none is.
    """

    mean: Matrix
    singular_values: Matrix
    components: Matrix
    total: float
    rest: float


def signed(vectors: Matrix) -> Matrix:
    """Return vectors, in rows, which are given the sign that makes the largest entry of each positive."""
    if not vectors.size:
        return vectors
    step = max(1, wide_rows.BLOCK_BYTES // max(1, vectors[0].nbytes))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        largest = np.take_along_axis(block, np.abs(block).argmax(axis=1)[:, np.newaxis], axis=1)
        block *= np.where(largest < 0, -1.0, 1.0)
    return vectors


def _spectrum(mean: Matrix, squares: Matrix, vectors: Matrix, total: float, rank: int) -> Spectrum:
    """Return a spectrum of squared singular values out of `rank`."""
    left = rank - len(squares)
    rest = max(total - squares.sum(), 0.0) / left if left > 0 else 0.0
    return Spectrum(mean, np.sqrt(squares), signed(vectors), total, rest)


# -- all components ------------------------------------------------------------------------------------------


def by_covariance(table: Table, n_features: int, dtype: np.dtype, k: int | None = None) -> Spectrum:
    """Return the spectrum by the eigenvectors of the covariance matrix.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    n_features : int
        Columns of ``X``.
    dtype : dtype
        Type of ``X``.
    k : int, optional
        Components that are wanted; None is all.

    Returns
    -------
    Spectrum
        Squared singular values are exact to about 1e-16 of the largest square.
    """
    found = centered_gram(table, n_features)
    check_not_tiny(table, np.diagonal(found.gram) / found.weight, dtype)
    return spectrum_of_gram(found, k)


def spectrum_of_gram(found: Gram, k: int | None) -> Spectrum:
    """Return the spectrum of rows whose products about their mean are known, which are overwritten.

    Parameters
    ----------
    found : Gram
        Of the rows.
    k : int, optional
        Components that are wanted; None is all.
    """
    n_features, trace = len(found.gram), float(np.trace(found.gram))
    few = k is not None and n_features > SMALL_COVARIANCE and 4 * k < n_features
    subset = (n_features - max(k or 0, 1), n_features - 1) if few else None
    squares, vectors = linalg.eigh(
        found.gram.T, overwrite_a=True, driver="evr" if few else "evd", subset_by_index=subset
    )
    squares, vectors = np.maximum(squares[::-1], 0.0), vectors.T[::-1]
    total = trace if few else float(squares.sum())
    keep = len(squares) if k is None else k
    exact = _spectrum(found.mean, squares[:keep], vectors[:keep], total, n_features)
    if few or keep == len(squares):
        return exact
    return Spectrum(exact.mean, exact.singular_values, exact.components, total, float(squares[keep:].mean()))


def first_of(found: Spectrum, k: int, rank: int) -> Spectrum:
    """Return the first `k` components of a spectrum out of `rank`, as if no others had been found."""
    return _spectrum(found.mean, found.singular_values[:k] ** 2, found.components[:k], found.total, rank)


def by_factors(table: Table, n_features: int, dtype: np.dtype) -> Spectrum:
    """Return the whole spectrum as exactly as a singular value decomposition of the rows.

    Parameters
    ----------
    table : Table
        With the row array ``X``, not sparse.
    n_features : int
        Columns of ``X``.
    dtype : dtype
        Type of ``X``.

    Returns
    -------
    Spectrum
        Singular values are exact to a few roundings of the largest one.
    """
    n = table.n_rows
    if is_for_lapack(n, n_features):
        return spectrum_of_rows(table, np.arange(n))
    found = centered_gram(table, n_features)
    check_not_tiny(table, np.diagonal(found.gram) / found.weight, dtype)
    return spectrum_of_factors(table, found, dtype)


def is_for_lapack(n_rows: int, n_features: int) -> bool:
    """Say whether a table is decomposed by LAPACK, as it is."""
    return n_rows <= n_features or n_rows * n_features <= NUMBERS_FOR_LAPACK


def spectrum_of_rows(table: Table, numbers: NDArray[np.int64]) -> Spectrum:
    """Return the spectrum of some rows of a table, for which `is_for_lapack` holds.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    numbers : ndarray of int
        The rows.
    """
    n, d = len(numbers), table.take(numbers[:1]).shape[1]
    if n > 1 and n * d > NUMBERS_FOR_LAPACK:
        found = wide_rows.decomposed(lambda start, stop: table.take(numbers[start:stop]), n, d)
        if found is not None:
            return _whole(*found)
    rows = table.take(numbers)
    rows = rows.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=0)
    check_finite(mean)
    rows -= mean
    with np.errstate(over="ignore"):
        squares = np.maximum(rows.max(axis=0), -rows.min(axis=0)) ** 2
    check_finite(squares)
    if are_tiny(squares, rows.dtype):
        check_constant(rows)
    # the transpose is in LAPACK's order, so that it needs no copy of its own
    vectors, values, _ = linalg.svd(rows.T, full_matrices=False, overwrite_a=True, check_finite=False)
    return _whole(mean, values, vectors.T)


def spectrum_of_factors(table: Table, found: Gram, dtype: np.dtype) -> Spectrum:
    """Return the spectrum of the rows of a table that have weight, of which the products are known."""
    values, vectors = factored(table, found.mean, None, found.gram, dtype)
    return _whole(found.mean, values, vectors)


def _whole(mean: Matrix, values: Matrix, vectors: Matrix) -> Spectrum:
    with np.errstate(over="ignore"):
        squares = values**2
    check_finite(squares)
    return _spectrum(mean, squares, vectors, float(squares.sum()), len(values))


# -- some components -----------------------------------------------------------------------------------------


def by_random_projection(
    table: Table,
    n_features: int,
    k: int,
    *,
    n_oversamples: int,
    n_iterations: int,
    normalizer: str,
    rng: np.random.RandomState,
    dtype: np.dtype,
) -> Spectrum:
    """Return the largest singular values by subspace iterations from random directions.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    n_features : int
        Columns of ``X``.
    k : int
        Components that are wanted.
    n_oversamples : int
        Directions beyond `k`.
    n_iterations : int
        Iterations beyond the first one.
    normalizer : {'auto', 'QR', 'LU', 'none'}
        What keeps the directions apart between iterations; 'auto' is 'QR'.
    rng : RandomState
        Draws the first directions.
    dtype : dtype
        Type of ``X``.

    Returns
    -------
    Spectrum
    """
    mean, total = _mean_and_total(table, n_features, dtype)
    width = min(k + n_oversamples, n_features)
    Q = rng.normal(size=(n_features, width))
    for i in range(n_iterations + 1):  # Q <- A^T A Q
        Q = gram_times(table, mean, Q)
        check_finite(Q)
        if normalizer in ("auto", "QR") or i == n_iterations:
            Q = np.ascontiguousarray(linalg.qr(Q, mode="economic")[0])
        elif normalizer == "LU":
            Q = np.ascontiguousarray(linalg.lu(Q, permute_l=True)[0])
    values, vectors = _ritz(table, mean, Q, dtype)
    return _spectrum(mean, values[:k] ** 2, vectors[:k], total, min(table.n_rows, n_features))


def by_lanczos(
    table: Table, n_features: int, k: int, *, tol: float, rng: np.random.RandomState, dtype: np.dtype
) -> Spectrum:
    """Return the largest singular values by Lanczos iterations with A^T A; each is a pass over the rows.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    n_features : int
        Columns of ``X``.
    k : int
        Components that are wanted, less than `n_features`.
    tol : float
        Relative error of singular values; 0 is as exact as possible.
    rng : RandomState
        Draws the first direction.
    dtype : dtype
        Type of ``X``.

    Returns
    -------
    Spectrum
    """
    mean, total = _mean_and_total(table, n_features, dtype)

    def product(v: Matrix) -> Matrix:  # A^T A v
        found = gram_times(table, mean, v.reshape(-1, 1))
        check_finite(found)
        return found[:, 0]

    operator = LinearOperator((n_features, n_features), matvec=product, dtype=np.float64)
    _, Q = eigsh(operator, k=k, tol=tol**2, v0=rng.uniform(-1.0, 1.0, size=n_features))
    values, vectors = _ritz(table, mean, linalg.qr(Q[:, ::-1], mode="economic")[0], dtype)
    return _spectrum(mean, values**2, vectors, total, min(table.n_rows, n_features))


def _mean_and_total(table: Table, n_features: int, dtype: np.dtype) -> tuple[Matrix, float]:
    moments = feature_moments(table, n_features)
    check_finite(moments.mean, moments.variance)
    check_not_tiny(table, moments.variance, dtype)
    return moments.mean, float(moments.variance.sum()) * table.n_rows


def _ritz(table: Table, mean: Matrix, Q: Matrix, dtype: np.dtype) -> tuple[Matrix, Matrix]:
    """Return singular values and vectors of A on the space of the orthonormal columns of Q."""
    G = symmetric(table.map_reduce("projected_gram", centers=mean, W=np.ascontiguousarray(Q))["gram"])
    check_finite(G)
    return factored(table, mean, Q, G, dtype)


# -- how many ------------------------------------------------------------------------------------------------


def dimension_by_evidence(variances: Matrix, n_rows: int) -> int:
    """Return the number of components of largest evidence, from 1 to one less than there are features.

    T. P. Minka, "Automatic choice of dimensionality for PCA", NIPS 13 (2000), 598-604: Laplace's
    approximation of the evidence of a probabilistic PCA of k components.

    Parameters
    ----------
    variances : ndarray of shape (d,)
        Variances along all components, in falling order.
    n_rows : int
        Rows that they were computed from.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.pca import dimension_by_evidence
    >>> dimension_by_evidence(np.array([9.0, 4.0, 0.1, 0.1, 0.1]), 100)
    2
    """
    evidence = [_log_evidence(variances, k, n_rows) for k in range(1, len(variances))]
    return 1 + int(np.argmax(evidence)) if evidence else 0


#: Variances below are rounding.
LEAST_VARIANCE = 1e-15


def _log_evidence(variances: Matrix, k: int, n: int) -> float:
    d = len(variances)
    if variances[k - 1] < LEAST_VARIANCE or variances[k - 1] == variances[k]:
        return -math.inf
    noise = max(LEAST_VARIANCE, float(variances[k:].sum()) / (d - k))
    halves = (d - np.arange(k)) / 2.0
    log_p_U = -k * math.log(2.0) + sum(math.lgamma(h) - math.log(math.pi) * h for h in halves)
    m = d * k - k * (k + 1) / 2.0  # degrees of freedom of the directions
    smoothed = np.concatenate([variances[:k], np.full(d - k, noise)])
    i, j = np.triu_indices(d, 1)
    i, j = i[i < k], j[i < k]
    terms = (variances[i] - variances[j]) * (1.0 / smoothed[j] - 1.0 / smoothed[i])
    log_A = float(np.log(np.maximum(terms, LEAST_VARIANCE)).sum()) + len(i) * math.log(n)  # of the Hessian
    log_kept = float(np.log(variances[:k]).sum())
    return (
        log_p_U
        - n / 2.0 * log_kept
        - n * (d - k) / 2.0 * math.log(noise)
        + (m + k) / 2.0 * math.log(2.0 * math.pi)
        - log_A / 2.0
        - k / 2.0 * math.log(n)
    )
