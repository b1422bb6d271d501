"""FBR-S: fine-grained background representation on PPC and EPS, with saliency."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.fbr.on_eps.config import FbrEpsConfig
from wsss_platform.method import Method, Phase


def _phases(config: FbrEpsConfig) -> tuple[Phase, ...]:
    sections = ("backbone", "heads", "host", "loss", "sampling", "train")
    return (Phase("fbr", "wsss_methods.fbr.on_eps.module:FbrEpsModule", sections, extras=("saliency",)),)


METHOD = Method(
    name="fbr_s",
    title="Fine-grained background representation on pixel-to-prototype contrast, with saliency",
    paper="Yin et al., TCSVT 2024, arXiv 2406.15755; hosts PPC (Du et al., CVPR 2022) and EPS (Lee et al., CVPR 2021)",
    revision=1,
    config=FbrEpsConfig,
    phases=_phases,
    folder=Path(__file__).parent,
    host={"loss.decorrelation": 0.0, "loss.intra_foreground": 0.0, "loss.negative_regions": 0.0},
    host_name="PPC on EPS",
)
