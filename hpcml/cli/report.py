"""What ``hpcml search`` prints: the data and how it is encoded, the best candidates, what was shared."""

import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hpcml.cli.preparation import own_name

__all__ = ["make_console", "show_data", "show_results", "show_sentences"]

# Where neither a terminal nor COLUMNS sets a width, tables are as wide as they need to be, up to this.
PIPE_WIDTH = 200

# Sentences are folded for terminals only: what reads a pipe wants one a line.
UNWRAPPED = 1_000_000


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
    show_sentences(encoder.describe(brief=True))


def show_sentences(sentences: Iterable[str]) -> None:
    """Print what becomes of columns, a line each, folded for terminals."""
    console = Console()
    width = max(40, console.width) if console.is_terminal else UNWRAPPED
    for sentence in sentences:
        print("\n".join(textwrap.wrap(sentence, width, initial_indent="  ", subsequent_indent="    ")))


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


def _parameters(candidate: Mapping[str, Any]) -> str:
    return ", ".join(f"{own_name(name)}={_value(value)}" for name, value in candidate.items())


def _legend(times: bool) -> str:
    spread = "spread: standard deviation over the folds"
    if times:
        return f"{spread}; fit, score: mean time of a fold"
    return f"{spread}; times are left out here, --output has them"


def _table(
    found: Any,
    keys: list[str],
    titles: list[str],
    order: Any,
    title: str,
    *,
    one_column: bool,
    times: bool,
) -> Table:
    """Lay out the candidates `order`, with a column for each parameter or one for all of them."""
    results = found.cv_results_
    table = Table(title=title, title_justify="left")
    table.add_column("rank", justify="right", no_wrap=True)
    if one_column:
        table.add_column("candidate", overflow="fold")
    else:
        for name in found.param_grid:
            table.add_column(Text(own_name(name)), justify="right", no_wrap=True)
    for each, key in zip(titles, keys, strict=True):
        widest = max(len(f"{results[f'mean_test_{key}'][i]:.4f}") for i in order)
        table.add_column(f"mean {each}", justify="right", overflow="fold", min_width=widest)
        table.add_column("spread", justify="right", no_wrap=True)
    if times:
        for each in ("fit", "score"):
            table.add_column(each, justify="right", no_wrap=True, min_width=len("0.123 ms"))
    for i in order:
        candidate = results["params"][i]
        cells = [str(results[f"rank_test_{keys[0]}"][i])]
        cells += [_parameters(candidate)] if one_column else [_value(candidate[n]) for n in found.param_grid]
        for key in keys:
            cells += [f"{results[f'mean_test_{key}'][i]:.4f}", f"{results[f'std_test_{key}'][i]:.4f}"]
        if times:
            cells += [_seconds(results["mean_fit_time"][i]), _seconds(results["mean_score_time"][i])]
        table.add_row(*(Text(cell) for cell in cells), style="bold" if i == found.best_index_ else "")
    return table


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
        console = make_console()
        unlimited = console.options.update(width=UNWRAPPED)
        order = np.argsort(ranks, kind="stable")[:top]
        title = f"Best {len(order)} of {len(ranks)} candidates, {cv} folds"
        # the first layout whose longest words fit; the last one folds what does not
        for one_column, times in ((False, True), (True, True), (True, False)):
            table = _table(found, keys, titles, order, title, one_column=one_column, times=times)
            if Measurement.get(console, unlimited, table).minimum <= console.width:
                break
        console.print(table)
        console.print(_legend(times), markup=False)
    parameters = _parameters(results["params"][best])
    scores = ", ".join(
        f"{title} {results[f'mean_test_{key}'][best]:.4f} ± {results[f'std_test_{key}'][best]:.4f}"
        for title, key in zip(titles, keys, strict=True)
    )
    print(f"best: {parameters}: {scores}")
    if not quiet:
        print(found.plan_)
        print(f"the whole search took {_seconds(seconds)}")
