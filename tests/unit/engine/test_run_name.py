"""The name of a Ray Train run, by which a killed training is found again. No cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wsss_methods
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.engine import trainer
from wsss_platform.plan.baseline import baseline_of
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.plan.jobs import TrainJob


def named(experiment: Experiment, stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name under which a stage would be trained."""
    names: list[str] = []

    def started(function: Any, *, scaling_config: Any, run_config: Any) -> None:
        names.append(run_config.name)

    def fit(fitted: None, place: Path, on_epoch: Any) -> None:
        (place / trainer.RAY_FOLDER).mkdir(parents=True)

    monkeypatch.setattr(trainer, "TorchTrainer", started)
    monkeypatch.setattr(trainer, "_fit", fit)
    job = TrainJob(experiment, stage.phase, stage.key)
    trainer.train_on_ray(job, folder, 1, trainer.WorkerResources(), lambda end: None)
    (name,) = names
    return name


def test_a_plain_cam_phase_goes_on_under_the_name_of_another_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = wsss_methods.get("fbr")
    config = override(method.config(), {"backbone.weights": "none"})
    fbr = Experiment(method, config, DataConfig(sample=SampleConfig(train=6, val=2, size=64)))
    cam = baseline_of(fbr, wsss_methods.get("cam"))
    assert cam is not None
    first = named(fbr, fbr.stage("train", "seed"), tmp_path, monkeypatch)
    assert named(cam, cam.stage("train"), tmp_path, monkeypatch) == first
    assert named(fbr, fbr.stage("train", "fbr"), tmp_path, monkeypatch) != first
