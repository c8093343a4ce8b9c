"""``hpcml search``: a grid search on a table, from file to saved model."""

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hpcml.cli import estimators, files, preparation, report
from hpcml.cli.backends import Backend, check_backend, running_on
from hpcml.cli.failures import INTERRUPTED, CommandError, one_line
from hpcml.cli.task import Data, Paths, Task, check_finite, checked_scoring

__all__ = ["search"]

INPUT, SEARCH, RESULTS = "What is searched", "How", "What is kept and shown"


def search(
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="TABLE",
            show_default=False,
            help="CSV (also .tsv, .csv.gz) or Parquet file. Without it a data set that scikit-learn bundles "
            "runs: diabetes for regressors, breast cancer for classifiers.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="COLUMN",
            help="Column to predict.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    estimator: Annotated[
        str,
        typer.Option(
            "--estimator",
            "-e",
            metavar="NAME",
            help=", ".join(estimators.names()) + ", or the dotted path of any class with scikit-learn's "
            "interface, such as sklearn.linear_model.Ridge.",
            rich_help_panel=INPUT,
        ),
    ] = "random-forest-regressor",
    grid_: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            "-g",
            metavar="NAME=VALUES",
            help="A parameter and the values to try, separated by commas; once for each parameter. Values "
            "are Python literals (10, 0.5, None, True), words (sqrt), or ranges of whole numbers, both ends "
            "included: 2..10, 20..100..20. Without any: max_depth=2,5,10 and, for forests, "
            "n_estimators=20,50,100; for linear models and support vector machines C or alpha=0.01,0.1,1,10.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter that is the same for all candidates; may be repeated.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    cv: Annotated[
        int,
        typer.Option("--cv", min=2, help="Number of folds; classes are stratified.", rich_help_panel=SEARCH),
    ] = 3,
    scoring: Annotated[
        str | None,
        typer.Option(
            "--scoring",
            metavar="NAME",
            help="Name of a score of scikit-learn, such as neg_mean_absolute_error or roc_auc; several, "
            "separated by commas, are all shown and the first one chooses. By default R² or accuracy.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option(
            "--n-jobs",
            "-j",
            help="Number of workers; -1 is one for each usable core. By default all usable cores work.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option(
            "--backend",
            help="Where the fits run: threads or processes of this machine, executors of a Spark cluster, or "
            "ranks of an MPI job (started with mpirun -n 4 hpcml search ...). By default the threads of the "
            "fits themselves are used.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    spark_master: Annotated[
        str | None,
        typer.Option(
            "--spark-master",
            metavar="URL",
            help="The cluster of --backend spark, as in spark://host:7077, yarn, local[4] or "
            "local-cluster[2,1,1024]; by default what Spark is configured for, else this machine.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="The estimator's random_state, if it has one.", rich_help_panel=SEARCH
        ),
    ] = 0,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            metavar="FILE",
            help="Note every finished fit in this file. The same command, started again after whatever ended "
            "it, does only what is left, and gives the same result.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.csv",
            help="Write all results (scikit-learn's cv_results_) to a CSV file.",
            rich_help_panel=RESULTS,
            show_default=False,
        ),
    ] = None,
    save_model: Annotated[
        Path | None,
        typer.Option(
            "--save-model",
            "-m",
            metavar="FILE.joblib",
            help="Write the encoder and the best model, fitted on all rows, as one pipeline that joblib.load "
            "reads and that predicts on raw tables.",
            rich_help_panel=RESULTS,
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Fit five random candidates with scikit-learn's own search and estimator too, and show the "
            "differences of scores and the speed-up on this machine.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    top: Annotated[
        int,
        typer.Option("--top", min=1, help="How many candidates the table shows.", rich_help_panel=RESULTS),
    ] = 10,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="No progress and no tables, only the best candidate.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
) -> None:
    """Search a grid of parameters on a table, by cross-validation.

    Every combination of the values of `--grid` is fitted on every fold and scored on the rows left out. Work
    that combinations share (trees of smaller forests, upper levels of deeper trees) is done once; the scores
    equal those of separate fits to the last bit.

    Columns that are no numbers are encoded, by rules that never look at the target, and the command says how:
    two categories become 0 and 1, up to ten a 0/1 column each, more of them ordinal codes by frequency; ISO
    dates become days; texts that differ in most rows are left out. Empty cells and `?` are missing values,
    which trees take as they are. For estimators that take none they become the median of their column, and
    linear models and support vector machines get columns of mean 0 and spread 1; both by the training rows
    of each fold.

    **Examples**

    The whole job, on bundled data:

    - `hpcml search`

    A table of your own, a grid of nine forests:

    - `hpcml search rooms.csv --target price --grid max_depth=2,5,10 --grid n_estimators=20,50,100`

    Classes, a fixed parameter, two scores, results and model kept:

    - `hpcml search adult.csv -t income -e random-forest-classifier -g max_depth=4..16..4
    -p class_weight=balanced --scoring roc_auc,accuracy --output results.csv --save-model income.joblib`

    A long search that survives a power cut, then any estimator of another library:

    - `hpcml search rooms.csv -t price -g n_estimators=500,1000 --journal rooms.journal`

    - `hpcml search rooms.csv -t price -e sklearn.linear_model.Ridge -g alpha=0.1,1,10`

    On a Spark cluster:

    - `hpcml search rooms.csv -t price --backend spark --spark-master spark://host:7077`

    On the ranks of an MPI job:

    - `mpirun -n 4 hpcml search rooms.csv -t price --backend mpi --journal rooms.journal`

    The exit status is 0, 2 if what was asked for is impossible (one line says why), or 130 after Ctrl-C.
    """
    check_backend(backend, spark_master)
    if n_jobs == 0:
        raise CommandError("--n-jobs 0 means nothing; give the number of workers, or -1 for all usable cores")
    paths = Paths(table, journal, output, save_model)
    paths.check()
    task = Task.read(estimator, param or [], grid_ or [], seed, verify)
    with _notes():
        data = Data.read(table, target, task.kind, cv)
        scorers = checked_scoring(scoring, task.kind, data.y)
        check_finite(task.estimator, data)
        task, told = task.prepared(data)
        if not quiet:
            report.show_data(data.title, data.table, data.encoder, data.X, data.y, data.target, task.kind)
            report.show_sentences(told)
        with running_on(backend, n_jobs, spark_master):
            found, seconds = _run(task, data, scorers, cv, n_jobs, journal, quiet)
        report.show_results(found, scorers, seconds, cv, top=top, quiet=quiet)
        _keep(found, data, output, save_model, quiet)
        if verify:
            found.verify(n=5)


def _run(
    task: Task,
    data: Data,
    scorers: list[str] | None,
    cv: int,
    n_jobs: int | None,
    journal: Path | None,
    quiet: bool,
) -> tuple[Any, float]:
    from hpcml.errors import HpcmlError
    from hpcml.model_selection import GridSearchCV

    found = GridSearchCV(
        task.estimator,
        task.grid,
        cv=cv,
        scoring=scorers if scorers and len(scorers) > 1 else (scorers[0] if scorers else None),
        refit=scorers[0] if scorers and len(scorers) > 1 else True,
        n_jobs=n_jobs,
        error_score="raise",
        journal=journal,
        verbose=0 if quiet else 1,
    )
    started = time.perf_counter()
    try:
        found.fit(data.X, data.y)
    except KeyboardInterrupt:
        resume = (
            f"the same command goes on where it stopped, from {journal}"
            if journal
            else "nothing is kept; with --journal FILE a search can go on where it stopped"
        )
        raise CommandError(f"interrupted; {resume}", INTERRUPTED) from None
    except (ValueError, TypeError, HpcmlError, MemoryError, OSError) as error:
        raise CommandError(_reason(error)) from error
    return found, time.perf_counter() - started


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        detail = one_line(error) or "no details"
        return f"not enough memory ({detail}); use fewer rows, or fewer workers with --n-jobs"
    return one_line(error) or type(error).__name__


def _keep(found: Any, data: Data, output: Path | None, save_model: Path | None, quiet: bool) -> None:
    if output is not None:
        import pandas as pd

        results = pd.DataFrame(found.cv_results_)
        files.write_atomically(output, lambda path: results.to_csv(path, index=False))
        if not quiet:
            print(f"{output}: all {len(results)} candidates")
    if save_model is not None:
        import joblib
        from sklearn.pipeline import Pipeline

        model = Pipeline([("encode", data.encoder), *preparation.steps(found.best_estimator_)])
        files.write_atomically(save_model, lambda path: joblib.dump(model, path))
        if not quiet:
            print(f"{save_model}: the encoder and the best model; joblib.load reads it")


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """Print each warning once, as one line without the place in the code."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = one_line(message)
        if text not in seen:
            seen.add(text)
            print(f"hpcml search: note: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
