"""RCM+MAM: a network whose own average supervises its pixels (regional contrast, multi-scale attentive loss)."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_platform.method import Method, Phase


def _phases(config: RcmMamConfig) -> tuple[Phase, ...]:
    sections = ("attention", "backbone", "heads", "loss", "regions", "support", "train")
    return (
        Phase(
            "main",
            "wsss_methods.rcm_mam.module:RcmMamModule",
            sections,
            begins="support.warm_up",
            image_scores=True,
        ),
    )


METHOD = Method(
    name="rcm_mam",
    title="Pixel-level self-supervision: regional contrast (RCM) and multi-scale attentive loss (MAM)",
    paper="Yoon et al., arXiv 2112.05351; no code is public, so most of it is a reading of the abstract",
    revision=2,
    config=RcmMamConfig,
    phases=_phases,
    folder=Path(__file__).parent,
    host={"loss.attentive": 0.0, "loss.regional_contrast": 0.0},
    host_name="MainNet alone",
)
