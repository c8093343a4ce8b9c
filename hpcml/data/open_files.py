"""Which reader a path has."""

from __future__ import annotations

from pathlib import Path

from hpcml.data.hdf5_files import Hdf5File
from hpcml.data.npy_files import NpyColumn, open_npy
from hpcml.data.parquet_files import ParquetFile
from hpcml.data.rows import Parts, Source, natural_order
from hpcml.data.tables import existing

__all__ = ["open_source", "open_target"]

NPY, PARQUET, HDF5 = (".npy",), (".parquet", ".pq"), (".h5", ".hdf5", ".hdf")
TEXT = {".csv": "", ".tsv": ", sep='\\t'"}  # and what pandas.read_csv needs beside the path
_KINDS = "a .npy, .parquet or .h5 file, or a folder of .npy or .parquet parts"


def _one_file(path: Path, target: object | None, dataset: str | None) -> Source:
    suffix = path.suffix.lower()
    if dataset is not None and suffix not in HDF5:
        raise ValueError(
            f"dataset names a part of an HDF5 file, and {path} is none. Got {dataset!r} instead."
        )
    if suffix in NPY:
        return open_npy(path, target)
    if suffix in PARQUET:
        return ParquetFile(path, target)
    if suffix in HDF5:
        return Hdf5File(path, target, dataset)
    cure = ""
    text = [each for each in map(str.lower, path.suffixes) if each in TEXT]
    if text:
        parquet = path.with_name(path.name.split(".")[0] + ".parquet")
        read = f"pandas.read_csv({str(path)!r}{TEXT[text[0]]})"
        cure = f"; convert it once: {read}.to_parquet({str(parquet)!r})"
    raise ValueError(f"{path} must be {_KINDS}{cure}.")


def parts_of(folder: Path) -> list[Path]:
    """Return the parts in a folder, in order; raise if there are none, or parts of two kinds."""
    files = [each for each in folder.iterdir() if each.is_file() and not each.name.startswith((".", "_"))]
    found = {kind: [each for each in files if each.suffix.lower() in kind] for kind in (NPY, PARQUET)}
    kinds = [parts for parts in found.values() if parts]
    if not kinds:
        raise ValueError(f"{folder} has no parts: it must hold .npy or .parquet files.")
    if len(kinds) > 1:
        names = " and ".join(parts[0].name for parts in kinds)
        raise ValueError(f"{folder} must hold parts of one kind. Got {names} instead.")
    return natural_order(kinds[0])


def open_source(path: Path, target: object | None, dataset: str | None) -> Source:
    """Open a file or folder whose rows are to be learnt from.

    Parameters
    ----------
    path : Path
    target : object or None
        Its column that is the target.
    dataset : str or None
        The matrix of an HDF5 file.

    Raises
    ------
    ValueError
        If it cannot be read as a table of numbers, or has no such column.
    """
    if path.is_dir():
        parts = [_one_file(part, target, dataset) for part in parts_of(path)]
        return parts[0] if len(parts) == 1 else Parts(path, parts)
    return _one_file(path, target, dataset)


def open_target(path: Path, target: str | int | Path | None) -> tuple[Source | None, str | int | None]:
    """Return the target that lies in files of its own, or else the column that it is.

    Raises
    ------
    FileNotFoundError
        If it is named as a file and there is none.
    """
    if target is None or isinstance(target, int):
        return None, target
    if not isinstance(target, Path) and Path(target).suffix.lower() not in NPY:
        # a folder of parts, unless the table has a column of that name
        if path.suffix.lower() in (*PARQUET, *HDF5) or not Path(target).is_dir():
            return None, target
    beside = existing(target)
    parts = [NpyColumn(part) for part in (parts_of(beside) if beside.is_dir() else [beside])]
    return (parts[0] if len(parts) == 1 else Parts(beside, parts)), None
