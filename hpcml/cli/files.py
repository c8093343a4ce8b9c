"""Files that a command writes: checked before any work, written whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcml.cli.failures import CommandError, one_line

__all__ = ["check_different", "check_writable", "write_atomically"]


def check_writable(path: Path, option: str, suffixes: tuple[str, ...] = ()) -> None:
    """Make sure that a file can be written later.

    Parameters
    ----------
    path : path
        The file.
    option : str
        Name of the option that named it, for messages.
    suffixes : tuple of str
        How its name may end; anything if empty.

    Raises
    ------
    CommandError
        If the name ends otherwise, is a folder's, or nothing can be written beside it.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise CommandError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise CommandError(f"{option} {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise CommandError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"{option} {path} is write-protected; choose another name")
    try:
        # permissions, quotas and read-only file systems say no in too many ways to ask for each
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise CommandError(
            f"{option} {path} cannot be written ({error.strerror}); choose another folder"
        ) from None


def check_different(named: Mapping[str, Path | None]) -> None:
    """Make sure that options name different files.

    Parameters
    ----------
    named : mapping of str to path or None
        By option.

    Raises
    ------
    CommandError
        If two name the same one.
    """
    seen: dict[Path, str] = {}
    for option, path in named.items():
        if path is not None:
            other = seen.setdefault(path.resolve(), option)
            if other != option:
                raise CommandError(f"{option} and {other} are the same file {path}; choose another name")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name and rename it, so that no reader ever sees a part of it.

    Parameters
    ----------
    path : path
        The file.
    write : callable
        Writes the file whose path it is given.

    Raises
    ------
    CommandError
        If it cannot be written; an older file is then still there.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from hpcml.cli.files import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.txt")
    ...     write_atomically(path, lambda temporary: temporary.write_text("whole"))
    ...     path.read_text(), len(list(path.parent.iterdir()))
    ('whole', 1)
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any other file of its owner
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {one_line(error.strerror or error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
