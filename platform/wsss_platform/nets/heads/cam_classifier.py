"""The CAM classifier: a backbone and one linear layer on its last map (Zhou et al., CVPR 2016)."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.build import build_backbone


class CamClassifier(TrainingModule):
    """Image-level classification whose class scores are averages of class maps.

    The linear layer is a 1x1 convolution without bias before the global average pooling, which is the same
    number as after it (IRN pools first, net/resnet50_cam.py).
    """

    def __init__(self, backbone: BackboneConfig, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.classifier = nn.Conv2d(self.backbone.channels, classes, 1, bias=False)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`classification`: the multilabel soft margin, mean over images and classes."""
        logits = self.class_maps(batch.images, batch.labels).mean(dim=(2, 3))
        return {"classification": functional.multilabel_soft_margin_loss(logits.float(), batch.labels)}

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, h, w]: the 1x1 convolution's scores; labels are not used."""
        maps: Tensor = self.classifier(self.backbone(images)["final"])
        return maps

    def image_scores(self, images: Tensor) -> Tensor:
        """[B, C]: the sigmoid of the averages of the class maps, 0..1."""
        scores: Tensor = self.classifier(self.backbone(images)["final"]).mean((2, 3))
        return scores.sigmoid()
