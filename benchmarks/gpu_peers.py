"""The same passes in libraries of arrays that live on a GPU: by products of matrices, in chunks of rows."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["LIBRARIES", "ArrayLibrary"]

#: Entries of the largest intermediate: 1 GB of float32.
MOST_ENTRIES = 1 << 28

Run = Callable[[], Any]


class ArrayLibrary:
    """NumPy's way of writing, in CuPy or in NumPy itself.

    Parameters
    ----------
    module : module
    """

    def __init__(self, module: Any) -> None:
        self.np = module

    def put(self, array: np.ndarray) -> Any:
        """Return a copy where the library computes."""
        return self.np.asarray(array)

    def add_rows(self, sums: Any, labels: Any, rows: Any) -> None:
        """Add rows to the sums of their labels."""
        self.np.add.at(sums, labels, rows)

    def wait(self) -> None:
        """Wait until all is done."""
        if hasattr(self.np, "cuda"):
            self.np.cuda.Device().synchronize()

    def count(self, labels: Any, k: int) -> Any:
        """Return how often each label occurs."""
        return self.np.bincount(labels, minlength=k)

    def _chunks(self, n: int, width: int) -> list[slice]:
        size = max(1, MOST_ENTRIES // width)
        return [slice(start, min(n, start + size)) for start in range(0, n, size)]

    def _timed(self, work: Run) -> Run:
        def run() -> Any:
            found = work()
            self.wait()
            return found

        return run

    def kmeans_step(self, X: np.ndarray, centers: np.ndarray) -> Run:
        """Return sums and numbers of the rows of each of their nearest centers."""
        rows, C = self.put(X), self.put(centers)

        def step() -> Any:
            half, sums, counts = (C * C).sum(1) / 2, C * 0, 0
            for some in self._chunks(len(X), len(centers)):
                labels = (half - rows[some] @ C.T).argmin(1)
                self.add_rows(sums, labels, rows[some])
                counts = counts + self.count(labels, len(centers))
            return sums, counts

        return self._timed(step)

    def mixture_step(self, X: np.ndarray, model: dict[str, np.ndarray]) -> Run:
        """Return weights, sums and sums of products of the components of a step of EM."""
        rows = self.put(X)
        means, factors, logs = (self.put(model[name]) for name in ("means", "factors", "log_weights"))
        k, d = model["means"].shape

        def step() -> Any:
            weights, sums, products = [0] * k, [0] * k, [0] * k
            for some in self._chunks(len(X), max(k, d) * 2):
                x = rows[some]
                densities = self.np.stack(
                    [logs[c] - (((x - means[c]) @ factors[c]) ** 2).sum(1) / 2 for c in range(k)], 1
                )
                e = self.np.exp(densities - densities.max(1)[:, None])
                r = e / e.sum(1)[:, None]
                for c in range(k):
                    centered = x - means[c]
                    weighted = centered * r[:, c, None]
                    weights[c] = weights[c] + r[:, c].sum()
                    sums[c] = sums[c] + weighted.sum(0)
                    products[c] = products[c] + weighted.T @ centered
            return weights, sums, products

        return self._timed(step)

    def logistic_pass(self, X: np.ndarray, y: np.ndarray, held: np.ndarray, W: np.ndarray) -> Run:
        """Return losses and gradients of models that each leave a fold out."""
        rows = self.put(X)
        t = self.put((2 * y - 1).astype(X.dtype))
        C, b = self.put(W[:, :-1].T.astype(X.dtype)), self.put(W[:, -1].astype(X.dtype))
        K = len(W)
        inside = self.put(np.stack([(held >> f & 1) == 0 for f in np.arange(K) % 5], axis=1).astype(X.dtype))

        def step() -> Any:
            losses, gradients = 0, 0
            for some in self._chunks(len(X), K):
                x, w, sign = rows[some], inside[some], t[some][:, None]
                e = self.np.exp(-sign * (x @ C + b))
                losses = losses + (w * self.np.log1p(e)).sum(0)
                gradients = gradients + x.T @ (-sign * w * (e / (1 + e)))
            return losses, gradients

        return self._timed(step)


class PyTorch(ArrayLibrary):
    """The same in PyTorch, whose names differ in places.

    Parameters
    ----------
    module : module
    device : str
    """

    def __init__(self, module: Any, device: str = "cuda") -> None:
        super().__init__(_Torch(module))
        self.torch, self.device = module, device

    def put(self, array: np.ndarray) -> Any:
        """Return a tensor of the device."""
        return self.torch.from_numpy(np.array(array)).to(self.device)

    def add_rows(self, sums: Any, labels: Any, rows: Any) -> None:
        """Add rows to the sums of their labels."""
        sums.index_add_(0, labels, rows)

    def wait(self) -> None:
        """Wait until all is done."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()


class _Torch:
    """NumPy's names for what the steps use of PyTorch."""

    def __init__(self, torch: Any) -> None:
        self.exp, self.log1p, self.stack, self.bincount = torch.exp, torch.log1p, torch.stack, torch.bincount


@functools.cache
def _cupy() -> ArrayLibrary | None:
    if importlib.util.find_spec("cupy") is None:
        return None
    import cupy

    return ArrayLibrary(cupy)


@functools.cache
def _torch() -> ArrayLibrary | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return PyTorch(torch) if torch.cuda.is_available() else None


#: By name: what returns a library, or None where it is not installed or finds no GPU.
LIBRARIES: dict[str, Callable[[], Any]] = {"PyTorch": _torch, "CuPy": _cupy}
