"""The config of a run whose maps somebody else made."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from wsss_platform.config.section import Section
from wsss_platform.config.sections import AffinityConfig, BackboneConfig, MapsConfig, MethodConfig, TrainConfig

Form = Literal["irn", "seam", "clip-es", "puzzlecam", "png", "npz"]
"""How a folder holds maps; `maps.foreign.folder` says what each is."""
UNKNOWN = "unknown (imported)"
"""What a protocol says of what is not known."""


class ImportSection(Section):
    """A folder of maps and how it is read."""

    form: Form
    """Which codebase's files they are."""
    folder: str
    """Where they lay, absolute. Not part of a key: the content is."""
    content: str = Field(pattern=r"[0-9a-f]{64}")
    """sha256 over the names and bytes of the files of the split's images."""
    normalise: Literal["none", "max", "minmax"] = "none"
    """"none" takes scores 0..1 as they are and refuses others; "max" cuts negatives and divides each class by its
    maximum over the image; "minmax" stretches each class from its minimum to its maximum."""
    gate: Literal["labels", "none"] = "labels"
    """Which classes are taken: those the image's image-level labels name, or all that the files hold."""
    stretch: bool = False
    """Whether maps whose proportions are not their image's are taken, each axis stretched by its own factor."""
    precision: Literal["uint8", "uint11", "float16"] = "float16"
    """Stored type; uint8 is round(255 x score), uint11 round(2040 x score)."""
    supervision: str = Field(UNKNOWN, min_length=1, max_length=80)
    """What the maps were made from, as the protocol says it; a word of whoever imports. Not part of a key."""


class ImportedConfig(MethodConfig):
    """Maps from a folder take the place of training and extraction; only `masks` and `imported` mean anything."""

    imported: ImportSection

    @model_validator(mode="after")
    def _untouched(self) -> Self:
        """A setting that nothing reads must not look as if it did."""
        given = {
            "backbone": BackboneConfig(),
            "train": TrainConfig(),
            "maps": MapsConfig(),
            "affinity": AffinityConfig(),
            "released": (),
        }
        for name, default in given.items():
            if getattr(self, name) != default:
                raise ValueError(f"{name}.* does nothing to imported maps; masks.* and imported.* do")
        return self
