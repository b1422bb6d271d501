"""RTC: representation, transform, compensator; one network that classifies, compares views and segments."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.rtc.config import RtcConfig
from wsss_platform.method import Method, Phase


def _phases(config: RtcConfig) -> tuple[Phase, ...]:
    sections = ("backbone", "contrast", "heads", "loss", "segmentation", "structure", "train", "views")
    return (
        Phase(
            "rtc",
            "wsss_methods.rtc.module:RtcModule",
            sections,
            begins="segmentation.start",
            image_scores=True,
        ),
    )


METHOD = Method(
    name="rtc",
    title="RTC, single stage: correlation at two depths, swapped prototypes, class read-back, a segmentation head",
    paper="Wang, Zhang & Yan, TCSVT 2024, arXiv 2309.00871; after SEAM, PPC, 1-stage-wseg and AFA",
    revision=1,
    config=RtcConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
