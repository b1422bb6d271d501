"""How long a study's trials have had GPUs to themselves, over all calls: what `--budget 20gpu-h` limits.

A trial's GPU-seconds are workers x GPUs per worker x seconds from its start to its end. That is an upper bound: its
masks are made on CPUs, and another trial's work may use its GPUs meanwhile. They are noted in the study's journal at
each of its epochs and at its end; what a killed driver's trial used after its last epoch is lost. Stages that are made
once for all trials, and the report, belong to no trial.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import optuna

USED = "gpu_seconds"
"""Note of a trial."""


class GpuClock:
    """Counts the GPU-seconds of a study's trials."""

    def __init__(
        self,
        study: optuna.Study,
        gpus: float,
        hours: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            study: whose trials these are.
            gpus: that one trial holds; 0 counts nothing.
            hours: the budget in GPU-hours; None: no limit.
            clock: seconds.
        """
        self._study, self._gpus, self._clock = study, gpus, clock
        self._budget = math.inf if hours is None else 3600 * hours
        self._running: dict[int, tuple[float, float]] = {}  # number -> GPU-seconds of earlier calls, start

    def start(self, trial: optuna.Trial) -> None:
        """A trial begins, or is taken over. Called again, it begins now."""
        if self._gpus:
            self._running[trial.number] = (float(trial.user_attrs.get(USED, 0.0)), self._clock())

    def note(self, trial: optuna.Trial) -> None:
        """Write down what a running trial has used so far."""
        if trial.number in self._running:
            trial.set_user_attr(USED, round(self._of(trial.number), 3))

    def end(self, trial: optuna.Trial) -> None:
        """A trial is over."""
        self.note(trial)
        self._running.pop(trial.number, None)

    @property
    def used(self) -> float:
        """GPU-seconds so far, those of running trials included."""
        total = sum(self._of(number) for number in self._running)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number not in self._running:
                total += float(trial.user_attrs.get(USED, 0.0))
        return total

    @property
    def over(self) -> bool:
        """Whether the budget is used up, so that no trial starts any more."""
        return math.isfinite(self._budget) and self.used >= self._budget

    def _of(self, number: int) -> float:
        earlier, started = self._running[number]
        return earlier + self._gpus * (self._clock() - started)
