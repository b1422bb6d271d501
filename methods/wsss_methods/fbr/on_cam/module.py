"""The CAM classifier with FBR's terms."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.fbr.contrast import Contrast, plugged_in
from wsss_methods.fbr.on_cam.config import FbrCamConfig
from wsss_platform.method.module import Batch
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.heads.cam_classifier import CamClassifier


class FbrCamModule(CamClassifier):
    """Its classifier and maps are the host's, its state dict is the host's and the contrast's."""

    backbone: Backbone

    def __init__(self, config: FbrCamConfig, classes: int) -> None:
        super().__init__(config.backbone, classes)
        self.contrast = Contrast(self.backbone.channels, config.heads.projection, config.sampling)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The host's `classification` (multilabel soft margin of the mean class scores) and FBR's three terms."""
        features = self.backbone(batch.images)["final"]
        maps = self.classifier(features)
        logits = maps.mean(dim=(2, 3)).float()
        return {
            "classification": functional.multilabel_soft_margin_loss(logits, batch.labels),
            **plugged_in(self.contrast, features, maps, batch),
        }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and the sizes that the modules really have."""
        return self.contrast.applied()
