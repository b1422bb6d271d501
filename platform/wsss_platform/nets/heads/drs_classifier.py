"""The classifier of DRS: a backbone and extra convolutions with suppressed activations, and a linear layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig, SuppressionConfig
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.suppression import Suppression, activation, suppress

WIDTH = 512
"""Most channels of an extra convolution: those of VGG-16's last map [code]."""


class DrsClassifier(TrainingModule):
    """Image-level classification whose class scores are averages of class maps (qjadud1994/DRS, models/vgg.py).

    On VGG-16 with three extra layers this is the released network: 13 + 3 suppressed activations, before the pools.
    With the control "off" it is that of models/vgg_refine.py. On another backbone the extra layers have as many
    channels as its last map, at most 512 [ours].
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        suppression: SuppressionConfig,
        extra_layers: int,
        classes: int,
        *,
        initial: Literal["he", "small"] = "he",
    ) -> None:
        """
        Args:
            backbone: the pretrained part.
            suppression: put in the place of its activations and those of the extra layers.
            extra_layers: 3x3 convolutions between the backbone and the linear layer; at least 0. 3 [code].
            classes: C foreground classes.
            initial: of new convolutions: N(0, sqrt(2 / (k k outputs))) of the classification network, or
                N(0, 0.01) of the refinement network [code]. Biases start at 0.
        """
        super().__init__()
        self.backbone = build_backbone(backbone)
        suppress(self.backbone, suppression)
        inputs, width = self.backbone.channels, min(WIDTH, self.backbone.channels)
        self.tail = nn.Sequential()
        for _ in range(extra_layers):
            self.tail.extend([nn.Conv2d(inputs, width, 3, padding=1), activation(width, suppression)])
            inputs = width
        self.classifier = nn.Conv2d(inputs, classes, 1)
        for module in (*self.tail, self.classifier):
            if isinstance(module, nn.Conv2d):
                _initialise(module, initial)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`classification`: the multilabel soft margin on the averages of the class maps, mean over images and
        classes."""
        scores = self.class_maps(batch.images, batch.labels).mean(dim=(2, 3)).float()
        return {"classification": functional.multilabel_soft_margin_loss(scores, batch.labels)}

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, h, w]: raw scores; labels are not used."""
        maps: Tensor = self.classifier(self.tail(self.backbone(images)["final"]))
        return maps

    def pretrained(self) -> Iterator[nn.Parameter]:
        """The backbone's own; the layers that were put into it are new [code: DRS's W is learned at 10 times the
        pretrained rate, like the extra convolutions]."""
        new = {id(p) for m in self.backbone.modules() if isinstance(m, Suppression) for p in m.parameters()}
        return (parameter for parameter in self.backbone.parameters() if id(parameter) not in new)

    def applied(self) -> dict[str, float | int | bool | str]:
        """What the layers really do, where there are any."""
        layers = [module for module in self.modules() if isinstance(module, Suppression)]
        if not layers:
            return {}
        learnable = layers[0].control is not None
        found: dict[str, float | int | bool | str] = {
            "suppression.control": "learnable" if learnable else "constant",
            "suppression.delta": layers[0].delta,
        }
        return found


def _initialise(convolution: nn.Conv2d, initial: Literal["he", "small"]) -> None:
    side = convolution.kernel_size[0]
    deviation = math.sqrt(2 / (side * side * convolution.out_channels)) if initial == "he" else 0.01
    nn.init.normal_(convolution.weight, std=deviation)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
