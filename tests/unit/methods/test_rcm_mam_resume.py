"""A training of RCM+MAM that was interrupted goes on bit by bit, in the warm-up and after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss_methods.rcm_mam import METHOD
from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.experiment import Experiment
from wsss_platform.stages import TrainJob
from wsss_platform.train.checkpoint import STATE, read_torch
from wsss_platform.train.loop import train_phase


def _job(update: str) -> TrainJob:
    changes = {
        "backbone.weights": "none",
        "heads.features": 16,
        "train.epochs": 3,
        "train.batch": 4,
        "train.crop": 48,
        "support.update": update,
        "support.warm_up": 1,
        "support.ramp": 1,
        "support.ema": 0.8,
        "heads.projection": 8,
        "attention.scales": [0.5, 1.0],
    }
    data = DataConfig(sample=SampleConfig(train=8, val=2, size=48))
    experiment = Experiment(METHOD, override(RcmMamConfig(), changes), data)
    stage = experiment.stage("train")
    return TrainJob(experiment, stage.phase, stage.key)


def _run(job: TrainJob, keep: Path, checkpoint: Path | None = None) -> list[dict[str, float]]:
    """Losses of the epochs; each epoch's checkpoint is in `keep`."""
    losses = []
    for end, save in train_phase(job, checkpoint=checkpoint):
        save(keep / str(end.epoch))
        losses.append(dict(end.losses))
    return losses


@pytest.mark.parametrize("update", ["ema", "frozen", "epoch_copy"])
def test_resumed_in_and_after_the_warm_up_it_goes_on_bit_by_bit(update: str, tmp_path: Path) -> None:
    job = _job(update)
    whole = _run(job, tmp_path / "whole")
    assert whole[0]["regional_contrast"] == whole[0]["attentive"] == 0
    assert min(whole[2]["regional_contrast"], whole[2]["attentive"]) > 0
    wanted = read_torch(tmp_path / "whole" / "3" / STATE)["model"]
    for stop in (1, 2):
        rest = _run(job, tmp_path / f"from {stop}", tmp_path / "whole" / str(stop))
        assert rest == whole[stop:]
        found = read_torch(tmp_path / f"from {stop}" / "3" / STATE)["model"]
        assert found.keys() == wanted.keys()
        assert any(name.startswith("support.network.") for name in wanted)
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
