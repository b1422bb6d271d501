"""The summary of a score, read with types."""

from __future__ import annotations

from typing import ClassVar

from wsss_platform.config.document import Document, Part


class ClassScore(Part):
    """One class, or background; fractions 0..1, null where it occurs nowhere."""

    iou: float | None
    """Intersection over union."""
    precision: float | None
    """Share of what the masks call it that is it."""
    recall: float | None
    """Share of it that the masks find."""


class SweepSummary(Part):
    """The maps at every threshold, without CRF."""

    thresholds: tuple[float, ...]
    """Background thresholds 0..1, ascending."""
    mean_iou: tuple[float | None, ...]
    """0..1, at each threshold."""
    best_threshold: float
    """The lowest of the best ones: chosen with the ground truth that it is scored on, so an oracle."""
    best_mean_iou: float | None
    """At the best threshold, 0..1."""
    best_classes: dict[str, ClassScore]
    """At the best threshold."""
    fixed_threshold: float | None = None
    """The config's own; null where its rule is no constant."""
    fixed_mean_iou: float | None = None
    """At it."""


class Summary(Document):
    """What a run reached on a split: score.json of a score in the store, which is without schema and version."""

    SCHEMA: ClassVar[str] = "wsss-platform/score"

    images: int
    """Scored."""
    pixels: int
    """Scored."""
    undecided: float
    """Share 0..1 of pixels to which the masks give no class."""
    mean_iou: float | None
    """Of the masks as made, 0..1."""
    classes: dict[str, ClassScore]
    """Of the masks as made; background first."""
    sweep: SweepSummary | None
    """Of the maps, without CRF; null where there are no maps, as of imported masks."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the masks' mean IoU over images, 0..1."""
