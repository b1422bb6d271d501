"""Config of DRS. Defaults run on a laptop; presets/paper.toml has the released values.

Marks: [stated] in the paper (arXiv 2103.07246) as its abstract and the tables of others give it, [code] in
github.com/qjadud1994/DRS, [unknown], [ours].
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsss_platform.config import MapsConfig, MethodConfig, Section, SuppressionConfig, TrainConfig

SIZES = (256, 320, 384)
"""Sides in pixels of the squares at which both networks' maps are made [code]."""


class DrsLoss(Section):
    """Loss weights of the classification phase."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin on the averages of the class maps. 1 [code]."""


class RefineLoss(Section):
    """Loss weights of the refinement phase."""

    regression: float = Field(1.0, ge=0, le=10)
    """Mean squared distance to the stored maps, over all classes. 1 [code]."""


class RefineConfig(Section):
    """Localisation-map refinement: a second network learns to give the first one's maps."""

    enabled: bool = True
    """Whether the method has it; without it the maps are the classifier's. On [code]."""
    train: TrainConfig = TrainConfig()
    """Its training. Adam, 1e-4 for all parameters, no decay, 30 epochs, a tenth from epochs 10 and 20 on [code]."""
    loss: RefineLoss = RefineLoss()
    """Its loss weights."""
    maps: MapsConfig = MapsConfig(sizes=SIZES, flip=False, fuse="max", activation="none", normalise="none")
    """Its maps: the network's scores clipped to 0..1, not stretched, fused by their maximum [code]."""


class DrsConfig(MethodConfig):
    """DRS."""

    train: TrainConfig = TrainConfig()
    """Of the classification phase."""
    maps: MapsConfig = MapsConfig(sizes=SIZES, flip=False, fuse="max", normalise_views=True)
    """Of the classifier: each size's map is divided by its maximum, then fused by the maximum [code]."""
    suppression: SuppressionConfig = SuppressionConfig()
    """In the classifier; the refinement network has none [code]."""
    extra_layers: int = Field(0, ge=0, le=8)
    """3x3 convolutions between the backbone and the linear layer, in both networks. 3 [code]; 0 [ours]: on
    EfficientNet-Lite0's 1280 channels the first alone has more weights than the network."""
    initial: Literal["he", "small"] = "he"
    """New layers of the classifier start at N(0, sqrt(2 / (k k outputs))), "he" [code], or at N(0, 0.01), "small"
    [ours; the release's refinement network]. "he" suits 20 classes and 512 channels; with the sample's 6 classes on
    1280 channels the first loss is 7.5 instead of 0.7, and a short training never gets rid of those weights."""
    loss: DrsLoss = DrsLoss()
    refine: RefineConfig = RefineConfig()
