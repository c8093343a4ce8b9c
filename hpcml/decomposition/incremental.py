"""Principal component analysis by batches of rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import gen_batches
from sklearn.utils.metadata_routing import UNUSED

from hpcml import blas, communicators
from hpcml.communicators import Table
from hpcml.decomposition.base import Components, check_variances, warn_of_no_variance
from hpcml.training.incremental_pca import BatchModel, advanced, batch_of
from hpcml.training.inputs import FLOATS, as_rows, validate_data
from hpcml.validation import BOOLEAN, NONE, Allowed, check_parameters, integer

__all__ = ["IncrementalPCA"]

#: Rows of a batch for every feature, where nothing else is asked for.
BATCH_ROWS_OF_A_FEATURE = 5


class IncrementalPCA(Components):
    """Principal component analysis that sees one batch of rows at a time.

    Parameters
    ----------
    n_components : int or None, default=None
        Components to keep; None keeps as many as the first batch allows.
    whiten : bool, default=False
        Whether coordinates are divided by their standard deviation.
    copy : bool, default=True
        Accepted as in scikit-learn; the table is never overwritten.
    batch_size : int or None, default=None
        Rows of a batch of `fit`; None is five for each feature.

    Attributes
    ----------
    components_ : ndarray of shape (n_components_, n_features_in_)
        Unit vectors in falling order of variance; the largest entry of each is positive.
    explained_variance_ : ndarray of shape (n_components_,)
        Variance along each, divided by the number of rows less one.
    explained_variance_ratio_ : ndarray of shape (n_components_,)
        The same as fractions of the variance of all features.
    singular_values_ : ndarray of shape (n_components_,)
        Norm of the rows' coordinates along each, as far as batches tell.
    mean_ : ndarray of shape (n_features_in_,)
        Mean of all rows so far.
    var_ : ndarray of shape (n_features_in_,)
        Their variance, divided by the number of rows.
    noise_variance_ : float
        Mean variance along the directions that the last batch left out.
    n_components_ : int
        Number of components.
    n_samples_seen_ : int
        Rows so far.
    batch_size_ : int
        Rows of a batch of the last `fit`.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    The method is that of Ross, Lim, Lin and Yang [1]_. Every process computes every batch: sharing the rows
    saves memory, not time. `fit` takes sparse tables and makes one batch dense at a time.

    References
    ----------
    .. [1] D. A. Ross, J. Lim, R.-S. Lin, M.-H. Yang, "Incremental learning for robust visual tracking",
       International Journal of Computer Vision 77 (2008), 125-141.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.decomposition import IncrementalPCA
    >>> X = np.array([[-1.0, -1.0], [-2.0, -1.0], [-3.0, -2.0], [1.0, 1.0], [2.0, 1.0], [3.0, 2.0]])
    >>> IncrementalPCA(n_components=1, batch_size=3).fit(X).components_.round(3)
    array([[0.839, 0.545]])
    """

    __metadata_request__partial_fit = {"check_input": UNUSED}

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "n_components": (integer(1), NONE),
        "whiten": (BOOLEAN,),
        "copy": (BOOLEAN,),
        "batch_size": (integer(1), NONE),
    }

    var_: NDArray[np.float64]
    n_samples_seen_: int
    batch_size_: int
    _model: BatchModel | None

    def __init__(
        self,
        n_components: int | None = None,
        *,
        whiten: bool = False,
        copy: bool = True,
        batch_size: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.copy = copy
        self.batch_size = batch_size

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_parameters(self) -> None:
        check_parameters("IncrementalPCA", self.get_params(deep=False), self._allowed)

    def fit(self, X: ArrayLike, y: Any = None) -> IncrementalPCA:
        """Find the components, a batch of `batch_size` rows after another.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table.
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
        with communicators.current() as communicator, blas.one_thread():
            self._check_parameters()
            rows = self._validated(X)
            n_features = rows.shape[1]
            self.batch_size_ = self.batch_size or BATCH_ROWS_OF_A_FEATURE * n_features
            with communicator.put(X=as_rows(rows)) as table:
                self._model = None
                for batch in gen_batches(
                    table.n_rows, self.batch_size_, min_batch_size=self.n_components or 0
                ):
                    self._step(table, batch.start, batch.stop, rows.dtype)
        return self

    def partial_fit(self, X: ArrayLike, y: Any = None, check_input: bool = True) -> IncrementalPCA:
        """Take all rows as one further batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The batch.
        y : None
            Ignored.
        check_input : bool, default=True
            Accepted as in scikit-learn; input is always checked.

        Returns
        -------
        self
        """
        with communicators.current() as communicator, blas.one_thread():
            self._check_parameters()
            if sparse.issparse(X):
                raise TypeError(
                    "IncrementalPCA.partial_fit does not support sparse input. Either convert data to dense "
                    "or use IncrementalPCA.fit to do so in batches."
                )
            first = not hasattr(self, "components_")
            least = communicators.least_rows()
            rows: Any = validate_data(self, X, dtype=FLOATS, reset=first, ensure_min_samples=least)
            if first:
                self._model = None
            with communicator.put(X=as_rows(rows)) as table:
                self._step(table, 0, table.n_rows, rows.dtype)
        return self

    def _step(self, table: Table, start: int, stop: int, dtype: np.dtype) -> None:
        n_features = self.n_features_in_
        k = self._number_of_components(stop - start, n_features)
        model = self._model = advanced(self._model, batch_of(table, start, stop), k)
        freedom = max(model.n_rows - 1, 1)
        with np.errstate(over="ignore"):
            variances = model.singular_values**2 / freedom
        check_variances(model.singular_values, variances, dtype)
        total = float((model.moments.variance * model.n_rows).sum())
        warn_of_no_variance(total)
        self.n_components_, self.n_samples_seen_ = k, model.n_rows
        self.mean_, self.var_ = model.moments.mean, model.moments.variance
        self.components_ = np.ascontiguousarray(model.components, dtype=dtype)
        self.singular_values_ = model.singular_values.astype(dtype)
        self.explained_variance_ = variances.astype(dtype)
        with np.errstate(invalid="ignore"):
            self.explained_variance_ratio_ = (model.singular_values**2 / total).astype(dtype)
        left_out = k not in (stop - start, n_features) and len(model.rest) > 0
        self.noise_variance_ = dtype.type((model.rest**2).mean() / freedom) if left_out else 0.0

    def _number_of_components(self, n_rows: int, n_features: int) -> int:
        """Return how many components a batch is to give; raise if it cannot."""
        wanted, model = self.n_components, self._model
        if wanted is None:
            return min(n_rows, n_features) if model is None else len(model.components)
        if wanted > n_features:
            raise ValueError(
                f"n_components={wanted} invalid for n_features={n_features}, need more rows than columns for "
                "IncrementalPCA processing"
            )
        if model is None and wanted > n_rows:
            raise ValueError(
                f"n_components={wanted} must be less or equal to the batch number of samples {n_rows} for "
                "the first partial_fit call."
            )
        if model is not None and len(model.components) != wanted:
            raise ValueError(
                f"Number of input features has changed from {len(model.components)} to {wanted} between "
                "calls to partial_fit! Try setting n_components to a fixed value."
            )
        return wanted
