"""FBR: fine-grained background representation, on the AMN host (FBR-I of the paper)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_methods.fbr.config import FbrConfig
from wsss_platform.method import Method, Phase

if TYPE_CHECKING:
    from wsss_platform.method.objective import Objective


def _build_seed(config: FbrConfig, classes: int) -> Objective:
    from wsss_platform.nets.heads.cam_classifier import CamClassifier

    return CamClassifier(config.backbone, classes)


def _build_fbr(config: FbrConfig, classes: int) -> Objective:
    from wsss_methods.fbr.objective import FbrObjective

    return FbrObjective(config, classes)


def _phases(config: FbrConfig) -> tuple[Phase, ...]:
    return (
        Phase(
            "seed",
            _build_seed,
            sections=("backbone", "seed.train", "seed.loss"),
            train="seed.train",
            loss="seed.loss",
            maps="seed.maps",
            masks="seed.masks",
            image_scores=True,
        ),
        Phase(
            "fbr",
            _build_fbr,
            sections=("backbone", "heads", "loss", "sampling", "train"),
            reads={"seed": "masks"},
        ),
    )


METHOD = Method(
    name="fbr",
    title="Fine-grained background representation: pixel-to-negative-region contrast on AMN",
    paper="Yin et al., TCSVT 2024, arXiv 2406.15755; host AMN (Lee et al., CVPR 2022)",
    revision=1,
    config=FbrConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
