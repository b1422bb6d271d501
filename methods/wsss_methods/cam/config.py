"""Config of plain CAM. Defaults run on a laptop; the field's values are in presets/paper.toml."""

from __future__ import annotations

from pydantic import Field

from wsss_platform.config import MapsConfig, MethodConfig, Section, TrainConfig


class CamLoss(Section):
    """Weights of the loss terms."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin on the pooled class scores. IRN: 1 [code]."""


class CamConfig(MethodConfig):
    """Plain CAM."""

    train: TrainConfig = TrainConfig()
    maps: MapsConfig = MapsConfig()
    loss: CamLoss = CamLoss()
