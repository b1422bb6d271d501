"""A method small enough to train in a blink, with the state that real ones have: a bank, dropout, a teacher.

Its phases read environment variables of the driver through the config
only: everything that goes wrong on purpose is a field of `TinyConfig`.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from wsss_platform.config import (
    DataConfig,
    MapsConfig,
    MasksConfig,
    MethodConfig,
    SampleConfig,
    Section,
    TrainConfig,
)
from wsss_platform.data.split import Dataset, Sample
from wsss_platform.method import Method, Phase
from wsss_platform.method.module import Batch, TrainingModule, global_batch
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import TrainJob


class TinySplit:
    """Noise whose mean colour tells the classes; what the weak supervision protocol asks of a list."""

    name, classes, labels_from = "train", ("red", "green", "blue"), "generated"

    def __init__(self, images: int) -> None:
        self.ids = [f"p{index:03d}" for index in range(images)]

    def labels(self, id: str) -> NDArray[np.bool_]:
        bits = int(id[1:]) % 7 + 1
        return np.array([bits & 1, bits & 2, bits & 4]) > 0

    def read(self, id: str) -> Sample:
        noise = np.random.default_rng(int(id[1:])).integers(0, 60, (64, 56, 3))
        return Sample(id, (noise + 150 * self.labels(id)).astype(np.uint8), self.labels(id))

    def fingerprint(self) -> str:
        return f"tiny {len(self.ids)}"


@dataclass(frozen=True)
class TinyData:
    images: int
    classes: tuple[str, ...] = TinySplit.classes

    def lists(self) -> dict[str, int]:
        return {"train": self.images}

    def split(self, name: str) -> TinySplit:
        return TinySplit(self.images)

    def truth(self, name: str) -> Any:
        return self.split(name)  # only its fingerprint is asked for


class TinyExperiment(Experiment):
    """On `TinyData`; its number of images is `data.sample.dataset.train`."""

    @cached_property
    def dataset(self) -> Dataset:
        return TinyData(self.data.sample.train)


class TinyLoss(Section):
    """Weights of the terms."""

    classification: float = 1.0
    contrast: float = 0.1


class Trouble(Section):
    """What goes wrong, and when. Steps count from 0; -1 is never."""

    nan_step: int = -1
    """The term "contrast" is NaN at this step."""
    kill_step: int = -1
    """The first worker that gets to this step kills itself, once: `once` is created by it."""
    once: str = ""
    """Empty: every one kills itself."""
    megabytes: int = 0
    """Each step takes so much memory, and its process may have 64 MB more than it has."""
    seconds: float = 0.0
    """Each step sleeps so long."""


class TinyConfig(MethodConfig):
    """The sections of any method, and trouble."""

    loss: TinyLoss = TinyLoss()
    trouble: Trouble = Trouble()


class TinyModule(TrainingModule):
    """A convolution, dropout, a bank that rolls, and a slow copy of the head."""

    def __init__(self, classes: int, trouble: Trouble) -> None:
        super().__init__()
        self.trouble = trouble
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Conv2d(8, classes, 1)
        self.slow = nn.Conv2d(8, classes, 1)
        self.slow.load_state_dict(self.head.state_dict())
        self.slow.requires_grad_(False)
        self.bank: Tensor
        self.register_buffer("bank", torch.zeros(16, 8))
        self.at: Tensor
        self.register_buffer("at", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self._trouble()
        features = self.backbone(batch.images)
        pooled = self.dropout(features).mean(dim=(2, 3))
        logits = self.head(pooled[:, :, None, None]).flatten(1)
        target = self.slow(pooled[:, :, None, None]).flatten(1)
        noise = torch.rand(len(pooled), 1, device=pooled.device)
        contrast = (pooled @ self.bank.clone().T).square().mean() + (logits - target).square().mean() + noise.mean()
        if int(self.steps) == self.trouble.nan_step:
            contrast = contrast * float("nan")
        with torch.no_grad():
            rows = global_batch(pooled.float())
            places = (self.at + torch.arange(len(rows), device=rows.device)) % len(self.bank)
            self.bank[places] = rows
            self.at += len(rows)
        return {
            "contrast": contrast,
            "classification": functional.multilabel_soft_margin_loss(logits, batch.labels),
        }

    def _trouble(self) -> None:
        time.sleep(self.trouble.seconds)
        if self.trouble.megabytes:
            with _little_memory():
                torch.ones(self.trouble.megabytes, 1024, 1024, dtype=torch.uint8)
        if int(self.steps) == self.trouble.kill_step:
            try:
                if self.trouble.once:
                    Path(self.trouble.once).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        maps: Tensor = self.head(self.backbone(images))
        return maps

    def after_step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.head.parameters(), strict=True):
                slow.lerp_(fast, 0.1)


@contextmanager
def _little_memory() -> Iterator[None]:
    """This process gets 64 MB more than it has, and no more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + 64 * 1024**2, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def build(config: TinyConfig, classes: int) -> TrainingModule:
    return TinyModule(classes, config.trouble)


def phases(config: TinyConfig) -> tuple[Phase, ...]:
    return (Phase("tiny", build, ("train", "loss", "trouble", "backbone")),)


METHOD = Method("tiny", "for tests", "none", 1, TinyConfig, phases, Path(__file__).parent)


def tiny_job(
    *,
    train: TrainConfig | None = None,
    trouble: Trouble | None = None,
    loss: TinyLoss | None = None,
    seed: int = 0,
    workers: int = 1,
    images: int = 12,
) -> TrainJob:
    """A job on a dozen generated images of 64 pixels, three steps of four images an epoch."""
    config = TinyConfig(
        train=train or TrainConfig(epochs=4, batch=4, crop=48, learning_rate=1e-3),
        trouble=trouble or Trouble(),
        loss=loss or TinyLoss(),
    )
    data = DataConfig(sample=SampleConfig(train=images))
    experiment = TinyExperiment(METHOD, config, data, seed=seed, workers=workers)
    stage = experiment.stage("train")
    return TrainJob(experiment, stage.phase, stage.key)


def best_config(path: Path) -> TinyConfig:
    """A study's best.toml, without its note on how it was chosen."""
    from wsss_platform.config import read_toml, validated

    data = read_toml(path)
    assert data.pop("chosen")["selection"]
    return validated(TinyConfig, data, "best.toml")


def tiny_sample(*, crf: str = "none", images: int = 12) -> Experiment:
    """An experiment on generated images of 64 pixels with ground-truth masks."""
    config = TinyConfig(
        train=TrainConfig(epochs=1, batch=6, crop=48, learning_rate=1e-3),
        maps=MapsConfig(scales=(1.0,), flip=False),
        masks=MasksConfig(crf=crf),
    )
    return Experiment(METHOD, config, DataConfig(sample=SampleConfig(train=images, val=2, size=64)))
