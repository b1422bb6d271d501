"""Config of FBR on plain CAM. The paper does not use this host: its own values are the CAM's, FBR's those on PPC."""

from __future__ import annotations

from pydantic import Field

from wsss_methods.fbr.config import MapSamplingConfig
from wsss_platform.config import MapsConfig, MethodConfig, Section, TrainConfig


class HeadsConfig(Section):
    """The two projections."""

    projection: int = Field(128, ge=2, le=1024)
    """Channels of the foreground and the background space. 128 [code]."""


class FbrCamLoss(Section):
    """Weights of the loss terms."""

    classification: float = Field(1.0, ge=0, le=10)
    """The host's multilabel soft margin. 1 [inferred: both released hosts keep the host's own weight]."""
    decorrelation: float = Field(0.1, ge=0, le=10)
    """Mean cosine between the foreground and the background vector of a pixel. 0.1 [code, PPC and AMN]."""
    intra_foreground: float = Field(0.1, ge=0, le=10)
    """Hard pixels against pixels of other classes. 0.1 [code, PPC and AMN]."""
    negative_regions: float = Field(0.01, ge=0, le=10)
    """Hard pixels against negative regions of interest (NROI). 0.01 [code, PPC]; on AMN 0.05."""


class FbrCamConfig(MethodConfig):
    """FBR on plain CAM."""

    train: TrainConfig = TrainConfig()
    maps: MapsConfig = MapsConfig()
    heads: HeadsConfig = HeadsConfig()
    loss: FbrCamLoss = FbrCamLoss()
    sampling: MapSamplingConfig = MapSamplingConfig()
