"""``hpcml info``: what is here, what is missing and why; with ``--all`` every kernel and every part."""

import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hpcml.cli.report import make_console

__all__ = ["info"]

#: Width of the short form, which fits any terminal.
WIDTH = 80
#: Width of its left column.
INDENT = 11


def info(
    all_: Annotated[
        bool, typer.Option("--all", help="Show every kernel and part, caches and versions as well.")
    ] = False,
) -> None:
    """Show what hpcml finds here, what is missing and why, and the commands that mend it.

    **machine**: the cores that hpcml will use and what sets their number (the affinity mask, the container's
    quota or SLURM). `HPCML_NUM_THREADS` and `HPCML_ISA` override what a fit uses of them.

    **kernels**: the implementations that the pieces of arithmetic run on, under `HPCML_KERNELS` (auto,
    cython, numba or reference).

    **Optional parts**: each is imported once, so this takes some seconds.
    """
    console = make_console()
    with console.status("Looking around ..."):
        shown = [_machine(), _kernels(), _parts()] if all_ else [_plain("\n".join(_short()))]
    for each in shown:
        console.print(each, soft_wrap=not all_)


# -- the short form ----------------------------------------------------------------------------------------


def _short() -> list[str]:
    import hpcml
    from hpcml import config, machine, parts

    n_cores, reason = machine.usable_cores()
    memory = machine.memory_bytes()
    versions = machine.versions()
    named = [
        f"{name} {versions[name]}"
        for name in ("python", "numpy", "scipy", "scikit-learn")
        if name in versions
    ]
    found = parts.check_all()
    missing = {name: why for name, why in found.items() if why is not None}
    rows = [
        ("hpcml", f"{hpcml.__version__}; {', '.join(named)}"),
        (
            "machine",
            f"{machine.cpu_model()}; {n_cores} usable cores ({reason})"
            + (f"; {_bytes(memory)}" if memory else ""),
        ),
        (
            "a fit uses",
            f"{config.n_threads()} threads, {machine.isa()} instructions, "
            f"communicator={config.communicator()!r}",
        ),
        ("kernels", _short_kernels()),
        *([("GPU", _short_gpu())] if "cuda" not in missing else []),
        ("here", ", ".join(name for name in found if name not in missing) or "no optional part"),
    ]
    lines = [line for label, text in rows for line in _row(label, text)]
    for i, (name, why) in enumerate(missing.items()):
        text = f"{name}: {' '.join(why.split())}"
        lines.append(
            ("" if i else "missing").ljust(INDENT)
            + textwrap.shorten(text, WIDTH - INDENT, placeholder=" ...")
        )
    for i, cure in enumerate(_cures(missing)):
        lines += _row("" if i else "to mend", cure)
    return [*lines, *_row("more", "hpcml info --all")]


def _row(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label.ljust(INDENT),
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _short_kernels() -> str:
    from hpcml.kernels import available

    rows = available()
    counts = Counter(row.implementation or "nothing" for row in rows)
    told = ", ".join(f"{n} on {implementation}" for implementation, n in counts.items())
    slower = next((row for row in rows if row.implementation != "cython" and row.reasons["cython"]), None)
    return told if slower is None else f"{told}; {slower.kernel} not on cython: {slower.reasons['cython']}"


def _short_gpu() -> str:
    from hpcml.kernels import gpu

    name, reason = gpu()
    return name or f"none can be used: {reason}"


def _cures(missing: Mapping[str, str]) -> list[str]:
    """Return the commands that mend parts, in the order in which they are to be given.

    Those of the system come first, then all extras of the package in one, then what builds on these.

    Parameters
    ----------
    missing : mapping of str to str
        Why each part is missing, by its name.
    """
    from hpcml.parts import PARTS

    system: list[str] = []
    extras: list[str] = []
    last: list[str] = []
    for name, why in missing.items():
        command, _, _ = PARTS[name].cure.partition("  #")  # --all has the remarks
        if why.startswith("Java"):  # the packages are there
            system.append(PARTS[name].java_cure)
        elif command == f'python -m pip install "hpcml[{name}]"':
            extras.append(name)
        else:
            (last if "hpcml[" in command else system).append(command)
    together = [f'python -m pip install "hpcml[{",".join(extras)}]"'] if extras else []
    return [*system, *together, *last]


# -- all of it ---------------------------------------------------------------------------------------------


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0, overflow="fold")
    return table


def _plain(text: str) -> Text:
    # rich would take the brackets of hpcml[numba] for markup
    return Text(text)


def _machine() -> Table:
    import hpcml
    from hpcml import config, machine

    n_cores, reason = machine.usable_cores()
    memory = machine.memory_bytes()
    facts = {
        "processor": machine.cpu_model(),
        "usable cores": f"{n_cores} ({reason})",
        "threads of a fit": f"{config.n_threads()} (n_jobs, config_context or HPCML_NUM_THREADS change it)",
        "communicator": f"{config.communicator()} (config_context or HPCML_COMMUNICATOR: "
        f"{', '.join(config.COMMUNICATORS)})",
        "caches": ", ".join(f"{name} {_bytes(size)}" for name, size in machine.caches().items()) or "unknown",
        "instruction sets": ", ".join(machine.instruction_sets()),
        "kernels use": f"{machine.isa()} (HPCML_ISA: one of {', '.join(machine.supported_isas())})",
        "memory": _bytes(memory) if memory else "unknown",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"hpcml": hpcml.__version__, **machine.versions()}.items()
        ),
    }
    table = _table("Machine", "what", "is")
    for name, fact in facts.items():
        table.add_row(name, _plain(fact))
    return table


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def _kernels() -> Table:
    from hpcml.kernels import available

    table = _table("Kernels", "kernel", "runs on", "others")
    for row in available():
        others = [
            f"{implementation}: {reason or 'works'}"
            for implementation, reason in row.reasons.items()
            if implementation != row.implementation
        ]
        table.add_row(row.kernel, _plain(row.implementation or "nothing"), _plain("\n".join(others)))
    return table


def _parts() -> Table:
    from hpcml import parts

    table = _table("Optional parts", "part", "for", "works", "to mend it")
    for name, reason in parts.check_all().items():
        part = parts.PARTS[name]
        if reason is None:
            table.add_row(name, part.purpose, "[green]yes[/green]", "")
        else:
            table.add_row(name, part.purpose, _plain(f"no: {reason}"), _plain(part.cure))
    return table
