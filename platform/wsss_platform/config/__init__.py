"""The sections of a config that all methods share; load, override by dotted path, dump, fingerprint.

Sections are named after stages: a change in `masks.*` repeats the masks, a change in `maps.*` the
maps and the masks, a change anywhere else also the training (a `Phase` says which sections it reads).
Imports neither torch nor ray.
"""

from __future__ import annotations

from wsss_platform.config.affinity import WalkConfig
from wsss_platform.config.imported import ImportedConfig, ImportedMasksConfig, ImportMasksSection, ImportSection
from wsss_platform.config.section import (
    Section,
    SectionType,
    canonical,
    fingerprint,
    flatten,
    leaves,
    look_up,
    override,
    parse_assignment,
    read_toml,
    to_toml,
    validated,
    why_without_effect,
)
from wsss_platform.config.sections import (
    AffinityConfig,
    BackboneConfig,
    DataConfig,
    MapsConfig,
    MasksConfig,
    MethodConfig,
    SampleConfig,
    SuppressionConfig,
    TrainConfig,
)

__all__ = [
    "AffinityConfig",
    "BackboneConfig",
    "DataConfig",
    "ImportMasksSection",
    "ImportSection",
    "ImportedConfig",
    "ImportedMasksConfig",
    "MapsConfig",
    "MasksConfig",
    "MethodConfig",
    "SampleConfig",
    "Section",
    "SectionType",
    "SuppressionConfig",
    "TrainConfig",
    "WalkConfig",
    "canonical",
    "fingerprint",
    "flatten",
    "leaves",
    "look_up",
    "override",
    "parse_assignment",
    "read_toml",
    "to_toml",
    "validated",
    "why_without_effect",
]
