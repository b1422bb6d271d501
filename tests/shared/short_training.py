"""Three epochs on eight generated images, of which every test wants the losses and the checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.nn.parallel import DistributedDataParallel

import wsss_methods
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import TrainJob
from wsss_platform.train.loop import train_phase


def short_job(name: str, changes: dict[str, Any]) -> TrainJob:
    """The training of a method with one phase, from random weights unless `changes` say otherwise."""
    method = wsss_methods.get(name)
    short = {"backbone.weights": "none", "train.epochs": 3, "train.batch": 4, "train.crop": 48}
    data = DataConfig(sample=SampleConfig(train=8, val=2, size=48, difficulty=0.5, co_occurrence=0.9))
    experiment = Experiment(method, override(method.config(), {**short, **changes}), data)
    stage = experiment.stage("train")
    return TrainJob(experiment, stage.phase, stage.key)


def train(job: TrainJob, keep: Path, **options: Any) -> list[dict[str, float]]:
    """Losses of the epochs; each epoch's checkpoint is in `keep` under its number. Options are `train_phase`'s."""
    losses = []
    for end, save in train_phase(job, **options):
        save(keep / str(end.epoch))
        losses.append(dict(end.losses))
    return losses


def train_beside(rank: int, job: TrainJob, keep: Path) -> list[dict[str, float]]:
    """One of two workers, in a process group that is there; wrapped as `engine.trainer` does."""
    return train(
        job,
        keep,
        rank=rank,
        world=2,
        wrap=lambda module: DistributedDataParallel(module, forward_sync_buffers=False),
    )
