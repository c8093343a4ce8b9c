"""``hpcml info``: the machine, the kernels, the optional parts."""

from rich.table import Table
from rich.text import Text

from hpcml.cli.report import make_console

__all__ = ["info"]


def info() -> None:
    """Show this machine, the kernels and the optional parts, with the command that mends each that fails.

    **Machine**: the cores that hpcml will use and what sets their number (the affinity mask, the container's
    quota or SLURM), caches, and instruction sets. `HPCML_NUM_THREADS` and `HPCML_ISA` override these.

    **Kernels**: for each piece of arithmetic the implementation that would run, under `HPCML_KERNELS`
    (auto, cython, numba or reference), and why any other cannot.

    **Optional parts**: each is imported once, so this takes some seconds.
    """
    console = make_console()
    with console.status("Looking around ..."):
        tables = [_machine(), _kernels(), _parts()]
    for table in tables:
        console.print(table)


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
