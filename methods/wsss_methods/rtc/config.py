"""Config of RTC. Defaults run on a laptop; presets/paper.toml has the released values.

Marks: [code] in github.com/ChunyanWang1/RTC, [inferred], [ours]. The paper's text was not at hand.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from wsss_platform.config import MapsConfig, MasksConfig, MethodConfig, Section, TrainConfig


class ViewsConfig(Section):
    """The two views that the network compares."""

    small: int = Field(128, ge=16, le=1024)
    """Side in pixels of the second view: the whole crop (`train.crop`, the first view) at this size. Views are compared
    at this size, and contrasted on this view's grid. 128, with crops of 448 [code]."""


class HeadsConfig(Section):
    """What stands on the last map."""

    embedding: int = Field(256, ge=2, le=1024)
    """Channels of the embedding between the last map and the class maps, which is what is contrasted. 256 [code]."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Of whole channels before the embedding, in training only; the segmentation head has none. 0.5 [code]."""
    initial: Literal["xavier", "small"] = "xavier"
    """New weights of the class maps and the embedding under them: "xavier" [code], or "small", uniform within
    1/sqrt(inputs), PyTorch's own [ours]: with it a short training on EfficientNet-Lite0 finds the objects, while with
    "xavier" its maps keep much of what they began with (the method's README)."""
    widths: tuple[int, int, int] = (128, 128, 48)
    """Channels of the segmentation head: its first convolution, all later ones, and its detail branch.
    512, 256, 48 [code]; 128, 128, 48 trains on a laptop [ours]."""
    reach: int = Field(96, ge=1, le=1024)
    """Input pixels between the taps of the segmentation head's dilated convolutions. 96, a dilation of 12 at stride 8,
    with crops of 448 [code]; in crops not much larger than that it sees little but padding there."""

    @model_validator(mode="after")
    def _widths(self) -> Self:
        if min(self.widths) < 2:
            raise ValueError(f"widths must be at least 2 each, got {list(self.widths)}")
        return self


class ContrastConfig(Section):
    """Pseudo labels and prototypes on the second view's grid."""

    background: float = Field(0.20, ge=0, le=1)
    """Score of the background against maps that are 0..1 in each image and class. 0.20 [code]."""
    temperature: float = Field(0.1, ge=0.01, le=10)
    """Divides the cosines between positions and prototypes. 0.1 [code]."""
    fraction: float = Field(0.125, gt=0, le=1)
    """Positions of the batch in a prototype, over the positions of ONE image. 1/8 [code]."""
    members: Literal["released", "labelled"] = "released"
    """Whose positions make the prototype of a class: "released", of any image of the batch, the class may be in it
    or not, and for the background whichever positions `topk` gives of a constant; "labelled" [ours], of images that
    have the class, for the background its own positions; a class without any is then no negative."""


class StructureConfig(Section):
    """The class read-back (compensator): maps to which the features of the best positions are read back."""

    fraction: float = Field(0.8, gt=0, le=1)
    """The largest distances that count, of all classes and positions of an image. 0.8 [code]."""


class SegmentationConfig(Section):
    """The segmentation head's training on labels that the class maps give, refined by local colours (VARM)."""

    start: float = Field(2.0, ge=0, le=1000)
    """Epochs before it starts; 7 of 25 [code; the number of epochs inferred], 2 of 8 [ours]."""
    confident_foreground: float = Field(0.55, ge=0, le=1)
    """Background score of the pass whose classes are believed. 0.55 [code]."""
    confident_background: float = Field(0.20, ge=0, le=1)
    """Background score of the pass that decides where there is background; between the two passes, and where the crop
    was padded, is no label. 0.20 [code]."""
    iterations: int = Field(10, ge=0, le=100)
    """Rounds of local refinement. 10 [code]."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    """Distances of the eight neighbours, in pixels of the halved crop. 1, 2, 4, 8, 12, 24 with crops of 448 [code]."""
    edge_weight: float = Field(0.01, ge=0, le=1)
    """Part of a neighbour's weight that is taken away where the image varies around it. 0.01 [code]."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.confident_background > self.confident_foreground:
            raise ValueError("confident_background must not exceed confident_foreground")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations are distances of at least 1 pixel, got {list(self.dilations)}")
        return self


class RtcLoss(Section):
    """Weights of the loss terms. Terms on views are the mean over both, but for cross_refinement and structure, which
    are the sum, as in the release."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin on the averages of the class maps. 1 [code]."""
    min_pooling: float = Field(1.0, ge=0, le=10)
    """SEAM: the lowest quarter of the refined maps' largest class scores should be 0. 1 [code]."""
    equivariance: float = Field(1.0, ge=0, le=10)
    """SEAM: distance between the two views' maps. 1 [code]."""
    cross_refinement: float = Field(1.0, ge=0, le=10)
    """SEAM: distance between one view's maps and the other's refined maps. 1 [code]."""
    intra: float = Field(0.1, ge=0, le=10)
    """Positions against the prototypes of their own view's map, by their own view's labels. 0.1 [code]."""
    cross_label: float = Field(0.1, ge=0, le=10)
    """The same by the other view's labels. 0.1 [code]."""
    cross_prototype: float = Field(0.1, ge=0, le=10)
    """Positions against the prototypes of the other view's map, by their own labels. 0.1 [code]."""
    structure: float = Field(1.0, ge=0, le=10)
    """Distance of the maps to those with the class read back. 1 [code]."""
    segmentation: float = Field(1.0, ge=0, le=10)
    """Class-balanced cross-entropy of the segmentation head. 1 [code]."""
    class_relation: float = Field(0.0, ge=0, le=10)
    """Prototypes of different classes should differ. 0: the release computes and logs it (times 0.5) but does not add
    it [code], here it is computed where it has a weight; its prototypes have no gradient there, here they have in this
    term [ours]."""


class RtcConfig(MethodConfig):
    """RTC, single stage."""

    train: TrainConfig = TrainConfig(momentum=5e-4)
    maps: MapsConfig = MapsConfig(fuse="mean", activation="none", normalise="none", gate="none")
    """The segmentation head's probabilities, of all classes, without labels."""
    masks: MasksConfig = MasksConfig(background=0.17)
    views: ViewsConfig = ViewsConfig()
    heads: HeadsConfig = HeadsConfig()
    loss: RtcLoss = RtcLoss()
    contrast: ContrastConfig = ContrastConfig()
    structure: StructureConfig = StructureConfig()
    segmentation: SegmentationConfig = SegmentationConfig()

    @model_validator(mode="after")
    def _views(self) -> Self:
        if self.views.small > self.train.crop:
            raise ValueError(f"views.small is {self.views.small}; it must not exceed train.crop, {self.train.crop}")
        return self

    @model_validator(mode="after")
    def _start(self) -> Self:
        if self.segmentation.start >= self.train.epochs:
            raise ValueError(
                f"segmentation.start is {self.segmentation.start:g} of {self.train.epochs} epochs: the segmentation "
                "head, which makes the maps, would never train"
            )
        return self
