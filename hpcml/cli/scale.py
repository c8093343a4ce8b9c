"""``hpcml scale``: measure how a computation scales, report it, compare it, predict it."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hpcml.cli import files
from hpcml.cli.failures import CommandError, one_line
from hpcml.cli.quantities import duration, numbers, share
from hpcml.launcher import TERMINATED

if TYPE_CHECKING:
    from hpcml.scaling import Plan

__all__ = ["scale"]

#: What reports are written as, by option.
_FORMATS = {"html": ".html", "json": ".json", "markdown": ".md", "csv": ".csv", "png": ".png"}


class _RunIsUsual(TyperGroup):
    """Reads ``hpcml scale kmeans`` as ``hpcml scale run kmeans``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


scale = typer.Typer(
    name="scale",
    cls=_RunIsUsual,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="""Measure how a computation scales with workers and rows, and say what may be believed of it.

- `hpcml scale kmeans --workers 1,2` measures a workload (`run` may be left out; `hpcml scale run --help`).

- `hpcml scale script.py:work --workers 1,2` measures a function `work(n, n_workers)` of yours.

- `hpcml scale list` lists hpcml's workloads.
""",
)


@scale.command("list")
def list_() -> None:
    """List hpcml's own workloads, where each can run, and what workers share there.

    They share the rows of a table, or take tasks: fits of a grid, trees of a forest.
    """
    from hpcml.scaling import workloads

    width = max(map(len, workloads.WORKLOADS))
    for name, each in workloads.WORKLOADS.items():
        where = [f"{backend} ({shared})" for backend, shared in each.backends.items()]
        print(f"{name:<{width}}  {each.about}; {each.rows:,} rows; {', '.join(where)}")


@scale.command("run")
def run(
    workload: Annotated[
        str, typer.Argument(metavar="WORKLOAD", help="A name of `hpcml scale list`, or SCRIPT.py:FUNCTION.")
    ],
    workers: Annotated[str, typer.Option("--workers", "-w", help="Numbers of workers.")] = "1,2",
    strong: Annotated[bool, typer.Option("--strong", help="The same rows at every number.")] = False,
    weak: Annotated[bool, typer.Option("--weak", help="Rows that grow with the workers.")] = False,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            help="What workers are: threads, processes, mpi, loky or (local) spark.",
        ),
    ] = "threads",
    rows: Annotated[
        int | None, typer.Option("--rows", "-n", help="Rows; the workload's own number by default.")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", help="Numbers of rows: time and memory against them, on the most workers."),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Time to spend: 30s, 5m, 1h.")] = "5m",
    precision: Annotated[
        str, typer.Option("--precision", help="Half-width of the intervals at which measuring stops.")
    ] = "3%",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of the samples.")] = 0,
    oversubscription: Annotated[
        bool, typer.Option("--allow-oversubscription", help="Allow more workers than cores.")
    ] = False,
    predict: Annotated[
        str | None, typer.Option("--predict", help="Numbers of ranks of a cluster to predict, up to 4096.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="What --predict assumes: infiniband, ethernet-10g, ...")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML file.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write every sample.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the report's text.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the samples as a table.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write the figures.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a workload at several numbers of workers, in randomised blocks and fresh launches.

    Without `--strong`, `--weak` and `--sizes`, strong scaling is measured. Results must be equal at every
    number of workers. What the samples cannot tell is called not resolved or not identified.
    """
    from hpcml.scaling import Plan, measure, networks, summary
    from hpcml.scaling import predict as prediction

    targets = {"html": html, "json": json_, "markdown": markdown, "csv": csv, "png": png}
    _check_targets(targets)
    if (predict is None) != (network is None):
        raise CommandError("--predict and --network go together; name both")
    with _one_line(), _ended_by_sigterm():
        assumed = None if network is None else networks.network(network)
        plan = Plan(
            workload,
            workers=numbers(workers, "--workers"),
            backend=backend,
            strong=strong or not (weak or sizes),
            weak=weak,
            rows=rows,
            sizes=numbers(sizes, "--sizes") if sizes else (),
            budget=duration(budget, "--budget"),
            precision=share(precision, "--precision"),
            seed=seed,
            allow_oversubscription=oversubscription,
        )
        asked = () if predict is None else _predictable(predict, plan)
        document = measure(plan, verbose=0 if quiet else 1)
        if assumed is not None:
            document["prediction"] = prediction.predict(document, asked, assumed)
        print(summary.text(document))
        _write(document, targets)


@scale.command("report")
def report_(
    source: Annotated[Path, typer.Argument(metavar="FILE.json", help="What `--json` wrote.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML file.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the report's text.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the samples as a table.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write the figures.")] = None,
) -> None:
    """Report what was measured earlier."""
    from hpcml.scaling import summary

    targets = {"html": html, "markdown": markdown, "csv": csv, "png": png}
    _check_targets(targets)
    with _one_line():
        document = _read(source)
        print(summary.text(document))
        _write(document, targets)


def _predictable(text: str, plan: "Plan") -> tuple[int, ...]:
    from hpcml.scaling import workloads
    from hpcml.scaling.predict import LARGEST

    asked = numbers(text, "--predict")
    if max(asked) > LARGEST:
        raise CommandError(f"--predict must be at most {LARGEST} workers. Got {max(asked)} instead")
    if not plan.strong:
        raise CommandError("--predict starts from strong scaling; add --strong")
    where = workloads.find(plan.workload).backends
    if where[plan.backend] == "tasks" or not {"rows", "function"} & set(where.values()):
        raise CommandError(
            f"--predict knows fits whose workers share rows; {plan.workload} on {plan.backend} shares "
            f"{where[plan.backend]}. hpcml.scaling.predict.replay plays the times of tasks"
        )
    return asked


@scale.command("compare")
def compare_(
    old: Annotated[Path, typer.Argument(metavar="OLD.json")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json")],
    allowed: Annotated[str, typer.Option("--fail-if-slower", help="Share of time that may be lost.")] = "5%",
) -> None:
    """Compare two measurements of one workload on one machine; exit with 1 where the new one is slower.

    A slowdown is one whose 95 % interval lies above 1 and whose estimate is beyond what is allowed.
    """
    from hpcml.scaling.compare import compare

    with _one_line():
        found = compare(_read(old), _read(new), share(allowed, "--fail-if-slower"))
    for each in found:
        print(each)
    worse = [each for each in found if each.is_slower]
    if worse:
        raise CommandError(f"slower than {old} by more than {allowed}: {'; '.join(map(str, worse))}", 1)


@scale.command("predict-load")
def predict_load(
    workload: Annotated[
        str, typer.Argument(metavar="WORKLOAD", help="One that ends in -predict, or SCRIPT.py:FUNCTION.")
    ],
    callers: Annotated[str, typer.Option("--callers", help="Numbers of concurrent callers.")] = "1,2,4",
    rows: Annotated[int, typer.Option("--rows", "-n", help="Rows of a call.")] = 100,
    seconds: Annotated[str, typer.Option("--seconds", help="Time for each number of callers.")] = "5s",
) -> None:
    """Measure calls and rows a second, and latencies, under concurrent callers."""
    from hpcml.scaling.load import measure_load

    with _one_line():
        found = measure_load(
            workload, numbers(callers, "--callers"), rows=rows, seconds=duration(seconds, "--seconds")
        )
    print(f"{workload}, {rows} rows a call, each caller on one thread")
    for each in found:
        print(
            f"{each.callers} callers: {each.calls_a_second:,.0f} calls/s, {each.rows_a_second:,.0f} rows/s, "
            f"p50 {1000 * each.p50:.3g} ms, p99 {1000 * each.p99:.3g} ms ({each.calls} calls)"
        )


def _read(path: Path) -> dict[str, Any]:
    from hpcml.scaling.document import read

    try:
        return read(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


def _write(document: dict[str, Any], targets: dict[str, Path | None]) -> None:
    """Write the reports that were asked for: all are made before the first is written."""
    from hpcml.scaling import report

    made = [(path, report.render(document, kind)) for kind, path in targets.items() if path is not None]
    for path, content in made:
        files.write_atomically(path, partial(Path.write_bytes, data=content))


def _check_targets(targets: dict[str, Path | None]) -> None:
    from hpcml import parts

    if targets.get("html") or targets.get("png"):
        reason = parts.check("plots")
        if reason is not None:
            raise CommandError(f"reports need figures: {reason}; {parts.PARTS['plots'].cure}")
    for name, path in targets.items():
        if path is not None:
            files.check_writable(path, f"--{name}", (_FORMATS[name],))
    files.check_different({f"--{name}": path for name, path in targets.items()})


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what runs inside as an exception does: started processes go with it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what the library raises into one line; nothing has been written then."""
    from hpcml.errors import HpcmlError

    try:
        yield
    except (ValueError, TypeError, HpcmlError, MemoryError, ImportError) as error:
        sys.stdout.flush()
        raise CommandError(one_line(error) or type(error).__name__) from error
