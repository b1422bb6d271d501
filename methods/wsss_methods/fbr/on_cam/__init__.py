"""FBR plugged into a plain CAM classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_methods.fbr.on_cam.config import FbrCamConfig
from wsss_platform.method import Method, Phase

if TYPE_CHECKING:
    from wsss_platform.method.objective import Objective


def _build(config: FbrCamConfig, classes: int) -> Objective:
    from wsss_methods.fbr.on_cam.objective import FbrCamObjective

    return FbrCamObjective(config, classes)


def _phases(config: FbrCamConfig) -> tuple[Phase, ...]:
    sections = ("backbone", "heads", "loss", "sampling", "train")
    return (Phase("fbr", _build, sections=sections, image_scores=True),)


METHOD = Method(
    name="fbr_cam",
    title="Fine-grained background representation plugged into plain class activation maps",
    paper="Yin et al., TCSVT 2024, arXiv 2406.15755; on plain CAM it is a pairing of ours",
    revision=1,
    config=FbrCamConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
