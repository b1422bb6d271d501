"""What Tune reports of its trials, as events of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune as ray_tune

from wsss_platform.engine.errors import last_line
from wsss_platform.plan.jobs import EpochEnd
from wsss_platform.run.trial_events import OnStudyEvent, StudyEvent, TrialEpoch, TrialRung, TrialStarted
from wsss_platform.tune.halting import Halt
from wsss_platform.tune.searcher import StudySearcher


class Listener:
    """`on_event` for objects that Tune pickles into its own records: a listener (a terminal) stays here."""

    def __init__(self, on_event: OnStudyEvent) -> None:
        self._on_event = on_event

    def __call__(self, event: StudyEvent) -> None:
        self._on_event(event)

    def __reduce__(self) -> tuple[Any, ...]:
        return Listener, (_nobody,)


def _nobody(event: StudyEvent) -> None:
    """Who listens in a copy."""


class Progress(ray_tune.Callback):
    """Tune's callbacks as study events."""

    def __init__(self, searcher: StudySearcher, on_event: OnStudyEvent, halt: Halt) -> None:
        self._searcher, self._on_event, self._halt = searcher, on_event, halt
        self._trials: list[Any] = []

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._trials = trials
        self._halt.look()

    def why_died(self, trial_id: str) -> str:
        """What Ray said last about the death of a trial's process."""
        paths = [trial.error_file for trial in self._trials if trial.trial_id == trial_id and trial.error_file]
        return last_line(RuntimeError(Path(paths[0]).read_text(encoding="utf-8"))) if paths else "no reason is known"

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._searcher.started(trial.trial_id)
        self._on_event(TrialStarted(trial.config["number"], self._searcher.changes(trial.trial_id)))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        if result.get("event") == "epoch":
            self._on_event(TrialEpoch(number, result["phase"], EpochEnd(**result["end"])))
        elif result.get("event") == "rung":
            self._on_event(TrialRung(number, result["epoch"], result["value"]))
