"""AMN (Lee et al., CVPR 2022): the host of FBR-I, a per-pixel classifier conditioned on the image-level labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.losses import balanced_cross_entropy
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.build import build_backbone


class Amn(TrainingModule):
    """Label conditioning and a dilated classifier on the last map, trained on seed masks."""

    background_channel = True
    backbone: Backbone

    def __init__(self, config: FbrConfig, classes: int) -> None:
        super().__init__()
        self.smoothing = config.sampling.label_smoothing
        self.backbone = build_backbone(config.backbone)
        channels = self.backbone.channels
        self.conditioning = nn.Linear(classes, channels)
        self.dropout = nn.Dropout(config.heads.dropout)
        self.classifier = nn.ModuleList(_dilated(channels, 1 + classes, rate) for rate in config.heads.dilations)

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, 1 + C, h, w], background first."""
        return self.classify(self.features(images, labels))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`classification` on the seed's masks, `batch.extras["seed"]`."""
        logits = self.class_maps(batch.images, batch.labels)
        with torch.autocast(logits.device.type, enabled=False):
            return {"classification": self.classification(logits.float(), batch)}

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        """AMN's label conditioning: the last map times a linear function of the image-level labels."""
        features: Tensor = self.backbone(images)["final"] * self.conditioning(labels)[:, :, None, None]
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits [B, 1 + C, h, w] of the conditioned map."""
        features = self.dropout(features)
        return torch.stack([convolution(features) for convolution in self.classifier]).sum(0)

    def classification(self, logits: Tensor, batch: Batch) -> Tensor:
        """AMN's term for logits float32 [B, 1 + C, h, w]."""
        return balanced_cross_entropy(logits, batch.extras["seed"], self.smoothing)


def _dilated(inputs: int, outputs: int, rate: int) -> nn.Conv2d:
    """One 3x3 convolution of the classifier, with AMN's initial values (standard deviation 0.01, no bias)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate)
    nn.init.normal_(convolution.weight, std=0.01)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
