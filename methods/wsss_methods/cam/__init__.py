"""Plain class activation maps: the baseline under every other method."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.cam.config import CamConfig
from wsss_platform.method import Method, Phase


def _phases(config: CamConfig) -> tuple[Phase, ...]:
    return (
        Phase(
            "cam",
            "wsss_methods.cam.module:CamModule",
            ("backbone", "train", "loss"),
            image_scores=True,
            plain_cam=True,
        ),
    )


# The keys of plain CAM phases, this one's included, say method.PLAIN_CAM: who raises the revision raises that one, too.
METHOD = Method(
    name="cam",
    title="Class activation maps of an image classifier",
    paper="Zhou et al., CVPR 2016; trained as in IRN (Ahn et al., CVPR 2019)",
    revision=1,
    config=CamConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
