"""Config of FBR on AMN, and what the other hosts share. Defaults run on a laptop; presets/paper.toml has the released
values.

Marks: [stated] in the paper, [code] in github.com/XuYin94/FBR (folder AMN, and its root for the host PPC),
[inferred], [ours].
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsss_platform.config import MapsConfig, MasksConfig, MethodConfig, Section, TrainConfig


class SeedLoss(Section):
    """Loss weights of the seed phase."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin of the CAM classifier. IRN: 1 [code]."""


class SeedConfig(Section):
    """The first phase: a CAM classifier whose masks the second phase learns from (IRN's seeds in AMN)."""

    train: TrainConfig = TrainConfig()
    """Training of the classifier."""
    loss: SeedLoss = SeedLoss()
    """Its loss weights."""
    maps: MapsConfig = MapsConfig()
    """Maps of the classifier."""
    masks: MasksConfig = MasksConfig(
        rule="two_threshold", confident_foreground=0.6, confident_background=0.2, crf="irn"
    )
    """IRN's cam_to_ir_label: two passes, each with the CRF, 255 where they disagree. IRN's 0.30 and 0.05 [code] suit
    ResNet-50; EfficientNet-Lite0's maps are wider: on photographs 0.30 called 62 % of the pixels foreground, where
    26 % are, and 0.05 left 14 % background [ours, 25 photographs]."""


class HeadsConfig(Section):
    """What stands on the label-conditioned last map."""

    projection: int = Field(128, ge=2, le=1024)
    """Channels of the foreground and the background space. 128 [code]."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Before the classifier, in training only; the release leaves it on when it makes maps. 0.1 [code]."""
    dilations: tuple[int, ...] = Field((6, 12, 18, 24), min_length=1, max_length=8)
    """Of the 3x3 convolutions that are summed, in positions of the last map. 6, 12, 18, 24 [code]."""


class FbrLoss(Section):
    """Weights of the loss terms."""

    classification: float = Field(1.0, ge=0, le=10)
    """AMN's per-pixel classification: balanced cross-entropy with smoothed seed labels. 1 [code]."""
    decorrelation: float = Field(0.1, ge=0, le=10)
    """Mean cosine between the foreground and the background vector of a pixel. 0.1 [code]."""
    intra_foreground: float = Field(0.1, ge=0, le=10)
    """Hard pixels against pixels of other classes. 0.1 [code]."""
    negative_regions: float = Field(0.05, ge=0, le=10)
    """Hard pixels against negative regions of interest (NROI), clusters of background. 0.05 [code]."""


class ContrastConfig(Section):
    """Which pixels are contrasted with which, on any host."""

    variant: Literal["paper", "as_released"] = "paper"
    """"paper": live anchors, cosine over channels, pseudo labels limited to the image's classes and its unpadded
    part. "as_released": the code's anchors without gradient, its NROI cosine over keys instead of channels, and
    its treatment of padding and absent classes; there the NROI term trains nothing, nor on AMN the other one."""
    temperature: float = Field(0.5, ge=0.01, le=10)
    """Divides cosines, in both contrast terms and in the choice of negative classes. 0.5 [code]."""
    negatives: int = Field(256, ge=1, le=4096)
    """Drawn per anchor. 256 [code]."""
    clusters: int = Field(8, ge=1, le=256)
    """Negative regions per image: k-means clusters of its background vectors. 8 [code]."""
    cluster_iterations: int = Field(10, ge=1, le=300)
    """Of Lloyd's algorithm after a k-means++ start. scikit-learn's default of up to 300 [code]; 10 is ours."""
    bank_size: int = Field(100_000, ge=1, le=10_000_000)
    """Negative regions that are remembered, first in first out. 100,000 on AMN, 50,000 for each view on PPC [code]."""
    sure_cut: float = Field(0.4, ge=0, le=0.99)
    """Among a class's own pixels in an image, the fraction with the lowest activation that counts as not sure,
    0..1. 0.4 on AMN, 0.6 on PPC [code]."""
    activation_floor: float = Field(0.05, ge=0, lt=1)
    """Pixels below this activation (0..1, min-max over the image) are left out of that fraction. 0.05 [code]."""
    entropy_quantile: float = Field(0.25, ge=0, le=1)
    """A hard pixel's class entropy is above this quantile of its image. 0.25 on AMN, 0.10 on PPC [code]."""
    prototype_fraction: float = Field(1 / 32, gt=0, le=1)
    """Pixels in a class prototype (the strongest of the whole batch), over the positions of one map. 1/32 on AMN,
    1/16 on PPC [code]."""


class SamplingConfig(ContrastConfig):
    """What AMN adds."""

    anchors: Literal["all", "agreeing"] = "all"
    """Which hard positions are anchors: all of them [code], or those where the seed mask has the network's own label
    [ours]: the CRF takes much of the context out of the seeds, which the network's labels still hold."""
    label_smoothing: float = Field(0.4, ge=0, lt=1)
    """AMN's eps: target 1 - eps on the seed's label, eps / C on each other class. 0.4 [code]."""


class MapSamplingConfig(ContrastConfig):
    """Hosts whose pseudo labels come from class maps, with the values released on PPC."""

    bank_size: int = Field(50_000, ge=1, le=10_000_000)
    """Negative regions that are remembered (by each view where there are two), first in first out. 50,000 [code]."""
    sure_cut: float = Field(0.6, ge=0, le=0.99)
    """Among a class's own pixels in an image, the fraction with the lowest activation that counts as not sure,
    0..1. 0.6 [code]."""
    entropy_quantile: float = Field(0.10, ge=0, le=1)
    """A hard pixel's class entropy is above this quantile of its image. 0.10 [code]."""
    prototype_fraction: float = Field(1 / 16, gt=0, le=1)
    """Pixels in a class prototype (the strongest of the whole batch), over the positions of one map. 1/16 [code]."""
    background: float = Field(0.10, ge=0, le=1)
    """The background's constant activation beside the classes' (0..1, min-max over the image). 0.10 [code]; the
    0.05 in its function's head is never used."""


class FbrConfig(MethodConfig):
    """FBR on AMN."""

    seed: SeedConfig = SeedConfig()
    train: TrainConfig = TrainConfig(epochs=5, learning_rate=1e-4)
    maps: MapsConfig = MapsConfig(fuse="mean", activation="softmax", activate="fused", normalise="minmax")
    heads: HeadsConfig = HeadsConfig()
    loss: FbrLoss = FbrLoss()
    sampling: SamplingConfig = SamplingConfig()
