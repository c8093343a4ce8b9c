"""One grid over a pipeline for the census table "adult": encoding, scaling, then two kinds of models.

Run it with ``HPCML_DATA=FOLDER python examples/adult.py``, where FOLDER holds ``adult.csv`` with a line of
names (https://archive.ics.uci.edu/dataset/2/adult); it takes some seconds.
"""

import os
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from hpcml.ensemble import RandomForestClassifier
from hpcml.linear_model import LogisticRegression
from hpcml.model_selection import GridSearchCV, explain_plan
from hpcml.preprocessing import StandardScaler

GRID = [
    {"model": [LogisticRegression()], "model__C": [0.001, 0.01, 0.1, 1.0, 10.0]},
    {
        "model": [RandomForestClassifier(random_state=0)],
        "model__max_depth": [5, 10, 15],
        "model__n_estimators": [10, 20, 40],
    },
]


def main():
    """Search the grid; tell what was planned, what was done, and which models are best."""
    if "HPCML_DATA" not in os.environ:
        print("HPCML_DATA must name the folder of adult.csv")
        return None
    table = pd.read_csv(Path(os.environ["HPCML_DATA"], "adult.csv"))
    y = table.pop("income") == ">50K"
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    encode = OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False)
    pipeline = Pipeline(
        [
            ("encode", ColumnTransformer([("words", encode, words)], remainder="passthrough")),
            ("scale", StandardScaler()),
            ("model", "passthrough"),
        ]
    )
    search = GridSearchCV(pipeline, GRID, scoring="roc_auc", cv=3)
    print("planned:", explain_plan(search, table, y))
    search.fit(table, y)
    print("done:   ", search.plan_)
    results = pd.DataFrame(search.cv_results_)
    results["model"] = [type(model).__name__ for model in results["param_model"]]
    for name, own in results.groupby("model"):
        best = own.loc[own["mean_test_score"].idxmax()]
        told = ", ".join(
            f"{key.removeprefix('model__')}={v}" for key, v in best["params"].items() if "__" in key
        )
        print(f"{name}({told}): area under the curve {best['mean_test_score']:.4f}")
    return not search.plan_.separate


if __name__ == "__main__":
    main()
