"""What a long fit says of itself: lines to read, and scikit-learn's callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from skdmn.linear_model.lbfgs import LBFGS
from skdmn.linear_model.objective import Objective

SECONDS = 1.0  # between two lines


class Progress:
    """Tells of every step of a fit, to callbacks and, where wished, in print.

    Parameters
    ----------
    estimator : estimator with scikit-learn's CallbackSupportMixin
        In its `fit`.
    objective : Objective
        Of all rows: its steps are the tasks that callbacks see.
    fitted : callable
        Takes a point, returns the fitted attributes.
    start : ndarray
        The first point.
    data : dict
        Passed to the callbacks: X, y and metadata.
    """

    def __init__(
        self,
        estimator: Any,
        objective: Objective,
        fitted: Callable[[np.ndarray], dict[str, Any]],
        start: np.ndarray,
        data: dict[str, Any],
    ) -> None:
        self.estimator, self.objective = estimator, objective
        self.fitted, self.data = fitted, data
        self.started = self.printed = time.monotonic()
        # one more: a step is announced before it is known to be taken
        self.context = estimator._init_callback_context(
            max_subtasks=estimator.max_iter + 1
        )
        self.context.call_on_fit_task_begin(estimator=estimator, **data)
        self._announce(start)

    def __call__(self, search: LBFGS, objective: Objective) -> bool:
        """Tell of a step; return whether a callback asks to stop."""
        now = time.monotonic()
        if self.estimator.verbose and now - self.printed > SECONDS:
            self.printed = now
            self._print(search, objective)
        if objective is not self.objective:
            return False
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted(search.point),
            **self.data,
        )
        self._announce(search.point)
        return bool(stop)

    def finish(self, search: LBFGS) -> None:
        """Tell of the end; the estimator is fitted."""
        if self.estimator.verbose:
            self._print(search, self.objective)
        self.task.call_on_fit_task_end(estimator=self.estimator)
        self.context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.data
        )

    def _announce(self, point: np.ndarray) -> None:
        self.task = self.context.subcontext(task_name="iteration")
        self.task.call_on_fit_task_begin(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted(point),
            **self.data,
        )

    def _print(self, search: LBFGS, objective: Objective) -> None:
        share = f" of {objective.share:.0%} of the rows" if objective.share < 1 else ""
        print(
            f"SoftmaxClassifier: loss {search.values[-1]:.6g}{share}, about "
            f"{search.gap / search.values[-1]:.0e} of it above the minimum, "
            f"{sum(objective.passes):.1f} passes over the data, "
            f"{time.monotonic() - self.started:.1f} s",
            flush=True,
        )
