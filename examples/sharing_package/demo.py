"""Search a grid of the package's estimator on a backend of joblib's; check it against separate fits.

Run it with ``python demo.py threading`` (or loky, sequential, multiprocessing), with the package installed;
on the ranks of MPI with ``mpirun -n 2 python -m hpcml.farm demo.py mpi``, on Spark inside its session.
"""

import sys

import joblib
from shared_neighbors import SharedNeighbors
from sklearn.datasets import load_diabetes
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpcml.joblib_backends import register_mpi, register_spark
from hpcml.model_selection import GridSearchCV, explain_plan

REGISTER = {"mpi": register_mpi, "spark": register_spark}  # backends that are not joblib's own
GRID = {"n_neighbors": [3, 5, 10, 20], "power": [0.0, 1.0, 2.0], "metric": ["euclidean", "cityblock"]}


def main(backend):
    """Return whether all scores are those of separate fits."""
    if backend in REGISTER:
        REGISTER[backend]()
    X, y = load_diabetes(return_X_y=True)
    search = GridSearchCV(SharedNeighbors(), GRID, cv=3, n_jobs=2)
    print("planned:", explain_plan(search, X, y))
    with joblib.parallel_config(backend=backend):
        search.fit(X, y)
    print("done:   ", search.plan_)
    print("best:   ", search.best_params_, f"R² {search.best_score_:.4f}")

    # inside a pipeline it shares too, and the scaler is fitted once a fold
    steps = make_pipeline(StandardScaler(), SharedNeighbors())
    grid = {f"sharedneighbors__{name}": values for name, values in GRID.items()}
    with joblib.parallel_config(backend=backend):
        scaled = GridSearchCV(steps, grid, cv=3, n_jobs=2).fit(X, y)
    print("scaled: ", scaled.plan_)

    return all(
        [found.cv_results_[f"split{k}_test_score"][i] for k in range(3)]
        == cross_val_score(model.set_params(**params), X, y, cv=3).tolist()
        for found, model in ((search, SharedNeighbors()), (scaled, steps))
        for i, params in enumerate(found.cv_results_["params"])
    )


if __name__ == "__main__":
    raise SystemExit(0 if main(sys.argv[1]) else "the scores differ")
