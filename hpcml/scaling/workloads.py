"""What can be measured: fits, predictions and grid searches of hpcml, and functions of the user.

A workload is prepared for a number of rows, outside of the clock, and then run on p workers. Own workloads
are rows of a table: the estimator, its parameters, the shape of its data.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACKENDS", "WORKLOADS", "Run", "Workload", "find"]

#: What workers can be.
BACKENDS = ("threads", "processes", "mpi", "loky", "spark")

#: ``run(p, backend)`` does the work and returns what must be the same at every p.
Run = Callable[[int, str], Any]

#: Rows by which a fitted model is compared with one that other workers fitted.
PROBE = 500

#: Folds of grids: a fold is a task where candidates share one, and 2 or 4 workers then take as many each.
N_FOLDS = 4


@dataclass(frozen=True)
class Workload:
    """One thing to measure.

    Parameters
    ----------
    name : str
    about : str
        One line.
    rows : int
        Rows where none are asked for.
    backends : mapping of str to str
        Where it can run, and what the workers share there: 'threads' (of one process, inside kernels),
        'rows' (of the table) or 'tasks' (fits of a grid, trees of a forest, handed out by joblib); for a
        function of the user, which shares its work itself, 'function'.
    prepare : callable
        ``prepare(n, rank, size)`` makes what n rows need and returns a `Run`; under MPI a rank of `size`
        makes its share of the rows.
    """

    name: str
    about: str
    rows: int
    backends: Mapping[str, str]
    prepare: Callable[[int, int, int], Run]


# -- data --------------------------------------------------------------------------------------------------


def _data(n: int, columns: int, kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows around 16 centres, and a target: the side of a plane, or the distance to it."""
    rng = np.random.default_rng([n, columns])
    centres = rng.normal(0, 3, (16, columns))
    X = centres[rng.integers(16, size=n)] + rng.standard_normal((n, columns))
    distance = X @ rng.standard_normal(columns) / np.sqrt(columns) + rng.standard_normal(n)
    return X.astype(np.float32), (distance > 0).astype(np.int64) if kind == "classes" else distance


def _share(n: int, rank: int, size: int) -> slice:
    return slice(n * rank // size, n * (rank + 1) // size)


# -- fits, predictions, grids ------------------------------------------------------------------------------


def _estimator(path: str, parameters: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"hpcml.{module}"), name)(**parameters)


def _answers(fitted: Any, X: NDArray[Any]) -> Any:
    return fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)


def _prepare_fit(
    path: str, parameters: dict[str, Any], columns: int, kind: str, n: int, rank: int, size: int
) -> Run:
    X, y = _data(n, columns, kind)
    probe, own = X[:PROBE], _share(n, rank, size)
    X, y = X[own], y[own]

    def run(p: int, backend: str) -> Any:
        return _answers(_estimator(path, parameters).fit(X, y), probe)

    return run


def _prepare_predict(
    path: str, parameters: dict[str, Any], columns: int, kind: str, n: int, rank: int, size: int
) -> Run:
    X, y = _data(max(n, 10 * PROBE), columns, kind)
    few = max(10 * PROBE, n // 10)
    fitted = _estimator(path, parameters).fit(X[:few], y[:few])
    X = X[:n]
    return lambda p, backend: _answers(fitted, X)


def _prepare_grid(
    path: str,
    parameters: dict[str, Any],
    grid: dict[str, Any],
    columns: int,
    kind: str,
    n: int,
    rank: int,
    size: int,
) -> Run:
    from hpcml.model_selection import GridSearchCV

    X, y = _data(n, columns, kind)
    own = _share(n, rank, size)
    X, y = X[own], y[own]

    def run(p: int, backend: str) -> Any:
        search = GridSearchCV(_estimator(path, parameters), grid, cv=N_FOLDS, refit=False)
        return search.fit(X, y).cv_results_["mean_test_score"]

    return run


_THREADS = {"threads": "threads"}
#: Fits over rows that workers share.
_ROWS = {**_THREADS, "processes": "rows", "mpi": "rows"}
#: Trees need the whole table: joblib's workers grow some of them each.
_TREES = {**_THREADS, "mpi": "tasks", "spark": "tasks"}

#: name: estimator, parameters, columns, kind of target, rows, backends of the fit
_ESTIMATORS: dict[str, tuple[str, dict[str, Any], int, str, int, dict[str, str]]] = {
    "kmeans": (
        "cluster.KMeans",
        {"n_clusters": 32, "n_init": 1, "max_iter": 20, "tol": 0.0, "random_state": 0},
        32,
        "classes",
        400_000,
        _ROWS,
    ),
    "minibatch-kmeans": (
        "cluster.MiniBatchKMeans",
        {"n_clusters": 16, "n_init": 1, "batch_size": 16384, "max_iter": 4, "random_state": 0},
        16,
        "classes",
        500_000,
        _ROWS,
    ),
    "mixture": (
        "mixture.GaussianMixture",
        {
            "n_components": 8,
            "max_iter": 10,
            "tol": 1e-12,
            "reg_covar": 1e-3,
            "random_state": 0,
        },
        16,
        "classes",
        400_000,
        _ROWS,
    ),
    "logistic": ("linear_model.LogisticRegression", {"tol": 1e-8}, 64, "classes", 500_000, _ROWS),
    "linear-regression": ("linear_model.LinearRegression", {}, 100, "numbers", 400_000, _ROWS),
    "ridge": ("linear_model.Ridge", {}, 100, "numbers", 400_000, _ROWS),
    "linear-svc": ("svm.LinearSVC", {"random_state": 0}, 64, "classes", 300_000, _ROWS),
    "linear-svr": (
        "svm.LinearSVR",
        {"loss": "squared_epsilon_insensitive", "dual": False, "random_state": 0},
        64,
        "numbers",
        300_000,
        _ROWS,
    ),
    "pca": ("decomposition.PCA", {"n_components": 10}, 100, "classes", 400_000, _ROWS),
    "incremental-pca": (
        "decomposition.IncrementalPCA",
        {"n_components": 10, "batch_size": 20_000},
        64,
        "classes",
        200_000,
        _THREADS,
    ),
    "scaler": ("preprocessing.StandardScaler", {}, 100, "classes", 1_000_000, _ROWS),
    "tree": (
        "tree.DecisionTreeClassifier",
        {"max_depth": 12, "random_state": 0},
        28,
        "classes",
        200_000,
        _THREADS,
    ),
    "tree-regressor": (
        "tree.DecisionTreeRegressor",
        {"max_depth": 12, "random_state": 0},
        28,
        "numbers",
        200_000,
        _THREADS,
    ),
    "forest": (
        "ensemble.RandomForestClassifier",
        # the usual number of trees: with half of them, what one process does before the first tree is a fifth
        {"n_estimators": 100, "max_depth": 12, "random_state": 0},
        28,
        "classes",
        100_000,
        _TREES,
    ),
    "forest-regressor": (
        "ensemble.RandomForestRegressor",
        {"n_estimators": 50, "max_depth": 10, "max_features": 0.5, "random_state": 0},
        28,
        "numbers",
        50_000,
        _TREES,
    ),
}

#: name: estimator's row above, grid, rows, backends
_GRIDS: dict[str, tuple[str, dict[str, Any], int, dict[str, str]]] = {
    "forest-grid": (
        "forest-regressor",
        {"max_depth": [2, 5, 10], "n_estimators": [20, 50, 100]},
        20_000,
        {**_TREES, "loky": "tasks"},
    ),
    "logistic-grid": (
        "logistic",
        {"C": [10.0**i for i in range(-4, 4)]},
        100_000,
        # grids of linear models share rows over ranks and threads alone; one batch, so one task, holds all
        {**_THREADS, "mpi": "rows"},
    ),
    "kmeans-grid": (
        "kmeans",
        {"n_clusters": [2, 4, 8, 16, 32]},
        100_000,
        {**_ROWS, "loky": "tasks", "spark": "tasks"},
    ),
}


def _own() -> dict[str, Workload]:
    found = {}
    for name, (path, parameters, columns, kind, rows, backends) in _ESTIMATORS.items():
        what = f"{path.rpartition('.')[2]}, {columns} columns"
        found[name] = Workload(
            name,
            f"fit of {what}",
            rows,
            backends,
            partial(_prepare_fit, path, parameters, columns, kind),
        )
        verb = f"{name}-predict"
        found[verb] = Workload(
            verb,
            f"predict or transform of {what}",
            4 * rows,
            _THREADS,
            partial(_prepare_predict, path, parameters, columns, kind),
        )
    for name, (base, grid, rows, backends) in _GRIDS.items():
        path, parameters, columns, kind, _, _ = _ESTIMATORS[base]
        size = int(np.prod([len(values) for values in grid.values()]))
        found[name] = Workload(
            name,
            f"grid of {size} candidates x {N_FOLDS} folds, {path.rpartition('.')[2]}, {columns} columns",
            rows,
            backends,
            partial(_prepare_grid, path, parameters, grid, columns, kind),
        )
    return found


#: hpcml's own workloads by name.
WORKLOADS: dict[str, Workload] = _own()


# -- functions of the user ---------------------------------------------------------------------------------

#: Where a function of the user may run: what n_workers means is its own business.
EVERYWHERE = dict.fromkeys(BACKENDS, "function")


def of_function(function: Callable[[int, int], Any], name: str) -> Workload:
    """Return the workload of ``function(n, n_workers)``, whose result must be the same at every n_workers.

    Raises
    ------
    TypeError
        If it does not take two positional arguments.
    """
    try:
        inspect.signature(function).bind(1, 1)
    except TypeError as error:
        raise TypeError(f"{name} must take (n, n_workers): {error}.") from None

    def prepare(n: int, rank: int, size: int) -> Run:
        return lambda p, backend: function(n, p)

    about = (inspect.getdoc(function) or "a function of the user").splitlines()[0]
    return Workload(name, about, 1, EVERYWHERE, prepare)


def find(name: str) -> Workload:
    """Return a workload by its name, or by ``path/to/script.py:function``.

    Parameters
    ----------
    name : str

    Raises
    ------
    ValueError
        If there is none, or the script cannot be loaded or holds no such function.

    Examples
    --------
    >>> from hpcml.scaling import workloads
    >>> workloads.find("kmeans").about
    'fit of KMeans, 32 columns'
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    script, _, function = name.rpartition(":")
    if not script:
        from hpcml.data import near_misses

        raise ValueError(
            f"WORKLOAD must be one of `hpcml scale list` or SCRIPT.py:FUNCTION. Got {name!r} instead; "
            f"{near_misses(name, WORKLOADS)}"
        )
    path = Path(script)
    if not path.is_file():
        raise ValueError(f"WORKLOAD {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location("hpcml_scaling_script", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"WORKLOAD {name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"WORKLOAD {name}: {path} fails: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"WORKLOAD {name}: {path} holds no function {function!r}")
    return of_function(found, name)
