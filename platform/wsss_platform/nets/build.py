"""`build_backbone(config)`: a pretrained network with named taps and a chosen output stride."""

from __future__ import annotations

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.backbones.backbone import Backbone


def build_backbone(config: BackboneConfig) -> Backbone:
    """The network that a config names, with its initial weights.

    Raises:
        InputError: weights that are not available, or do not fit (missing and unexpected names are listed).
    """
    match config.name:
        case "resnet50":
            from wsss_platform.nets.backbones.resnet import ResNet50

            return ResNet50(config)
        case "efficientnet_lite0":
            from wsss_platform.nets.backbones.efficientnet_lite0 import EfficientNetLite0

            return EfficientNetLite0(config)
        case "vgg16":
            from wsss_platform.nets.backbones.vgg16 import VGG16

            return VGG16(config)
        case "wide_resnet38":
            from wsss_platform.nets.backbones.wide_resnet38 import WideResNet38

            return WideResNet38(config)
