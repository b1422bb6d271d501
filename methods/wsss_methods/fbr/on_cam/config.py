"""Config of FBR on plain CAM. The paper does not use this host: its own values are the CAM's, FBR's those on PPC."""

from __future__ import annotations

from wsss_methods.fbr.config import MapSamplingConfig, PlugInLoss, SpacesConfig
from wsss_platform.config import MapsConfig, MethodConfig, TrainConfig


class FbrCamConfig(MethodConfig):
    """FBR on plain CAM."""

    train: TrainConfig = TrainConfig()
    maps: MapsConfig = MapsConfig()
    heads: SpacesConfig = SpacesConfig()
    loss: PlugInLoss = PlugInLoss()
    sampling: MapSamplingConfig = MapSamplingConfig()
