"""DRS: discriminative region suppression, then localisation-map refinement."""

from __future__ import annotations

from pathlib import Path

from wsss_methods.drs.config import DrsConfig
from wsss_platform.method import Method, Phase


def _phases(config: DrsConfig) -> tuple[Phase, ...]:
    classify = Phase(
        "classify",
        "wsss_methods.drs.module:ClassifyModule",
        sections=("backbone", "extra_layers", "initial", "loss", "suppression", "train"),
    )
    refine = Phase(
        "refine",
        "wsss_methods.drs.module:RefineModule",
        sections=("backbone", "extra_layers", "refine.loss", "refine.train"),
        train="refine.train",
        loss="refine.loss",
        maps="refine.maps",
        reads={"classify": "maps"},
    )
    return (classify, refine) if config.refine.enabled else (classify,)


METHOD = Method(
    name="drs",
    title="Discriminative region suppression and localisation-map refinement",
    paper="Kim, Han & Kim, AAAI 2021, arXiv 2103.07246",
    revision=1,
    config=DrsConfig,
    phases=_phases,
    folder=Path(__file__).parent,
    extras=("saliency",),
)
