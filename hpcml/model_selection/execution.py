"""Runs the tasks of a search through joblib and keeps journal and progress up to date."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import joblib
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from hpcml import activity, config
from hpcml.cancellation import Cancellation
from hpcml.model_selection.fitting import BatchTask, Evaluation, Record, SingleTask
from hpcml.model_selection.plan import Plan
from hpcml.model_selection.rounds import Kept

__all__ = ["run", "tasks_of"]

# Tasks per worker between two looks at a backend that hands back results only all together: what a journal
# may lose against the time in which workers wait for the last of a round.
_ROUND = 4

Pair = tuple[int, int]
Task = BatchTask | SingleTask


def tasks_of(
    plan: Plan,
    estimator: Any,
    X: Any,
    y: Any,
    candidates: list[dict[str, Any]],
    splits: list[tuple[Any, Any]],
    finished: Mapping[Pair, Record],
    evaluation: Evaluation,
    kept: Sequence[Kept | None],
) -> list[Task]:
    """Return what is left to do: batches, the dearest first, each with what it has kept, then single fits."""
    tasks: list[Task] = []
    for batch, own_kept in sorted(zip(plan.batches, kept, strict=True), key=lambda pair: -pair[0].cost):
        pairs = frozenset((i, j) for i in batch.candidates for j in batch.folds if (i, j) not in finished)
        if pairs:
            own = {i: candidates[i] for i in batch.candidates}
            folds = {j: splits[j] for j in batch.folds}
            tasks.append(BatchTask(estimator, X, y, batch, own, folds, pairs, evaluation, own_kept))
    for i in sorted(plan.separate):
        for j, split in enumerate(splits):
            if (i, j) not in finished:
                tasks.append(SingleTask(estimator, X, y, i, j, candidates[i], split, evaluation))
    return tasks


def run(
    tasks: list[Task],
    n_jobs: int | None,
    pre_dispatch: int | str,
    take: Callable[[list[Record]], None],
    in_rounds: bool,
) -> None:
    """Run tasks on the active joblib backend and hand over the records of each as soon as they come.

    Parameters
    ----------
    tasks : list
        Each runs with its share of the thread budget: the budget over the tasks that run at a time. Batches
        that are ``threaded`` run one after the other in the calling process, with all of it, unless a backend
        was chosen for them.
    n_jobs : int or None
        joblib's workers.
    pre_dispatch : int or str
        As in joblib.
    take : callable
        Gets the records of one task.
    in_rounds : bool
        Whether records must come now and then, also from a backend that hands them back only all together.
    """
    all_workers, chosen = effective_n_jobs(n_jobs), _backend_is_chosen()
    workers = min(all_workers, len(tasks))
    if workers > 1 and not chosen:
        here = [task for task in tasks if _is_threaded(task)]
        for task in _with_threads(here, max(config.n_threads(), workers)):
            take(task())
        tasks = [task for task in tasks if not _is_threaded(task)]
        workers = min(workers, len(tasks))
    if not tasks:
        return
    if workers > 1:
        # a backend whose tasks run elsewhere says what each may use there
        share = getattr(get_active_backend()[0], "threads_per_task", None)
        tasks = _with_threads(tasks, share or max(1, config.n_threads() // workers))
    shared = any(isinstance(task, BatchTask) for task in tasks)
    # joblib groups short tasks; batches are grouped as they should be
    options = {"n_jobs": n_jobs, "pre_dispatch": pre_dispatch, "batch_size": 1 if shared else "auto"}
    if workers == 1:  # to send the table to a lone worker would take longer than many a batch
        options["n_jobs"] = 1
    # without workers, kernels tell themselves where the time goes
    elsewhere = workers > 1 or chosen
    with contextlib.ExitStack() as opened:
        step = opened.enter_context(activity.step("dispatch", all_workers)) if elsewhere else activity.Step()
        for told in opened.enter_context(contextlib.closing(_results(tasks, options, in_rounds, step))):
            take(step.result(told))


def _with_threads(tasks: Sequence[Task], n_threads: int) -> list[Task]:
    settings = {**config.snapshot(), "n_threads": n_threads}
    return [replace(task, evaluation=replace(task.evaluation, settings=settings)) for task in tasks]


def _is_threaded(task: Task) -> bool:
    return isinstance(task, BatchTask) and task.batch.threaded


def _backend_is_chosen() -> bool:
    """Return whether a joblib backend is active whose workers are not threads of this process."""
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")  # a wish: an active backend is stronger
    return type(backend) not in [joblib.parallel.BACKENDS.get(name) for name in ("threading", "sequential")]


def _results(
    tasks: list[Task], options: dict[str, Any], in_rounds: bool, step: activity.Step
) -> Generator[Any, None, None]:
    try:
        parallel = Parallel(return_as="generator_unordered", **options)
    except ValueError:  # this backend hands everything back at the end
        yield from _results_at_the_end(tasks, options, in_rounds, step)
        return
    cancellation = Cancellation()
    results = parallel(delayed(step.timed(_run_task))(task, cancellation) for task in tasks)
    try:
        yield from results
    finally:  # after an error or an interrupt
        cancellation.cancel()  # ends what threads compute
        results.close()  # stops the workers


def _results_at_the_end(
    tasks: list[Task], options: dict[str, Any], in_rounds: bool, step: activity.Step
) -> Generator[Any, None, None]:
    size = _ROUND * effective_n_jobs(options["n_jobs"]) if in_rounds else len(tasks)
    with Parallel(**options) as parallel:
        for start in range(0, len(tasks), size):
            yield from parallel(delayed(step.timed(_run_task))(task) for task in tasks[start : start + size])


def _run_task(task: Task, cancellation: Cancellation | None = None) -> list[Record]:
    with contextlib.nullcontext() if cancellation is None else cancellation.heeded():
        return task()
