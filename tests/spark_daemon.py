"""Spark's daemon of Python workers with libraries loaded: what tests kill starts anew at once."""

import joblib  # noqa: F401
import numpy  # noqa: F401
import pandas  # noqa: F401
import pyarrow  # noqa: F401
import sklearn.ensemble
import sklearn.model_selection  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
