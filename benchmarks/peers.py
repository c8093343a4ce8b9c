"""The libraries that run beside hpcml, and the same forest and the same search in each of them."""

import importlib
import importlib.metadata
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["PEERS", "Forest", "Peer", "contestant"]


@dataclass(frozen=True)
class Forest:
    """What is fitted, in words that every library understands.

    Parameters
    ----------
    kind : {'classifier', 'regressor'}
    n_trees, max_depth : int
    max_features : {'all', 'sqrt'}
        How many features each split draws from.
    """

    kind: str
    n_trees: int
    max_depth: int
    max_features: str

    def share(self, n_features: int) -> float:
        """Return the share of features a split draws from.

        Parameters
        ----------
        n_features : int
        """
        return 1.0 if self.max_features == "all" else math.sqrt(n_features) / n_features


@dataclass(frozen=True)
class Peer:
    """A library.

    Parameters
    ----------
    name : str
        As the table shows it.
    module : str
        What must be importable.
    distribution : str
        What has its version.
    make : callable
        ``make(forest, n_features, n_jobs, seed)`` returns an unfitted estimator.
    search : str
        Module that has its GridSearchCV.
    """

    name: str
    module: str
    distribution: str
    make: Callable[[Forest, int, int | None, int], Any]
    search: str = "sklearn.model_selection"

    def version(self) -> str | None:
        """Return the installed version, None if there is none."""
        if importlib.util.find_spec(self.module) is None:
            return None
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "unknown"

    def make_search(self, estimator: Any, grid: dict[str, list[Any]], cv: int, n_jobs: int | None) -> Any:
        """Return an unfitted search over an estimator of this library.

        Parameters
        ----------
        estimator : object
        grid : dict
        cv : int
        n_jobs : int or None
        """
        return importlib.import_module(self.search).GridSearchCV(estimator, grid, cv=cv, n_jobs=n_jobs)


def contestant(name: str) -> dict[str, Any]:
    """Return what every result begins with; one that is not installed has the key ``skipped``.

    Parameters
    ----------
    name : str
        A key of `PEERS`.
    """
    peer, version = PEERS[name], PEERS[name].version()
    told: dict[str, Any] = {"contestant": name, "name": peer.name, "version": version}
    return told | ({"skipped": f"{peer.module} is not installed"} if version is None else {})


def _as_scikit_learn(module: str) -> Callable[[Forest, int, int | None, int], Any]:
    def make(forest: Forest, n_features: int, n_jobs: int | None, seed: int) -> Any:
        name = "RandomForestClassifier" if forest.kind == "classifier" else "RandomForestRegressor"
        return getattr(importlib.import_module(module), name)(
            n_estimators=forest.n_trees,
            max_depth=forest.max_depth,
            max_features=1.0 if forest.max_features == "all" else "sqrt",
            n_jobs=n_jobs,
            random_state=seed,
        )

    return make


# A bootstrap sample holds 1 - 1/e of the rows; both libraries below draw that share without replacement.
BOOTSTRAP_SHARE = 0.632


def _lightgbm(forest: Forest, n_features: int, n_jobs: int | None, seed: int) -> Any:
    import lightgbm

    kind = lightgbm.LGBMClassifier if forest.kind == "classifier" else lightgbm.LGBMRegressor
    return kind(
        boosting_type="rf",
        n_estimators=forest.n_trees,
        max_depth=forest.max_depth,
        num_leaves=2**forest.max_depth - 1,
        min_child_samples=1,
        subsample=BOOTSTRAP_SHARE,
        subsample_freq=1,
        feature_fraction_bynode=forest.share(n_features),
        n_jobs=n_jobs,
        random_state=seed,
        verbose=-1,
    )


def _xgboost(forest: Forest, n_features: int, n_jobs: int | None, seed: int) -> Any:
    import xgboost

    kind = xgboost.XGBRFClassifier if forest.kind == "classifier" else xgboost.XGBRFRegressor
    return kind(
        n_estimators=forest.n_trees,
        max_depth=forest.max_depth,
        subsample=BOOTSTRAP_SHARE,
        colsample_bynode=forest.share(n_features),
        min_child_weight=1,
        reg_lambda=0.0,
        tree_method="hist",
        n_jobs=n_jobs,
        random_state=seed,
    )


def _no_forest(forest: Forest, n_features: int, n_jobs: int | None, seed: int) -> Any:
    raise ValueError("this library has no forests")


#: The libraries by short name; hpcml first, because the others are compared with it.
PEERS: dict[str, Peer] = {
    "hpcml": Peer("hpcml", "hpcml", "hpcml", _as_scikit_learn("hpcml.ensemble"), "hpcml.model_selection"),
    "intelex": Peer(
        "scikit-learn-intelex", "sklearnex", "scikit-learn-intelex", _as_scikit_learn("sklearnex.ensemble")
    ),
    "dask": Peer("dask-ml", "dask_ml", "dask-ml", _no_forest, "dask_ml.model_selection"),
    "faiss": Peer("faiss", "faiss", "faiss-cpu", _no_forest),
    "lightgbm": Peer("LightGBM rf", "lightgbm", "lightgbm", _lightgbm),
    "xgboost": Peer("XGBoost rf", "xgboost", "xgboost", _xgboost),
    "sklearn": Peer("scikit-learn", "sklearn", "scikit-learn", _as_scikit_learn("sklearn.ensemble")),
}
