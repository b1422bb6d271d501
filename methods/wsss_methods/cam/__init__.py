"""Plain class activation maps: the baseline under every other method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_methods.cam.config import CamConfig
from wsss_platform.method import Method, Phase

if TYPE_CHECKING:
    from wsss_platform.method.objective import Objective


def _build(config: CamConfig, classes: int) -> Objective:
    from wsss_methods.cam.objective import CamObjective

    return CamObjective(config, classes)


def _phases(config: CamConfig) -> tuple[Phase, ...]:
    return (Phase("cam", _build, sections=("backbone", "train", "loss"), image_scores=True),)


METHOD = Method(
    name="cam",
    title="Class activation maps of an image classifier",
    paper="Zhou et al., CVPR 2016; trained as in IRN (Ahn et al., CVPR 2019)",
    revision=1,
    config=CamConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
