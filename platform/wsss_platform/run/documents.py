"""What the verbs of a run print when they are done."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from wsss_platform.config.document import Document, Part
from wsss_platform.plan.protocol import Protocol
from wsss_platform.scores.documents import Summary
from wsss_platform.scores.intervals import Comparison


class Export(Part):
    """Masks that were written for other codebases."""

    folder: str
    """Where they are."""
    layout: str = Field(serialization_alias="format")
    """"voc" or "coco"."""
    images: int
    """Masks that were written."""
    lacking: tuple[str, ...]
    """Ids of images without a mask."""
    undecided_pixels: int
    """Pixels of value 255, over all images."""
    scored: bool
    """Whether there are IoUs beside the masks."""


class RunResult(Document):
    """What a run came to (`train`, `maps`, `masks`, `score`, `import-maps`, `import-masks`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/run"

    run: str
    """Its name."""
    stage: str
    """The last one that was asked for, such as "score:cam"."""
    folder: str
    """Of that stage."""
    seconds: dict[str, float]
    """Stage -> wall seconds it took now; 0 from the store."""
    protocol: Protocol
    """What was seen and chosen for it."""
    score: Summary | None
    """Null when no score was asked for."""
    failures: int
    """Images that failed and are missing in the stage."""
    export: Export | None = None
    """Of `masks --out`."""


class SubsetScore(Part):
    """A mean IoU, 0..1, with its 95 % interval over images."""

    mean_iou: float | None
    """Over the images of the subset."""
    low: float | None
    """Lower end."""
    high: float | None
    """Upper end."""


class RuleSubset(Part):
    """A background rule on some images."""

    subset: str
    """As asked for, such as "class=cat"."""
    images: int
    """In the subset."""
    masks: SubsetScore
    """The masks as made."""
    rule: SubsetScore | None
    """The maps under the rule; null where there are no maps, as of imported masks."""


class RuleResult(Document):
    """A background rule solved on stored counts (`score --rule`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/rule"

    run: str
    """Its name."""
    rule: str
    """"constant", "power", "per-class" or "saliency"; "none" where there are no maps."""
    fitted_on: str
    """The split that chose the setting."""
    oracle: bool
    """Whether that is the split that is scored."""
    words: str
    """Rule and setting in words."""
    setting: dict[str, int | float]
    """The best one, by parameter (of "per-class" by class)."""
    protocol: Protocol
    """Of the maps under the rule."""
    subsets: tuple[RuleSubset, ...]
    """As many as were asked for."""
    curve: dict[str, Any]
    """Mean IoU of the fitted split at every setting; empty where there are too many."""


class RunDifference(Document):
    """Two runs on the same images, paired (`score --against`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/run-difference"

    first: str
    """Name of a run."""
    second: str
    """Name of the run that it is compared with."""
    masks: Comparison
    """The masks as made; `a` is the first run."""
    best: Comparison | None
    """The maps, each at the best threshold of its own sweep (an oracle); null where one has no maps."""
