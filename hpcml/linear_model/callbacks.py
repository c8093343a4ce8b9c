"""scikit-learn's callbacks (`sklearn.callback`), told about every iteration of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import CallbackContext

__all__ = ["Iterations"]

Attributes = dict[str, NDArray[Any]]


class Iterations:
    """A task of every iteration, below the task of the fit.

    As scikit-learn's lbfgs has it, there is a first task even where nothing is iterated, and a last one that
    is empty.

    Parameters
    ----------
    context : CallbackContext
        That of the fit.
    estimator : object
    data : dict
        ``X``, ``y`` and ``metadata``, as callbacks see them.
    attributes : callable
        Makes the fitted attributes of parameters.
    start : ndarray
        Parameters before the first iteration.
    """

    def __init__(
        self,
        context: CallbackContext,
        estimator: Any,
        data: dict[str, Any],
        attributes: Callable[[NDArray[np.float64]], Attributes],
        start: NDArray[np.float64],
    ) -> None:
        self._context, self._estimator, self._data, self._attributes = context, estimator, data, attributes
        self._iteration = self._begin(start)
        self._n_ended = 0

    def _begin(self, parameters: NDArray[np.float64]) -> CallbackContext:
        iteration = self._context.subcontext(task_name="lbfgs-iter")
        iteration.call_on_fit_task_begin(
            estimator=self._estimator,
            reconstruction_attributes=self._attributes(parameters),
            **self._data,
        )
        return iteration

    def step(self, parameters: NDArray[np.float64]) -> None:
        """End the iteration that has led to these parameters, and begin the next one."""
        self._iteration.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=self._attributes(parameters),
            **self._data,
        )
        self._n_ended += 1
        self._iteration = self._begin(parameters)

    def end(self, parameters: NDArray[np.float64]) -> None:
        """End the last, empty task."""
        if self._n_ended == 0:
            self.step(parameters)
        self._iteration.call_on_fit_task_end(estimator=self._estimator)
