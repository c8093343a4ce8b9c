"""A grid search on the ranks of an MPI job: the script runs on rank 0, and the other ranks take fits.

    mpirun -n 4 python -m hpcml.farm examples/mpi_grid.py sf-airbnb-clean.csv --target price

`examples/mpi_grid.sh` is a Slurm job. The journal lets a job that was ended, because its time was over or a
rank was killed, go on where it stopped: start it again.
"""

import argparse
import time

import joblib
import numpy as np
import pandas as pd

from hpcml.data import TableEncoder, read_table
from hpcml.ensemble import RandomForestRegressor
from hpcml.joblib_backends import register_mpi
from hpcml.model_selection import GridSearchCV

GRID = {"max_depth": [4, 8, None], "min_samples_leaf": [1, 5, 20], "n_estimators": [50, 100, 200]}


def main() -> None:
    """Search the grid on all ranks and print the best candidates."""
    parser = argparse.ArgumentParser(description="A grid of forests on the ranks of an MPI job.")
    parser.add_argument("table", help="CSV or Parquet file")
    parser.add_argument("--target", default="price", help="column to predict; its logarithm is fitted")
    parser.add_argument("--journal", help="file that notes every finished fit")
    parser.add_argument("--rows", type=int, help="take the first rows only")
    arguments = parser.parse_args()

    table = read_table(arguments.table)[: arguments.rows]
    y = np.log1p(table.pop(arguments.target).to_numpy(dtype=float))
    X = TableEncoder().fit_transform(table)

    register_mpi()
    search = GridSearchCV(RandomForestRegressor(random_state=0), GRID, cv=3, journal=arguments.journal)
    started = time.perf_counter()
    with joblib.parallel_backend("mpi"):
        ranks = joblib.effective_n_jobs()
        search.fit(X, y)
    seconds = time.perf_counter() - started

    print(f"{len(X):,} rows, {X.shape[1]} columns; {ranks} ranks: {search.plan_} in {seconds:.1f} s")
    results = pd.DataFrame(search.cv_results_).sort_values("rank_test_score")
    shown = [f"param_{name}" for name in GRID] + ["mean_test_score", "std_test_score"]
    print(results[shown].head().to_string(index=False))


if __name__ == "__main__":
    main()
