"""FBR plugged into the classifier of DRS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_methods.fbr.on_drs.config import FbrDrsConfig
from wsss_platform.method import Method, Phase

if TYPE_CHECKING:
    from wsss_platform.objective import Objective


def _build(config: FbrDrsConfig, classes: int) -> Objective:
    from wsss_methods.fbr.on_drs.objective import FbrDrsObjective

    return FbrDrsObjective(config, classes)


def _phases(config: FbrDrsConfig) -> tuple[Phase, ...]:
    sections: tuple[str, ...] = ("backbone", "extra_layers", "heads", "loss", "sampling", "suppression", "train")
    if config.initial != "he":  # came after stored results; their keys stay
        sections += ("initial",)
    return (Phase("fbr", _build, sections=sections),)


METHOD = Method(
    name="fbr_drs",
    title="Fine-grained background representation plugged into discriminative region suppression",
    paper="Yin et al., TCSVT 2024, arXiv 2406.15755; host DRS (Kim et al., AAAI 2021), a pairing of ours",
    revision=1,
    config=FbrDrsConfig,
    phases=_phases,
    folder=Path(__file__).parent,
)
