"""How long a study's trials have had GPUs to themselves, over all calls: the budget of `--gpu-hours`.

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

from wsss_platform.engine.study import FROM
from wsss_platform.errors import InputError

USED = "gpu_seconds"
"""Note of a trial."""


def check_gpu_hours(hours: float | None, gpus: float) -> None:
    """InputError for a budget that cannot be kept: not above 0, or of a study without GPUs.

    Args:
        hours: the budget; None: there is none.
        gpus: of one trial.
    """
    if hours is None:
        return
    if not hours > 0:
        raise InputError(f"gpu_hours (--gpu-hours): expected more than 0, got {hours:g}")
    if not gpus > 0:
        raise InputError(
            f"gpu_hours (--gpu-hours): {hours:g}, but the trials of this study use no GPU, so the budget would never "
            "be used up; expected --gpus-per-worker above 0, or a budget by --trials or --hours"
        )


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
        """A trial begins, or is taken over. Told again, it begins now."""
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
            notes = trial.user_attrs
            if trial.number not in self._running and FROM not in notes:
                total += float(notes.get(USED, 0.0))
        return total

    @property
    def over(self) -> bool:
        """Whether the budget is used up, so that no trial starts any more."""
        return math.isfinite(self._budget) and self.used >= self._budget

    def _of(self, number: int) -> float:
        earlier, started = self._running[number]
        return earlier + self._gpus * (self._clock() - started)
