"""Singular values and right singular vectors of tall tables, from passes that only add up products.

For A = Z M, the Gram matrix of Z gives a basis in which the columns of Z come closer to orthonormal; after
two or three passes A = Q R with R known as exactly as from Householder reflections: T. Fukaya, R. Kannan,
Y. Nakatsukasa, Y. Yamamoto, Y. Yanagisawa, "Shifted Cholesky QR for computing the QR factorization of
ill-conditioned matrices", SIAM Journal on Scientific Computing 42 (2020), A477-A503. Eigenvectors take the
place of the Cholesky factor, so that A may lack rank.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hpcml.communicators import Table
from hpcml.training.gram import symmetric

__all__ = ["EXACT", "factored"]

Matrix = NDArray[np.float64]

#: Every pass resolves a factor of about 1e7 (float32: 3e3) between singular values.
MOST_PASSES = 3
#: Columns of Z whose squared lengths are this fraction of the longest one's are resolved as far as the
#: largest singular value allows.
RESOLVED = 1e-4
#: The same for the first pass, of singular values that are all to be exact.
EXACT = 0.25
#: Divide and conquer works on two more matrices of the size of the Gram matrix. Above so many columns,
#: relatively robust representations, which need one, take its place where `resolved` asks for less than all
#: digits; their eigenvectors are orthogonal to 12 digits.
LARGE = 1024


def factored(
    table: Table, mean: Matrix, P: Matrix | None, G: Matrix, dtype: np.dtype, resolved: float = EXACT
) -> tuple[Matrix, Matrix]:
    """Return singular values, in falling order, and right singular vectors, in rows, of A P.

    Parameters
    ----------
    table : Table
        With the row array ``X``, whose rows less `mean` are those of A, and ``weights`` or None.
    mean : ndarray of shape (d,)
        Mean of the rows, or zeros.
    P : ndarray of shape (d, k), optional
        Orthonormal columns; None is the identity.
    G : ndarray of shape (k, k)
        P^T A^T A P; it is overwritten.
    dtype : dtype
        Type of ``X``.
    resolved : float
        Where the smallest eigenvalue of `G` is this fraction of the largest one, one pass is enough.

    Returns
    -------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (k, d)
        In the space of the columns of P.
    """
    k = len(G)
    basis, M = P, None
    floor = 16 * k * float(np.finfo(dtype).eps)  # of an eigenvalue, relative to the largest one
    driver = "evr" if k > LARGE and resolved < RESOLVED else "evd"
    for i in range(MOST_PASSES):
        squares, E = linalg.eigh(G.T, driver=driver, overwrite_a=True)  # the transpose is in LAPACK's order
        top = squares[-1]
        if not top > 0 or i == MOST_PASSES - 1 or squares[0] >= (resolved if i == 0 else RESOLVED) * top:
            break
        lengths = np.sqrt(np.maximum(squares, floor * top))
        M = lengths[:, np.newaxis] * (E.T if M is None else E.T @ M)
        basis = np.ascontiguousarray((E if basis is None else basis @ E) / lengths)
        G = symmetric(table.map_reduce("projected_gram", centers=mean, W=basis)["gram"])
    if M is None:  # the eigenvectors are the singular vectors
        values, turned = np.sqrt(np.maximum(squares[::-1], 0.0)), E.T[::-1]
    else:
        R = np.sqrt(np.maximum(squares, 0.0))[:, np.newaxis] * (E.T @ M)
        _, values, turned = linalg.svd(R, check_finite=False)
    return values, turned if P is None else turned @ P.T
