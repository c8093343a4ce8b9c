"""Principal component analysis."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators, config
from hpcml.communicators import Communicator, Table
from hpcml.decomposition.base import Components, check_variances, warn_of_no_variance
from hpcml.decomposition.grid import HeldScore, SharedComponents
from hpcml.kernels import lookup
from hpcml.training import pca as methods
from hpcml.training.inputs import FLOATS, as_rows, validate_data
from hpcml.training.pca import Spectrum, dimension_by_evidence
from hpcml.validation import BOOLEAN, NONE, RANDOM_STATE, Allowed, check_parameters, integer, one_of, real

__all__ = ["PCA"]

_SPARSE_SOLVERS = ("auto", "arpack", "covariance_eigh")

#: `score_samples` takes so many numbers of the table at a time.
NUMBERS_AT_ONCE = 1 << 20


class PCA(SharedComponents, Components):
    """Principal component analysis: the directions in which the rows vary most.

    Parameters
    ----------
    n_components : int, float, 'mle' or None, default=None
        Components to keep: their number; or the fraction of the variance that they must explain; or as many
        as Minka's estimate says; None keeps ``min(n_samples, n_features)``, one less with "arpack".
    copy : bool, default=True
        Accepted as in scikit-learn; the table is never overwritten.
    whiten : bool, default=False
        Whether coordinates are divided by their standard deviation.
    svd_solver : {'auto', 'full', 'covariance_eigh', 'arpack', 'randomized'}, default='auto'
        * 'full': as exact as a singular value decomposition of the rows, in two or three passes over them.
          LAPACK decomposes tables of up to 262,144 numbers, and those of no more rows than columns, of which
          every process then holds all rows.
        * 'covariance_eigh': eigenvectors of the covariance matrix, in one pass. Directions whose standard
          deviation is below 1e-7 (float32: 3e-4) of the largest one are noise.
        * 'randomized': subspace iterations from random directions, each one pass.
        * 'arpack': Lanczos iterations of ARPACK, each one pass.
        * 'auto': 'arpack' for sparse tables. Else 'covariance_eigh' for up to 1,000 features and ten times as
          many rows; 'randomized' for tables beyond 500 x 500 of which less than 80 % of the components are
          wanted; else 'full'.
    tol : float, default=0.0
        Relative error of singular values with 'arpack'; 0 is as exact as possible.
    iterated_power : int or 'auto', default='auto'
        Iterations of 'randomized'; 'auto' is 7 for less than a tenth of the components, else 4.
    n_oversamples : int, default=10
        Directions of 'randomized' beyond `n_components`.
    power_iteration_normalizer : {'auto', 'QR', 'LU', 'none'}, default='auto'
        What keeps the directions of 'randomized' apart between iterations; 'auto' is 'QR'.
    random_state : int, RandomState instance or None, default=None
        Draws the first directions of 'randomized' and 'arpack'.

    Attributes
    ----------
    components_ : ndarray of shape (n_components_, n_features_in_)
        Unit vectors in falling order of variance; the largest entry of each is positive.
    explained_variance_ : ndarray of shape (n_components_,)
        Variance along each, divided by the number of rows less one.
    explained_variance_ratio_ : ndarray of shape (n_components_,)
        The same as fractions of the variance of all features.
    singular_values_ : ndarray of shape (n_components_,)
        Norm of the rows' coordinates along each.
    mean_ : ndarray of shape (n_features_in_,)
        Mean of the rows.
    n_components_ : int
        Number of components.
    n_samples_ : int
        Rows of the training table, over all ranks.
    noise_variance_ : float
        Mean variance along the directions that are left out.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    Rows are centred as they are read; there is no centred copy of the table. Products of float32 rows are
    added up in float32 over 128 rows at most, then in float64.

    References
    ----------
    * N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness: probabilistic algorithms
      for constructing approximate matrix decompositions", SIAM Review 53 (2011), 217-288.
    * T. Fukaya et al., "Shifted Cholesky QR for computing the QR factorization of ill-conditioned matrices",
      SIAM Journal on Scientific Computing 42 (2020), A477-A503.
    * T. P. Minka, "Automatic choice of dimensionality for PCA", NIPS 13 (2000), 598-604.
    * M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
      Statistical Society B 61 (1999), 611-622.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.decomposition import PCA
    >>> X = np.array([[-1.0, -1.0], [-2.0, -1.0], [-3.0, -2.0], [1.0, 1.0], [2.0, 1.0], [3.0, 2.0]])
    >>> pca = PCA(n_components=2).fit(X)
    >>> pca.explained_variance_ratio_.round(4)
    array([0.9924, 0.0076])
    >>> pca.transform(X[:1]).round(3)
    array([[-1.383, -0.294]])
    """

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "n_components": (
            integer(0),
            real(0.0, 1.0, closed="neither", integers=False),
            one_of("mle"),
            NONE,
        ),
        "copy": (BOOLEAN,),
        "whiten": (BOOLEAN,),
        "svd_solver": (one_of("auto", "full", "covariance_eigh", "arpack", "randomized"),),
        "tol": (real(0.0),),
        "iterated_power": (one_of("auto"), integer(0)),
        "n_oversamples": (integer(1),),
        "power_iteration_normalizer": (one_of("auto", "QR", "LU", "none"),),
        "random_state": (RANDOM_STATE,),
    }

    n_samples_: int

    def __init__(
        self,
        n_components: Any = None,
        *,
        copy: bool = True,
        whiten: bool = False,
        svd_solver: str = "auto",
        tol: float = 0.0,
        iterated_power: Any = "auto",
        n_oversamples: int = 10,
        power_iteration_normalizer: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.svd_solver in _SPARSE_SOLVERS
        return tags

    def fit(self, X: ArrayLike, y: Any = None) -> PCA:
        """Find the components.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; sparse ones for the solvers 'arpack' and 'covariance_eigh', never made dense.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the table is not allowed.
        """
        self._fitted(X)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Any:
        """Find the components and return the rows' coordinates along them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            As `transform` returns.
        """
        return self._coordinates(self._fitted(X))

    def _check_parameters(self) -> None:
        check_parameters("PCA", self.get_params(deep=False), self._allowed)

    def _fitted(self, X: Any) -> Any:
        """Fit, and return the validated table."""
        with communicators.current() as communicator, blas.one_thread():
            self._check_parameters()
            if sparse.issparse(X) and self.svd_solver not in _SPARSE_SOLVERS:
                raise TypeError(
                    'PCA only support sparse inputs with the "arpack" and "covariance_eigh" solvers, while '
                    f'"{self.svd_solver}" was passed. See TruncatedSVD for a possible alternative.'
                )
            X = self._validated(X)
            with communicator.put(X=as_rows(X)) as table:
                shape = (table.n_rows, X.shape[1])
                self._fit_svd_solver = self._solver(shape, sparse.issparse(X))
                wanted = self._checked_number(shape)
                spectrum = self._spectrum(communicator, table, shape, wanted, X.dtype)
        self._keep(spectrum, shape, wanted, X.dtype)
        return X

    # -- which method, how many components -------------------------------------------------------------------

    def _solver(self, shape: tuple[int, int], is_sparse: bool) -> str:
        if self.svd_solver != "auto":
            return self.svd_solver
        n_samples, n_features = shape
        k = min(shape) if self.n_components is None else self.n_components
        if is_sparse:
            return "arpack"
        if n_features <= 1000 and n_samples >= 10 * n_features:
            return "covariance_eigh"
        if max(shape) <= 500 or k == "mle":
            return "full"
        return "randomized" if 1 <= k < 0.8 * min(shape) else "full"

    def _checked_number(self, shape: tuple[int, int]) -> Any:
        """Return `n_components` with None resolved; raise if the solver cannot find as many."""
        solver, least = self._fit_svd_solver, min(shape)
        k = self.n_components
        if k is None:
            k = least - (solver == "arpack")
        within = f"min(n_samples, n_features)={least} with svd_solver={solver!r}"
        if solver in ("full", "covariance_eigh"):
            if isinstance(k, str):
                if shape[0] < shape[1]:
                    raise ValueError("n_components='mle' is only supported if n_samples >= n_features")
            elif not 0 <= k <= least:
                raise ValueError(f"n_components={k} must be between 0 and {within}")
        elif isinstance(k, str):
            raise ValueError(f"n_components={k!r} cannot be a string with svd_solver={solver!r}")
        elif not 1 <= k <= least:
            raise ValueError(f"n_components={k!r} must be between 1 and {within}")
        elif solver == "arpack" and k == least:
            raise ValueError(f"n_components={k!r} must be strictly less than {within}")
        return k

    def _spectrum(
        self, communicator: Communicator, table: Table, shape: tuple[int, int], k: Any, dtype: np.dtype
    ) -> Spectrum:
        n_features = shape[1]
        if self._fit_svd_solver == "full":
            return methods.by_factors(table, n_features, dtype)
        if self._fit_svd_solver == "covariance_eigh":
            whole = isinstance(k, str) or 0 < k < 1
            return methods.by_covariance(table, n_features, dtype, None if whole else int(k))
        rng = communicator.random_state(self.random_state)
        if self._fit_svd_solver == "arpack":
            return methods.by_lanczos(table, n_features, int(k), tol=self.tol, rng=rng, dtype=dtype)
        n_iterations = self.iterated_power
        if n_iterations == "auto":
            n_iterations = 7 if k < 0.1 * min(shape) else 4
        return methods.by_random_projection(
            table,
            n_features,
            int(k),
            n_oversamples=self.n_oversamples,
            n_iterations=n_iterations,
            normalizer=self.power_iteration_normalizer,
            rng=rng,
            dtype=dtype,
        )

    def _keep(self, found: Spectrum, shape: tuple[int, int], k: Any, dtype: np.dtype) -> None:
        freedom = shape[0] - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            variances = found.singular_values**2 / freedom
            ratios = found.singular_values**2 / found.total
            rest = np.float64(found.rest) / freedom
        check_variances(found.singular_values, variances, dtype)
        warn_of_no_variance(float(found.total))
        if k == "mle":
            k = dimension_by_evidence(variances, shape[0])
        elif 0 < k < 1:
            k = int(np.searchsorted(np.cumsum(ratios), k, side="right")) + 1
        k = int(k)
        if k < len(variances):  # what is left of all that were found
            rest = variances[k:].mean()
        self.n_samples_, self.n_components_ = shape[0], k
        self.mean_ = found.mean.astype(dtype)
        self.components_ = np.ascontiguousarray(found.components[:k], dtype=dtype)
        self.explained_variance_ = variances[:k].astype(dtype)
        self.explained_variance_ratio_ = ratios[:k].astype(dtype)
        self.singular_values_ = found.singular_values[:k].astype(dtype)
        self.noise_variance_ = dtype.type(rest) if k < min(shape) else 0.0

    # -- likelihood ------------------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike) -> NDArray[Any]:
        """Return the log-likelihood of every row under the probabilistic model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        table: Any = validate_data(self, X, dtype=FLOATS, reset=False)
        n_samples, n_features = table.shape
        with blas.one_thread():
            precision = np.ascontiguousarray(self.get_precision(), dtype=np.float64)
        constant = n_features * math.log(2.0 * math.pi) - self._log_determinant()
        likelihood, zeros = np.empty(n_samples, dtype=table.dtype), np.zeros(n_features)
        step = max(1, NUMBERS_AT_ONCE // n_features)
        for start in range(0, n_samples, step):
            rows = (table[start : start + step] - self.mean_).astype(np.float64, order="C", copy=False)
            products = lookup("project")(rows, zeros, precision, zeros, config.n_threads())
            squares = np.einsum("ij,ij->i", rows, products)
            likelihood[start : start + step] = -0.5 * (squares + constant)
        return likelihood

    def _covariance_eigenvalues(self) -> NDArray[np.float64]:
        """Return the eigenvalues of the model's covariance along its components; all others are the noise."""
        variances, noise = self.explained_variance_.astype(np.float64), float(self.noise_variance_)
        if not self.whiten:
            return np.maximum(variances, noise)
        return np.maximum(variances - noise, 0.0) * variances + noise

    def _log_determinant(self) -> float:
        """Return that of the precision, by the eigenvalues of the covariance."""
        rest = np.full(self.n_features_in_ - self.n_components_, self.noise_variance_, dtype=np.float64)
        with np.errstate(divide="ignore"):
            logarithms = np.log(np.append(self._covariance_eigenvalues(), rest))
        return -float(logarithms.sum()) if np.isfinite(logarithms).all() else -math.inf

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return the mean log-likelihood of rows under the probabilistic model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
        """
        known: HeldScore | None = vars(self).get("_held_score")
        if known is not None and type(self).score_samples is PCA.score_samples:
            check_is_fitted(self)
            table: Any = validate_data(self, X, dtype=FLOATS, reset=False)
            if known.rows.are(table):
                return known.value
        return float(np.mean(self.score_samples(X)))
