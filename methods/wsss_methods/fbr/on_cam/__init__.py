"""FBR plugged into a plain CAM classifier."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.fbr.on_cam.config import FbrCamConfig
from wsss_platform.method import Method, Phase


def _phases(config: FbrCamConfig) -> tuple[Phase, ...]:
    sections = ("backbone", "heads", "loss", "sampling", "train")
    return (Phase("fbr", "wsss_methods.fbr.on_cam.module:FbrCamModule", sections, image_scores=True),)


METHOD = Method(
    name="fbr_cam",
    title="Fine-grained background representation plugged into plain class activation maps",
    paper="Yin et al., TCSVT 2024, arXiv 2406.15755; on plain CAM it is a pairing of ours",
    revision=1,
    config=FbrCamConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
