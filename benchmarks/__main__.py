"""Run benchmarks of hpcml beside every installed peer; print one table a kind and write JSON.

python -m benchmarks                                 everything, in about an hour on two cores
python -m benchmarks --list                          names and titles
python -m benchmarks --only airbnb-grid --rounds 9   one case
python -m benchmarks --scale 0.05 --rounds 2         a quick look that it works; the numbers mean nothing
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.cases import CASES
from benchmarks.kinds import Accuracy, Memory, Scaling, Speed
from benchmarks.measure import Options, measure_accuracy, measure_scaling, measure_speed
from benchmarks.memory import measure_memory
from benchmarks.report import not_run, tables, write_json
from hpcml import machine

# Tables are as wide as they need to be where no terminal sets a width.
PIPE_WIDTH = 200


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = machine.usable_cores()[0]
    jobs = ",".join(map(str, sorted({1, cores})))
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        help="run this case, or a family of cases (memory, accuracy); repeat for more",
    )
    parser.add_argument("--rounds", type=int, default=5, help="samples of each contestant (default: 5)")
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time for the samples of one contestant with one number of jobs in a case (default: 60)",
    )
    parser.add_argument(
        "--jobs", default=jobs, help=f"numbers of jobs, the better one counts (default: {jobs})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of data, estimators and order (default: 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: benchmarks/results/<time>.json")
    return parser


def _chosen(only: list[str] | None) -> list[str]:
    if not only:
        return list(CASES)
    chosen: list[str] = []
    for name in only:
        found = [each for each in CASES if each == name or each.startswith(f"{name}-")]
        if not found:
            raise ValueError(f"--only {name}: there is no such case; --list shows them")
        chosen += [each for each in found if each not in chosen]
    return chosen


def _options(given: argparse.Namespace) -> Options:
    jobs = tuple(int(each) for each in given.jobs.split(",") if each.strip().isdecimal())
    if not jobs or min(jobs) < 1:
        raise ValueError(f"--jobs must be numbers of at least 1, such as 1,2. Got {given.jobs!r} instead.")
    if given.rounds < 1 or given.scale <= 0 or given.budget < 0 or given.seed < 0:
        raise ValueError("--rounds must be at least 1, --scale above 0, --budget and --seed not negative.")
    return Options(given.rounds, given.budget, jobs, given.seed, given.scale, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(name: str, options: Options) -> dict[str, Any]:
    case = CASES[name]
    if isinstance(case, Scaling):
        return measure_scaling(case, options)
    if isinstance(case, Memory):
        return measure_memory(case, options)
    if isinstance(case, Accuracy):
        return measure_accuracy(case, options)
    assert isinstance(case, Speed)
    return measure_speed(case, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0, or 2 if the command line is wrong.
    """
    given = _parser().parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    try:
        names, options = _chosen(given.only), _options(given)
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    if given.list:
        for name in names:
            print(f"{name:<34}{CASES[name].title}")
        return 0
    now = datetime.datetime.now(datetime.UTC)
    path = given.json or Path(__file__).parent / "results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    content: dict[str, Any] = {
        "machine": machine.describe(),
        "rounds": options.rounds,
        "budget": options.budget,
        "jobs": options.jobs,
        "seed": options.seed,
        "scale": options.scale,
        "measured": [],
        "failed": {},
    }
    for name in names:
        try:
            content["measured"].append(_measure(name, options))
        except FileNotFoundError as error:
            content["failed"][name] = str(error)
        write_json(path, content)  # after each case: an interrupted run has measured something, too
    # Libraries are loaded by now: their thread pools belong to what was measured.
    content["machine_after"] = machine.describe()
    write_json(path, content)
    for table in tables(content["measured"]):
        console.print(table)
    failed = [f"{name}: {reason}" for name, reason in content["failed"].items()]
    for line in not_run(content["measured"]) + failed:
        console.print(line, markup=False)
    about = content["machine"]
    console.print(
        f"{about['cpu']}, {about['cores_usable']} cores ({about['cores_reason']}), {about['isa']}, seed "
        f"{options.seed}, scale {options.scale:g}; samples and machine in {path}",
        markup=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
