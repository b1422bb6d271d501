"""A method that trains in a blink, for what a study costs beside its trainings; imported by name in Ray's workers."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import DataConfig, MapsConfig, MethodConfig, SampleConfig, Section, TrainConfig
from wsss_platform.method import Method, Phase
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.plan.experiment import Experiment


class BlinkLoss(Section):
    """Weights of the terms."""

    classification: float = 1.0


class BlinkConfig(MethodConfig):
    """The sections of any method."""

    loss: BlinkLoss = BlinkLoss()


class BlinkModule(TrainingModule):
    """One convolution and a linear head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The one term."""
        logits = self.class_maps(batch.images, batch.labels).mean(dim=(2, 3))
        return {"classification": functional.multilabel_soft_margin_loss(logits, batch.labels)}

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, H/4, W/4]."""
        maps: Tensor = self.head(self.backbone(images))
        return maps


def _build(config: BlinkConfig, classes: int) -> TrainingModule:
    return BlinkModule(classes)


def _phases(config: BlinkConfig) -> tuple[Phase, ...]:
    return (Phase("blink", _build, ("train", "loss", "backbone")),)


METHOD = Method("blink", "for benchmarks", "none", 1, BlinkConfig, _phases, Path(__file__).parent)


def blink(images: int = 4) -> Experiment:
    """One epoch of two steps on generated images of 48 pixels."""
    config = BlinkConfig(
        train=TrainConfig(epochs=1, batch=images // 2, crop=32, learning_rate=1e-3),
        maps=MapsConfig(scales=(1.0,), flip=False),
    )
    return Experiment(METHOD, config, DataConfig(sample=SampleConfig(train=images, val=2, size=48)))
