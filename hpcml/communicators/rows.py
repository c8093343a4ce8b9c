"""The rows that every rank opens of a table on disk."""

from __future__ import annotations

from pathlib import Path

from hpcml.communicators import current
from hpcml.data.open_files import open_source, open_target
from hpcml.data.rows import Rows
from hpcml.data.tables import existing

__all__ = ["open_rows"]


def open_rows(
    path: str | Path,
    *,
    target: str | int | Path | None = None,
    dataset: str | None = None,
) -> Rows:
    """Open this process's share of the rows of a table on disk.

    Under ``communicator="mpi"`` each rank gets about as many rows as the others, in the order of the ranks;
    otherwise all rows. Files that lie row after row (``.npy`` in C order, contiguous datasets of HDF5) are
    mapped: a rank maps its own range of bytes and no more, so a table may be larger than its memory.

    Parameters
    ----------
    path : str or path
        A ``.npy`` file with a matrix or structured rows, a ``.parquet`` file, a folder with parts of one of
        these kinds (in the order of their names, numbers in them by value), or an HDF5 file (``.h5``,
        ``.hdf5``).
    target : str, int or path, optional
        What is to be predicted: the name of a column (Parquet, structured rows), the number of one (matrices;
        negative ones count from the end), another ``.npy`` file or folder of such parts with one entry a row,
        or another dataset of the HDF5 file. To leave a large matrix mapped and not copied, keep the target in
        a file or dataset of its own.
    dataset : str, optional
        The matrix of an HDF5 file; not needed where it has one only.

    Returns
    -------
    hpcml.data.rows.Rows
        With ``X``, ``y``, ``n_rows``, ``first_row``, ``feature_names`` and ``target_name``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read, is no matrix of numbers, has no such column, or its parts differ.
    ImportError
        If Parquet or HDF5 needs a library that is missing; the message gives the command.
    hpcml.errors.WorkerLost
        If another rank raised one of these.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import hpcml
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "rows.npy"), np.arange(12.0).reshape(4, 3))
    ...     rows = hpcml.open_rows(Path(folder, "rows.npy"), target=-1)
    >>> rows.X.shape, rows.y.tolist(), rows.n_rows
    ((4, 2), [2.0, 5.0, 8.0, 11.0], 4)
    """
    with current() as communicator:
        path = existing(path)
        beside, target = open_target(path, target)
        source = open_source(path, target, dataset)
        n = source.n_rows
        if beside is not None and beside.n_rows != n:
            raise ValueError(f"{path} has {n} rows and the target {beside.path} has {beside.n_rows}.")
        shapes = communicator.gather((n, source.names))
        for rank, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(
                    f"every rank must open the same table. {path} has {shapes[0][0]} rows and "
                    f"{len(shapes[0][1])} features on rank 0, {shape[0]} and {len(shape[1])} on rank {rank}."
                )
        start, stop = (n * (communicator.rank + i) // communicator.size for i in (0, 1))
        X, y = source.read(start, stop)
        if beside is not None:
            _, y = beside.read(start, stop)
            name: str | None = beside.path.stem
        else:
            name = None if target is None else str(target)
    return Rows(X, y, n, start, source.names, name)
