"""A grid search of a random forest: what is shared, what it saves, and that it equals separate fits.

Run it with ``python examples/forest_grid.py``; it takes a few seconds.
"""

import time

from sklearn.datasets import load_diabetes
from sklearn.model_selection import cross_val_score

from hpcml.ensemble import RandomForestRegressor
from hpcml.model_selection import GridSearchCV

GRID = {"max_depth": [2, 5, 10], "n_estimators": [20, 50, 100]}


def main():
    """Search the grid, then check the best candidate against fits of its own."""
    X, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(random_state=0)

    started = time.perf_counter()
    search = GridSearchCV(forest, GRID, cv=3).fit(X, y)
    seconds = time.perf_counter() - started
    print(f"{search.plan_} in {seconds:.2f} s")
    print(f"best: {search.best_params_} with R² {search.best_score_:.4f}")

    i = search.best_index_
    shared = [search.cv_results_[f"split{k}_test_score"][i] for k in range(3)]
    separate = cross_val_score(forest.set_params(**search.best_params_), X, y, cv=3)
    print(f"scores of the shared fit:    {shared}")
    print(f"scores of the separate fits: {separate.tolist()}")
    return shared == separate.tolist()


if __name__ == "__main__":
    raise SystemExit(0 if main() else "the scores differ")
