"""joblib inside a task: no more threads than the task has cores."""

from joblib.parallel import ParallelBackendBase, SequentialBackend, ThreadingBackend

__all__ = ["TaskThreads", "nested_backend"]


class TaskThreads(ThreadingBackend):
    """joblib's threads, of which a task of several cores may use as many.

    Parameters
    ----------
    cpus : int
    nesting_level : int, optional
    """

    def __init__(self, cpus: int, nesting_level: int | None = None) -> None:
        super().__init__(nesting_level=nesting_level)
        self.cpus = cpus

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many threads work; all of the task's where `n_jobs` is negative."""
        if n_jobs is not None and n_jobs < 0:
            return max(1, self.cpus + 1 + n_jobs)
        return min(self.cpus, super().effective_n_jobs(n_jobs))


def nested_backend(cpus: int, nesting_level: int) -> tuple[ParallelBackendBase, int | None]:
    """Return what ``get_nested_backend`` of a backend returns whose tasks have `cpus` cores.

    Parameters
    ----------
    cpus : int
    nesting_level : int
        Of the backend.

    Returns
    -------
    (ParallelBackendBase, None)

    Examples
    --------
    >>> from hpcml.joblib_backends.nested import nested_backend
    >>> backend, _ = nested_backend(cpus=3, nesting_level=0)
    >>> backend.effective_n_jobs(-1), backend.effective_n_jobs(8)
    (3, 3)
    """
    level = nesting_level + 1
    if cpus == 1:
        return SequentialBackend(nesting_level=level), None
    return TaskThreads(cpus, nesting_level=level), None
