"""Config of FBR on PPC and EPS (FBR-S). Defaults run on a laptop; presets/paper.toml has the released values.

Marks: [code] in github.com/XuYin94/FBR (its root), [inferred], [ours].
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from wsss_methods.fbr.config import MapSamplingConfig
from wsss_platform.config import MapsConfig, MasksConfig, MethodConfig, Section, TrainConfig


class HostConfig(Section):
    """PPC on EPS (Du et al., CVPR 2022; Lee et al., CVPR 2021), which train on two views with saliency."""

    small: int = Field(128, ge=16, le=1024)
    """Side in pixels of the second view: the whole crop (`train.crop`, the first view) at this size. Both views are
    contrasted on this view's grid. 128, with crops of 448 [code]."""
    pooling_threshold: float = Field(0.10, ge=0, lt=1)
    """A channel's image score is the mean of its activations above this fraction of its maximum. 0.10 [code]."""
    overlap: float = Field(0.4, ge=0, le=1)
    """EPS's tau: a class of the image counts as salient when more than this part of its map lies on saliency; else
    it is one of the background's. 0.4 in the script [code], 0.5 the argument's default."""
    blend: float = Field(0.5, ge=0, le=1)
    """EPS's weight of the foreground's prediction of saliency against that of the background. 0.5 [code]."""
    contrast_temperature: float = Field(0.1, ge=0.01, le=10)
    """Divides the cosines of PPC's two pixel-to-prototype terms. 0.1 [code]."""
    background_below: float = Field(0.05, ge=0, le=1)
    """Pixels whose summed class activation (each 0..1 over the image) is lower are background to the side head.
    0.05 [code]."""


class SideHeadsConfig(Section):
    """What FBR adds to the last map."""

    projection: int = Field(128, ge=2, le=1024)
    """Channels of the foreground and the background space. 128 [code]."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Before the background side head, in training only. 0.5 [code]."""


class FbrEpsLoss(Section):
    """Weights of the loss terms. Each is the mean over the two views, as far as it has views."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin on the pooled class scores. 1 [code]."""
    min_pooling: float = Field(1.0, ge=0, le=10)
    """SEAM: the lowest quarter of the refined maps' largest class scores should be 0. 1 [code]."""
    saliency: float = Field(1.0, ge=0, le=10)
    """EPS: saliency predicted by the maps, plus the same by the refined maps. 1 [code]."""
    equivariance: float = Field(1.0, ge=0, le=10)
    """SEAM: distance between the two views' maps. 1 [code]."""
    cross_refinement: float = Field(1.0, ge=0, le=10)
    """SEAM: distance between one view's maps and the other's refined maps, both ways summed. 1 [code]."""
    cross_prototype: float = Field(0.1, ge=0, le=10)
    """PPC: pixels against the other view's prototypes. 0.1 [code]."""
    cross_label: float = Field(0.1, ge=0, le=10)
    """PPC: pixels against their own view's prototypes, labelled by the other view. 0.1 [code]."""
    intra_foreground: float = Field(0.1, ge=0, le=10)
    """Hard pixels against pixels of other classes. 0.1 [code]."""
    decorrelation: float = Field(0.1, ge=0, le=10)
    """Mean cosine between the foreground and the background vector of a pixel. 0.1 [code]."""
    background_map: float = Field(0.1, ge=0, le=10)
    """Cross-entropy of the background side head. 0.1 [code]."""
    negative_regions: float = Field(0.01, ge=0, le=10)
    """Hard pixels against negative regions of interest (NROI). 0.01 [code]."""


class FbrEpsConfig(MethodConfig):
    """FBR on PPC and EPS."""

    train: TrainConfig = TrainConfig(momentum=5e-4)
    maps: MapsConfig = MapsConfig(fuse="sum", activation="softmax", activate="view", normalise="max")
    masks: MasksConfig = MasksConfig(background=0.22)
    host: HostConfig = HostConfig()
    heads: SideHeadsConfig = SideHeadsConfig()
    loss: FbrEpsLoss = FbrEpsLoss()
    sampling: MapSamplingConfig = MapSamplingConfig()

    @model_validator(mode="after")
    def _views(self) -> Self:
        if self.host.small > self.train.crop:
            raise ValueError(f"host.small is {self.host.small}; it must not exceed train.crop, {self.train.crop}")
        return self
