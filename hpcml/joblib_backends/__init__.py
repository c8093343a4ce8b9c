"""Backends for joblib that take tasks to other machines; each is registered on request."""

from hpcml.joblib_backends.mpi import register_mpi

__all__ = ["register_mpi", "register_spark"]


def register_spark() -> None:
    """Make ``"spark"`` a backend of joblib that runs the tasks of a call as one Spark job.

    After it ``joblib.parallel_config("spark")``, or ``joblib.parallel_backend("spark", n_jobs=...)``, takes
    whatever uses joblib to the active Spark session, also one of Spark Connect; without one, a local one is
    made, with a warning. Both take ``num_cpus_per_spark_task`` and ``num_gpus_per_spark_task``, what Spark
    reserves for a task.

    Raises
    ------
    ImportError
        If PySpark or joblibspark is missing, with the command that installs them.

    Examples
    --------
    >>> import joblib
    >>> from hpcml.joblib_backends import register_spark
    >>> register_spark()  # doctest: +SKIP
    >>> with joblib.parallel_config("spark"):  # doctest: +SKIP
    ...     search.fit(X, y)
    """
    from hpcml.joblib_backends.spark import register

    register()
