"""The configs of runs whose maps, or whose masks, somebody else made."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from wsss_platform.config.section import Section
from wsss_platform.config.sections import (
    AffinityConfig,
    BackboneConfig,
    MapsConfig,
    MasksConfig,
    MethodConfig,
    TrainConfig,
)
from wsss_platform.config.supervision import UNKNOWN as UNKNOWN
from wsss_platform.config.supervision import Supervision

Form = Literal["irn", "seam", "clip-es", "puzzlecam", "png", "npz"]
"""How a folder holds maps; `maps.foreign.folder` says what each is."""
Ids = Literal["index", "coco-80", "coco-91"]
"""What a mask's numbers are: labels of the data set (0 background, classes from 1), for COCO 1..80 by place or COCO's
own 1..90. 255 is undecided in each."""
IDS: tuple[Ids, ...] = get_args(Ids)


class ImportedFiles(Section):
    """A folder of files, one or more for each image, that somebody else made."""

    folder: str
    """Where they lay, absolute. Not part of a key: the content is."""
    content: str = Field(pattern=r"[0-9a-f]{64}")
    """sha256 over the names and bytes of the files of the split's images."""
    supervision: Supervision = ()
    """The knowledge that went into them, a word of whoever imports; empty: unknown. Not part of a key."""


class ImportSection(ImportedFiles):
    """A folder of maps and how it is read."""

    form: Form
    """Which codebase's files they are."""
    normalise: Literal["none", "max", "minmax"] = "none"
    """"none" takes scores 0..1 as they are and refuses others; "max" cuts negatives and divides each class by its
    maximum over the image; "minmax" stretches each class from its minimum to its maximum."""
    gate: Literal["labels", "none"] = "labels"
    """Which classes are taken: those the image's image-level labels name, or all that the files hold."""
    stretch: bool = False
    """Whether maps whose proportions are not their image's are taken, each axis stretched by its own factor."""
    precision: Literal["uint8", "uint11", "float16"] = "float16"
    """Stored type; uint8 is round(255 x score), uint11 round(2040 x score)."""


class ImportMasksSection(ImportedFiles):
    """A folder of masks and how it is read."""

    ids: Ids = "index"
    """What the numbers in the files mean."""
    palette: Literal["index", "colours"] = "index"
    """What says the number of a palette PNG's pixel: its index, or its colour, where all files have VOC's colours and
    some at other places."""
    within_labels: bool
    """Whether every mask has only classes that the image-level labels of its image name."""


class ImportedConfig(MethodConfig):
    """Maps from a folder take the place of training and extraction; only `masks` and `imported` mean anything."""

    imported: ImportSection

    @model_validator(mode="after")
    def _untouched(self) -> Self:
        """A setting that nothing reads must not look as if it did."""
        check_untouched(self, "imported maps", "masks.* and imported.*")
        return self


class ImportedMasksConfig(MethodConfig):
    """Masks from a folder take the place of all stages before the score; only `imported` means anything."""

    imported: ImportMasksSection

    @model_validator(mode="after")
    def _untouched(self) -> Self:
        if self.masks != MasksConfig():
            raise ValueError("masks.* does nothing to imported masks; imported.* does")
        check_untouched(self, "imported masks", "imported.*")
        return self


def check_untouched(config: MethodConfig, what: str, meant: str) -> None:
    """ValueError where the config changes a section that an import does not read."""
    defaults = {
        "backbone": BackboneConfig(),
        "train": TrainConfig(),
        "maps": MapsConfig(),
        "affinity": AffinityConfig(),
        "released": (),
    }
    for name, default in defaults.items():
        if getattr(config, name) != default:
            raise ValueError(f"{name}.* does nothing to {what}; {meant} do")
