"""A training of RTC that was interrupted goes on bit by bit, before its segmentation head begins and after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss_methods.rtc import METHOD
from wsss_methods.rtc.config import RtcConfig
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.experiment import Experiment
from wsss_platform.stages import TrainJob
from wsss_platform.train.checkpoint import STATE, read_torch
from wsss_platform.train.loop import train_phase


@pytest.fixture(scope="module")
def job() -> TrainJob:
    changes = {
        "backbone.weights": "none",
        "heads.embedding": 24,
        "heads.widths": [16, 12, 6],
        "heads.dropout": 0.5,
        "train.epochs": 3,
        "train.batch": 4,
        "train.crop": 48,
        "views.small": 32,
        "segmentation.start": 1,
        "segmentation.dilations": [1, 2],
        "segmentation.iterations": 1,
        "segmentation.confident_foreground": 0.3,
        "segmentation.confident_background": 0.2,
    }
    data = DataConfig(sample=SampleConfig(train=8, val=2, size=48))
    experiment = Experiment(METHOD, override(RtcConfig(), changes), data)
    stage = experiment.stage("train")
    return TrainJob(experiment, stage.phase, stage.key)


def _run(job: TrainJob, keep: Path, checkpoint: Path | None = None) -> list[dict[str, float]]:
    """Losses of the epochs; each epoch's checkpoint is in `keep`."""
    losses = []
    for end, save in train_phase(job, checkpoint=checkpoint):
        save(keep / str(end.epoch))
        losses.append(dict(end.losses))
    return losses


def test_resumed_before_and_after_its_head_begins_it_goes_on_bit_by_bit(job: TrainJob, tmp_path: Path) -> None:
    whole = _run(job, tmp_path / "whole")
    assert whole[0]["segmentation"] == 0
    assert min(epoch["segmentation"] for epoch in whole[1:]) > 0
    wanted = read_torch(tmp_path / "whole" / "3" / STATE)["model"]
    for stop in (1, 2):
        rest = _run(job, tmp_path / f"from {stop}", tmp_path / "whole" / str(stop))
        assert rest == whole[stop:]
        found = read_torch(tmp_path / f"from {stop}" / "3" / STATE)["model"]
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
