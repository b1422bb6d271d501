"""DRS: discriminative region suppression, then localisation-map refinement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_methods.drs.config import DrsConfig
from wsss_platform.method import Method, Phase

if TYPE_CHECKING:
    from wsss_platform.objective import Objective


def _build_classify(config: DrsConfig, classes: int) -> Objective:
    from wsss_platform.nets.drs_classifier import DrsClassifier

    return DrsClassifier(config.backbone, config.suppression, config.extra_layers, classes, initial=config.initial)


def _build_refine(config: DrsConfig, classes: int) -> Objective:
    from wsss_methods.drs.objective import RefineObjective

    return RefineObjective(config, classes)


def _phases(config: DrsConfig) -> tuple[Phase, ...]:
    classify = Phase(
        "classify",
        _build_classify,
        sections=("backbone", "extra_layers", "initial", "loss", "suppression", "train"),
    )
    refine = Phase(
        "refine",
        _build_refine,
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
