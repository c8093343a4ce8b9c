"""What ``hpcml search`` prints: the data and how it is encoded, the best candidates, what was shared."""

import os
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["make_console", "show_data", "show_results"]

# Where neither a terminal nor COLUMNS sets a width, tables are as wide as they need to be, up to this.
PIPE_WIDTH = 200


def make_console() -> Console:
    """Return the console that tables are printed on."""
    console = Console(highlight=False)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(highlight=False, width=PIPE_WIDTH)


def show_data(title: str, table: Any, encoder: Any, X: Any, y: Any, target: str, kind: str) -> None:
    """Print the size of the table, the target, and how each column that is no plain number is encoded.

    Parameters
    ----------
    title : str
        Where the table is from.
    table : DataFrame
        The columns, without the target.
    encoder : TableEncoder
    X : ndarray of shape (n_samples, n_features)
        The encoded table.
    y : ndarray of shape (n_samples,)
    target : str
        Name of the target column.
    kind : {'classifier', 'regressor'}
    """
    print(f"{title}: {len(table)} rows, {table.shape[1]} columns -> {X.shape[1]} features")
    if kind == "classifier":
        classes, counts = np.unique(y, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:5]
        shares = ", ".join(f"{classes[i]} {counts[i] / len(y):.1%}" for i in order)
        print(f"target {target}: {len(classes)} classes ({shares}{', ...' if len(classes) > 5 else ''})")
    else:
        print(f"target {target}: {y.min():.6g} to {y.max():.6g}, mean {y.mean():.6g}, spread {y.std():.6g}")
    for sentence in encoder.describe(brief=True):
        print(f"  {sentence}")


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


def show_results(
    found: Any, scorers: list[str] | None, seconds: float, cv: int, *, top: int, quiet: bool
) -> None:
    """Print the best candidates with mean, spread and time, and what was asked for and done.

    Parameters
    ----------
    found : GridSearchCV
        The fitted search.
    scorers : list of str or None
        Names of the scores; the first one ranks.
    seconds : float
        Time of the whole search.
    cv : int
        Number of folds.
    top : int
        Number of candidates to show.
    quiet : bool
        Whether only the best candidate is printed.
    """
    results = found.cv_results_
    keys = scorers if scorers and len(scorers) > 1 else ["score"]
    titles = scorers or ["accuracy" if hasattr(found, "classes_") else "R²"]
    ranks = np.asarray(results[f"rank_test_{keys[0]}"])
    best = int(found.best_index_)
    if not quiet:
        order = np.argsort(ranks, kind="stable")[:top]
        table = Table(title=f"Best {len(order)} of {len(ranks)} candidates, {cv} folds", title_justify="left")
        table.add_column("rank", justify="right")
        for name in found.param_grid:
            table.add_column(Text(name), justify="right")
        for title in titles:
            table.add_column(f"mean {title}", justify="right")
            table.add_column("spread", justify="right")
        table.add_column("fit", justify="right")
        table.add_column("score", justify="right")
        for i in order:
            cells = [str(ranks[i]), *(_value(results["params"][i][name]) for name in found.param_grid)]
            for key in keys:
                cells += [f"{results[f'mean_test_{key}'][i]:.4f}", f"{results[f'std_test_{key}'][i]:.4f}"]
            cells += [_seconds(results["mean_fit_time"][i]), _seconds(results["mean_score_time"][i])]
            table.add_row(*(Text(cell) for cell in cells), style="bold" if i == best else "")
        make_console().print(table)
    parameters = ", ".join(f"{name}={_value(value)}" for name, value in results["params"][best].items())
    scores = ", ".join(
        f"{title} {results[f'mean_test_{key}'][best]:.4f} ± {results[f'std_test_{key}'][best]:.4f}"
        for title, key in zip(titles, keys, strict=True)
    )
    print(f"best: {parameters}: {scores}")
    if not quiet:
        print(found.plan_)
        print(f"the whole search took {_seconds(seconds)}")
