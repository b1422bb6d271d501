"""Config of FBR on the classifier of DRS. The pairing is ours: DRS's values are the host's, FBR's those on PPC."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsss_methods.fbr.config import MapSamplingConfig, PlugInLoss, SpacesConfig
from wsss_platform.config import MapsConfig, MethodConfig, SuppressionConfig, TrainConfig


class FbrDrsConfig(MethodConfig):
    """FBR on DRS."""

    train: TrainConfig = TrainConfig()
    maps: MapsConfig = MapsConfig(sizes=(256, 320, 384), flip=False, fuse="max", normalise_views=True)
    """As DRS makes its classifier's: each size's map is divided by its maximum, then fused by the maximum [code]."""
    suppression: SuppressionConfig = SuppressionConfig()
    extra_layers: int = Field(1, ge=0, le=8)
    """DRS's 3x3 convolutions between the backbone and the linear layer. 3 [code]; 1 is ours, for short trainings."""
    initial: Literal["he", "small"] = "he"
    """New layers of the classifier start at N(0, sqrt(2 / (k k outputs))), "he" [code], or at N(0, 0.01), "small"
    [ours, see drs]."""
    heads: SpacesConfig = SpacesConfig()
    loss: PlugInLoss = PlugInLoss()
    sampling: MapSamplingConfig = MapSamplingConfig()
