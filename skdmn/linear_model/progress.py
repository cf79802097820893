"""Progress of a fit: reported lines, and scikit-learn's callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from skdmn.linear_model.lbfgs import LBFGS
from skdmn.linear_model.objective import Objective
from skdmn.utils.reports import report

SECONDS = 1.0  # least time between two lines


class Progress:
    """Report every step of a fit to callbacks and, if `verbose`, in lines.

    Parameters
    ----------
    estimator : estimator with scikit-learn's CallbackSupportMixin
        Estimator that is being fitted.
    objective : Objective
        Objective of all rows. Each of its steps is a task for the callbacks; steps on a
        sample are not.
    fitted : callable
        Takes an iterate; returns the fitted attributes.
    start : ndarray
        First iterate.
    data : dict
        X, y and metadata, passed to the callbacks.
    context : CallbackContext or None, default=None
        Task of which the steps are parts; None means the fit itself.
    """

    def __init__(
        self,
        estimator: Any,
        objective: Objective,
        fitted: Callable[[np.ndarray], dict[str, Any]],
        start: np.ndarray,
        data: dict[str, Any],
        context: Any = None,
    ) -> None:
        self.estimator, self.objective = estimator, objective
        self.fitted, self.data = fitted, data
        self.started = self.reported = time.monotonic()
        # one more than max_iter: a step's task begins before it is known if the
        # step will be taken
        most = estimator.max_iter + 1
        if context is None:
            self.context = estimator._init_callback_context(max_subtasks=most)
        else:
            self.context = context.subcontext(task_name="refit", max_subtasks=most)
        self.context.call_on_fit_task_begin(estimator=estimator, **data)
        self._begin_task(start)

    def __call__(self, optimizer: LBFGS, objective: Objective) -> bool:
        """Report a step; return True if a callback asks to stop."""
        now = time.monotonic()
        if self.estimator.verbose and now - self.reported > SECONDS:
            self.reported = now
            self._report(optimizer, objective)
        if objective is not self.objective:
            return False
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted(optimizer.iterate),
            **self.data,
        )
        self._begin_task(optimizer.iterate)
        return bool(stop)

    def finish(self, optimizer: LBFGS) -> None:
        """Report the end of the fit; the estimator is fitted by now."""
        if self.estimator.verbose:
            self._report(optimizer, self.objective)
        self.task.call_on_fit_task_end(estimator=self.estimator)
        self.context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.data
        )

    def _begin_task(self, iterate: np.ndarray) -> None:
        self.task = self.context.subcontext(task_name="iteration")
        self.task.call_on_fit_task_begin(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted(iterate),
            **self.data,
        )

    def _report(self, optimizer: LBFGS, objective: Objective) -> None:
        share = f" of {objective.share:.0%} of the rows" if objective.share < 1 else ""
        report(
            self.estimator._name,
            f"loss {optimizer.values[-1]:.6g}{share}, about "
            f"{optimizer.suboptimality / optimizer.values[-1]:.0e} of it above the "
            f"minimum, {sum(objective.passes):.1f} passes over the data",
            time.monotonic() - self.started,
        )
