"""What a search is asked for, read and checked before any work: files, estimator, grid, table, scores."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.cli import estimators, files, grid, preparation
from hpcml.cli.failures import CommandError

__all__ = ["Data", "Paths", "Task", "check_finite", "checked_scoring"]


@dataclass(frozen=True)
class Paths:
    """The files of a command, none of which may be another's."""

    table: Path | None
    journal: Path | None
    output: Path | None
    save_model: Path | None

    def check(self) -> None:
        if self.output:
            files.check_writable(self.output, "--output", (".csv",))
        if self.save_model:
            files.check_writable(self.save_model, "--save-model", (".joblib", ".pkl", ".pickle"))
        if self.journal:
            files.check_writable(self.journal, "--journal")
        named = {"TABLE": self.table, "--journal": self.journal}
        files.check_different({**named, "--output": self.output, "--save-model": self.save_model})


@dataclass(frozen=True)
class Task:
    """An estimator and its grid."""

    estimator: Any
    kind: str
    grid: dict[str, list[Any]]

    @classmethod
    def read(cls, name: str, param: list[str], grid_: list[str], seed: int, verify: bool) -> "Task":
        from hpcml.counterparts import counterpart_class
        from hpcml.data import near_misses

        fixed = grid.parse_assignments(param, "--param", single=True)
        values = grid.parse_assignments(grid_, "--grid")
        made = estimators.make(name)
        kind = estimators.kind_of(made, name)
        known = made.get_params(deep=True)
        for option, given in (("--param", fixed), ("--grid", values)):
            for each in given:
                if each not in known:
                    raise CommandError(
                        f"{option} {each}: {name} has no such parameter; {near_misses(each, known)}"
                    )
        both = sorted(set(fixed) & set(values))
        if both:
            raise CommandError(f"{both[0]} is in --param and in --grid; keep it in one of them")
        if not values:
            values = grid.usual_grid(type(made).__module__, set(known) - set(fixed))
            if not values:
                raise CommandError(
                    f"there is no usual grid for {name}; name one: --grid NAME=VALUE,VALUE; "
                    f"of its parameters {near_misses('', set(known) - set(fixed))}"
                )
        if verify and counterpart_class(type(made)) is None:
            raise CommandError(
                f"--verify compares hpcml's own estimators with scikit-learn's, and {name} is none of them; "
                "leave it out"
            )
        if "random_state" in known and "random_state" not in {*fixed, *values}:
            fixed["random_state"] = seed
        made.set_params(**fixed)
        return cls(made, kind, values)

    def prepared(self, data: "Data") -> tuple["Task", list[str]]:
        """Return the task with what the estimator needs before it, and what is said of that."""
        names = [str(each) for each in data.encoder.get_feature_names_out()]
        estimator, own_grid, told = preparation.prepared(self.estimator, self.grid, data.X, names)
        return Task(estimator, self.kind, own_grid), told


@dataclass(frozen=True)
class Data:
    """A table that has been read, split and encoded."""

    title: str
    table: Any
    encoder: Any
    X: Any
    y: Any
    target: str

    @classmethod
    def read(cls, path: Path | None, target: str | None, kind: str, cv: int) -> "Data":
        from hpcml.data import TableEncoder, bundled_table, near_misses, read_table, split_target

        try:
            if path is None:
                table, usual, title = bundled_table(kind)
                target = usual if target is None else target
            else:
                table, title = read_table(path), path.name
            if target is None:
                raise CommandError(
                    f"name the column to predict with --target; {near_misses('', table.columns)}"
                )
            raw, y = split_target(table, target, kind)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        if len(raw) < cv:
            raise CommandError(
                f"--cv {cv} needs at least {cv} rows and the table has {len(raw)}; choose fewer folds"
            )
        encoder = TableEncoder().fit(raw)
        X = encoder.transform(raw)
        if X.shape[1] == 0:
            raise CommandError(f"no column can be learnt from ({'; '.join(encoder.describe())}); add others")
        if kind == "classifier":
            _check_classes(y, cv, target)
        return cls(title, raw, encoder, X, y, target)


def _check_classes(y: Any, cv: int, target: str) -> None:
    import numpy as np

    classes, counts = np.unique(y, return_counts=True)
    if counts.max() < cv:
        raise CommandError(
            f"no class of {target!r} has {cv} rows (the largest, {classes[counts.argmax()]}, has "
            f"{counts.max()}): choose fewer folds with --cv, a column of fewer classes, or a regressor"
        )


def check_finite(estimator: Any, data: Data) -> None:
    """Refuse values that no estimator takes.

    Raises
    ------
    CommandError
        Names the columns.
    """
    import numpy as np

    from hpcml.counterparts import counterpart_class

    ours = counterpart_class(type(estimator)) is not None  # these read float32
    with np.errstate(over="ignore"):
        beyond = np.isinf(data.X.astype(np.float32 if ours else data.X.dtype)).any(axis=0)
    if beyond.any():
        columns = [str(each) for each in data.encoder.get_feature_names_out()[beyond]]
        what = "infinite values or values beyond 3.4e38" if ours else "infinite values"
        raise CommandError(
            f"there are {what} in {', '.join(columns[:5])}"
            f"{' ...' if len(columns) > 5 else ''}: mend or drop these rows or columns"
        )


def checked_scoring(text: str | None, kind: str, y: Any) -> list[str] | None:
    """Read --scoring and try it on a model that always predicts the same, before any work."""
    if text is None:
        return None
    import numpy as np
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.metrics import get_scorer, get_scorer_names

    from hpcml.data import near_misses

    names = [each.strip() for each in text.split(",")]
    X = np.zeros((len(y), 1))
    dummy = (DummyClassifier() if kind == "classifier" else DummyRegressor()).fit(X, y)
    for i, name in enumerate(names):
        if name not in get_scorer_names():
            raise CommandError(f"--scoring {name!r} is no score; {near_misses(name, get_scorer_names())}")
        if name in names[:i]:
            raise CommandError(f"--scoring {name} is given twice; name it once")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = get_scorer(name)(dummy, X, y)
        except Exception as error:
            raise CommandError(f"--scoring {name} does not suit this {kind} and target: {error}") from error
        if not np.isfinite(value):
            raise CommandError(f"--scoring {name} does not suit this {kind} and target: it gives {value}")
    return names
