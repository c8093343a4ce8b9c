"""The ``hpcml`` command: ``hpcml search``, ``hpcml scale`` and ``hpcml info``."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hpcml.cli.failures import INTERRUPTED, WRONG, CommandError, one_line
from hpcml.launcher import TERMINATED

__all__ = ["app", "main"]

app = typer.Typer(
    name="hpcml",
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import hpcml

        print(f"hpcml {hpcml.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _hpcml(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """scikit-learn's trees, forests and grid searches, as fast as the hardware allows.

    A grid search computes what its candidates share only once: nine forests of up to 100 trees on three folds
    grow 300 trees, not 1530, and give the same scores to the last bit.

    **Start here**

    - `hpcml search` runs the main job on a data set that scikit-learn bundles.

    - `hpcml search rooms.csv --target price` runs it on a table of yours.

    - `hpcml scale kmeans --workers 1,2` measures what more workers are good for here.

    - `hpcml info` shows this machine, and which parts of hpcml work on it.

    Each command has a manual of its own: `hpcml search --help`.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def _register() -> None:
    from hpcml.cli.info import info
    from hpcml.cli.scale import scale
    from hpcml.cli.search import search

    app.command(name="search")(search)
    app.command(name="info")(info)
    app.add_typer(scale)


_register()


def _drop_output() -> None:
    """Let Python's last flush of stdout succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0 if all went well, 2 if what was asked for is impossible (one line on stderr says why, and what to
        do), 130 after Ctrl-C.

    Examples
    --------
    >>> from hpcml.cli import main
    >>> main(["--version"])
    hpcml ...
    0
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = " ".join(["hpcml", *(each for each in arguments[:1] if not each.startswith("-"))])
    try:
        status = app(arguments, prog_name="hpcml", standalone_mode=False)
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except CommandError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.status
    except (KeyboardInterrupt, typer.Abort):
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # the reader (head, less) has seen enough, which click makes an exit
        if isinstance(error, SystemExit) and error.code == TERMINATED:
            raise
        _drop_output()
        return 0
    except OSError as error:  # commands tell of their own files themselves
        _drop_output()
        print(f"{name}: the output cannot be written ({error.strerror}); send it elsewhere", file=sys.stderr)
        return WRONG
    except Exception as error:
        # Wrong options: the command-line library's exceptions, told by what they can do, because the class is
        # click's or typer's own, depending on the version.
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        known = name != "hpcml" and "No such command" not in error.format_message()
        hint = f"'{name} --help' shows all options" if known else "'hpcml --help' shows the commands"
        print(f"{name}: {one_line(error.format_message()).rstrip('.')}; {hint}", file=sys.stderr)
        return WRONG
