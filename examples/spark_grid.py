"""A grid search of a random forest on a Spark cluster, over the Airbnb table.

    HPCML_DATA=FOLDER spark-submit --master local-cluster[2,1,1024] examples/spark_grid.py

where FOLDER holds ``sf-airbnb-numeric.csv`` (Inside Airbnb, CC0), and PYSPARK_PYTHON is the Python that has
hpcml. Any other master will do: ``yarn``, ``spark://host:7077``, ``local[4]``.
"""

import os
from pathlib import Path

import joblib
import pandas as pd
from pyspark.sql import SparkSession

from hpcml.ensemble import RandomForestRegressor
from hpcml.joblib_backends import register_spark
from hpcml.model_selection import GridSearchCV

GRID = {"max_depth": [5, 10, 15], "max_features": [0.3, 0.6, 1.0], "n_estimators": [20, 50, 100]}


def main():
    """Search on the executors; say which candidate is best and how many fits that took."""
    table = pd.read_csv(Path(os.environ["HPCML_DATA"], "sf-airbnb-numeric.csv"))
    y = table.pop("price").to_numpy()
    X = table.to_numpy()

    spark = SparkSession.builder.appName("hpcml grid").getOrCreate()
    register_spark()
    search = GridSearchCV(RandomForestRegressor(random_state=0), GRID, cv=3)
    with joblib.parallel_backend("spark"):
        search.fit(X, y)
    print(search.plan_)
    print(f"best: {search.best_params_} with R² {search.best_score_:.4f}")
    spark.stop()


if __name__ == "__main__":
    main()
