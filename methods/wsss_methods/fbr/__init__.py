"""FBR: fine-grained background representation, on the AMN host (FBR-I of the paper)."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.fbr.config import FbrConfig
from wsss_platform.method import Method, Phase


def _phases(config: FbrConfig) -> tuple[Phase, ...]:
    return (
        Phase(
            "seed",
            "wsss_methods.fbr.module:SeedModule",
            sections=("backbone", "seed.train", "seed.loss"),
            train="seed.train",
            loss="seed.loss",
            maps="seed.maps",
            masks="seed.masks",
            image_scores=True,
            plain_cam=True,
        ),
        Phase(
            "fbr",
            "wsss_methods.fbr.module:FbrModule",
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
    host={"loss.decorrelation": 0.0, "loss.intra_foreground": 0.0, "loss.negative_regions": 0.0},
    host_name="AMN",
)
