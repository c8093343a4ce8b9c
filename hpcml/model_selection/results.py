"""`cv_results_` from records, and what scikit-learn says of fits that failed."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import FitFailedWarning

from hpcml.model_selection.fitting import Record

__all__ = ["NO_FITS", "cv_results", "insert_error_scores", "print_fits", "report_failed_fits"]

#: Error of a search without candidates or folds, in scikit-learn's words.
NO_FITS = "No fits were performed. Was the CV iterator empty? Were there no candidates?"


def print_fits(n_candidates: int, n_folds: int) -> None:
    """Print scikit-learn's line at the start of a search."""
    print(
        f"Fitting {n_folds} folds for each of {n_candidates} candidates, "
        f"totalling {n_candidates * n_folds} fits"
    )


def report_failed_fits(records: Sequence[Record], error_score: Any) -> None:
    """Warn of fits that failed.

    Raises
    ------
    ValueError
        If all did.
    """
    errors = Counter(record["fit_error"] for record in records if record["fit_error"] is not None)
    if not errors:
        return
    rule = "-" * 80
    details = "\n".join(
        f"{rule}\n{n} fits failed with the following error:\n{error}" for error, n in errors.items()
    )
    if errors.total() == len(records):
        raise ValueError(
            f"\nAll the {len(records)} fits failed.\n"
            "It is very likely that your model is misconfigured.\n"
            "You can try to debug the error by setting error_score='raise'.\n\n"
            f"Below are more details about the failures:\n{details}"
        )
    warnings.warn(
        f"\n{errors.total()} fits failed out of a total of {len(records)}.\n"
        f"The score on these train-test partitions for these parameters will be set to {error_score}.\n"
        "If these failures are not expected, you can try to debug them by setting error_score='raise'.\n\n"
        f"Below are more details about the failures:\n{details}",
        FitFailedWarning,
        stacklevel=3,
    )


def insert_error_scores(records: Sequence[Record], error_score: Any) -> None:
    """Give fits that failed one error score a metric, once a callable has told the names of its metrics."""
    told = next((r["test_scores"] for r in records if r["fit_error"] is None), None)
    if not isinstance(told, dict):
        return
    for record in records:
        if record["fit_error"] is not None:
            for key in ("test_scores", "train_scores"):
                if key in record:
                    record[key] = dict.fromkeys(told, error_score)


def cv_results(
    candidates: Sequence[Mapping[str, Any]],
    n_folds: int,
    records: Sequence[Record],
    return_train_score: bool,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the table of results.

    Parameters
    ----------
    candidates : sequence of dict
    n_folds : int
    records : sequence of dict
        Candidate by candidate, and by fold within.
    return_train_score : bool
    more : mapping or None
        Further columns, which come first.

    Returns
    -------
    dict
        The keys, types and order of scikit-learn's `cv_results_`.
    """
    shape = len(candidates), n_folds
    results: dict[str, Any] = dict(more or {})
    for key in ("fit_time", "score_time"):
        values = np.array([record[key] for record in records], dtype=np.float64).reshape(shape)
        _add_mean_and_std(results, key, values)
    results.update(_param_columns(candidates))
    results["params"] = list(candidates)
    first = records[0]["test_scores"]
    for name in first if isinstance(first, dict) else ["score"]:
        _add_scores(results, f"test_{name}", _scores(records, "test_scores", name, shape), rank=True)
        if return_train_score:
            _add_scores(results, f"train_{name}", _scores(records, "train_scores", name, shape))
    return results


def _scores(records: Sequence[Record], key: str, name: str, shape: tuple[int, int]) -> Any:
    found = [record[key] for record in records]
    values = [score[name] if isinstance(score, dict) else score for score in found]
    return np.array(values, dtype=np.float64).reshape(shape)


def _add_mean_and_std(results: dict[str, Any], key: str, values: Any) -> Any:
    means = np.average(values, axis=1)
    results[f"mean_{key}"] = means
    if key.startswith(("test_", "train_")) and not np.isfinite(means).all():
        which = key.partition("_")[0]
        warnings.warn(f"One or more of the {which} scores are non-finite: {means}", UserWarning, stacklevel=5)
    # the average first and the root last, in scikit-learn's order, so that the bits are the same
    results[f"std_{key}"] = np.sqrt(np.average((values - means[:, np.newaxis]) ** 2, axis=1))
    return means


def _add_scores(results: dict[str, Any], key: str, values: Any, rank: bool = False) -> None:
    for fold in range(values.shape[1]):
        results[f"split{fold}_{key}"] = values[:, fold]
    means = _add_mean_and_std(results, key, values)
    if rank:
        results[f"rank_{key}"] = _ranks(means)


def _ranks(means: Any) -> Any:
    """Rank from 1, the best; a candidate without a score ties with the worst."""
    if np.isnan(means).all():
        return np.ones(len(means), dtype=np.int32)
    worst = np.nanmin(means) - 1
    return rankdata(-np.nan_to_num(means, nan=worst), method="min").astype(np.int32)


def _param_columns(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a masked array for each parameter; candidates that do not set it are masked."""
    columns: dict[str, dict[int, Any]] = {}
    for i, parameters in enumerate(candidates):
        for name, value in parameters.items():
            columns.setdefault(f"param_{name}", {})[i] = value
    return {key: _masked(cells, len(candidates)) for key, cells in columns.items()}


def _masked(cells: Mapping[int, Any], n: int) -> Any:
    try:
        array = np.array(list(cells.values()))
    except ValueError:  # sequences of different lengths
        kind = np.dtype(object)
    else:
        # text stays text, and values that are sequences stay one cell each
        kind = array.dtype if array.dtype.kind != "U" and array.ndim == 1 else np.dtype(object)
    column = np.ma.MaskedArray(np.empty(n, dtype=kind), mask=True)
    for i, value in cells.items():
        column[i] = value
    return column
