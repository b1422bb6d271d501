"""A study whose trials are told by hand, without computing anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from study_requests import study_request
from wsss_methods import get
from wsss_platform.api.study_records import StudyRecords
from wsss_platform.config import DataConfig, override
from wsss_platform.plan.experiment import Experiment, needed
from wsss_platform.run import trial_events as events
from wsss_platform.run.pipeline import SUMMARY
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.study import StudyFolder

SCORE = {
    "images": 4,
    "mean_iou": 0.5,
    "classes": {"cat": {"iou": 0.5}},
    "interval": [0.4, 0.6],
    "sweep": {"best_threshold": 0.3, "best_mean_iou": 0.6},
}


class Study:
    """A study whose trials are told by hand: artefacts of every stage, without what is in them."""

    def __init__(self, root: Path, keep_best: int, axes: dict[str, Any]) -> None:
        data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 4, "val": 4, "size": 48}})
        method = get("cam")
        self.base = Experiment(method, method.config(), data)
        self.store = Store(root)
        space = read_space({"axes": axes}, self.base.config, "test")
        self.request = study_request(self.base, space, 9, self.store, name="s", wandb="disabled", keep_best=keep_best)
        self.folder = StudyFolder(self.store.study_folder("s"), self.request.identity())
        self.view = StudyRecords(self.request)

    def experiment(self, changes: dict[str, Any]) -> Experiment:
        return replace(self.base, config=override(self.base.config, changes, "test"))

    def make(self, changes: dict[str, Any]) -> None:
        """What a trial leaves in the store."""
        experiment = self.experiment(changes)
        for stage in needed(experiment.stages, self.store, experiment.stages[-1]):
            with self.store.building(stage.kind, stage.key) as folder:
                assert folder is not None
                (folder / SUMMARY).write_text(json.dumps(SCORE))
                inputs = {role: source.key for role, source in stage.inputs.items()}
                self.store.commit(stage.kind, stage.key, {"inputs": inputs, "seconds": 1.0, "images": 4})

    def start(self, changes: dict[str, Any]) -> int:
        trial = self.folder.study.ask()
        trial.set_user_attr("changes", changes)
        self.view(events.TrialStarted(trial.number, changes))
        return trial.number

    def end(self, number: int, changes: dict[str, Any], objective: float | None) -> None:
        """The trial is over; None: it failed."""
        from optuna.trial import TrialState

        study = self.folder.study
        live = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        key = self.experiment(changes).key
        if objective is None:
            study._storage.set_trial_user_attr(live, "reason", "NaN")
            study.tell(number, state=TrialState.FAIL)
            state = "fail"
        else:
            study._storage.set_trial_user_attr(live, "key", key)
            study.tell(number, objective)
            state = "complete"
        reason = "NaN" if objective is None else None
        self.view(events.TrialFinished(number, state, objective, objective, 1.0, reason, key if objective else None))

    def trial(self, changes: dict[str, Any], objective: float) -> None:
        number = self.start(changes)
        self.make(changes)
        self.end(number, changes, objective)

    def kinds(self, changes: dict[str, Any]) -> set[str]:
        """What the store has of a trial."""
        return {stage.kind for stage in self.experiment(changes).stages if self.store.has(stage.kind, stage.key)}


RATE = {"train.learning_rate": {"kind": "float", "low": 1e-5, "high": 1e-1, "reason": "for the test"}}
ALPHA = {"masks.alpha": {"kind": "float", "low": 1.0, "high": 9.0, "reason": "for the test"}}
WHOLE = {"train", "maps", "masks", "score"}
