"""Affinity refinement as one more phase behind any method: `AffinityConfig` -> `Phase`. Needs no torch until it builds.

... ─► train:last ─► maps:last ─► masks:last (seeds) ─► train:affinity ─► maps:affinity ─► masks:affinity ─► score
                        └──────────────────────── walked ───────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wsss_platform.config import MethodConfig
from wsss_platform.errors import InputError
from wsss_platform.method import Phase

if TYPE_CHECKING:
    from wsss_platform.method.module import TrainingModule

NAME = "affinity"
"""Of the phase."""


def with_affinity(phases: Sequence[Phase], config: MethodConfig) -> tuple[Phase, ...]:
    """A method's phases, and behind the last one the affinity phase where the config asks for it.

    The last phase's masks then are the seeds; the section that they had belongs to the walked maps' masks.

    Raises:
        InputError: the method has a phase of this name.
    """
    affinity = config.affinity
    if affinity.kind == "none":
        return tuple(phases)
    if NAME in [phase.name for phase in phases]:
        raise InputError(
            f"affinity.kind: this method has a phase {NAME!r} of its own; set affinity.kind = 'none'",
            field="affinity.kind",
        )
    last = phases[-1]
    loss = f"affinity.{affinity.kind}_loss"
    own = ("affinity.displacement_factor",) if affinity.kind == "irn" else ()
    phase = Phase(
        NAME,
        _build,
        sections=("affinity.kind", "affinity.train", "affinity.train_radius", "backbone", loss, *own),
        train="affinity.train",
        loss=loss,
        maps=last.maps,
        masks=last.masks,
        reads={last.name: "masks"},
        refines=last.name,
        refine_sections=("affinity.walk",),
    )
    return (*phases[:-1], replace(last, masks="affinity.seeds"), phase)


def _build(config: MethodConfig, classes: int) -> TrainingModule:
    if config.affinity.kind == "psa":
        from wsss_platform.nets.affinity.affinity_net import AffinityNet

        return AffinityNet(config.backbone, config.affinity)
    from wsss_platform.nets.affinity.irn import Irn

    return Irn(config.backbone, config.affinity)


def described(config: MethodConfig) -> str:
    """The walk in words for the protocol; "none" without."""
    affinity, walk = config.affinity, config.affinity.walk
    if affinity.kind == "none":
        return "none"
    background = f", background (1 - max)^{walk.alpha:g}" if affinity.kind == "psa" else ""
    return f"{affinity.kind}, radius {walk.radius}, beta {walk.beta:g}, 2^{walk.log2_steps} steps{background}"
