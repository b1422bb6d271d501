"""ResNet-50 (He et al., CVPR 2016) from torchvision, with an output stride and named taps."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.backbone import Backbone, load_strict, normaliser, read_state

_STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNet50(Backbone):
    """torchvision's ResNet-50 without its classifier; state-dict names are torchvision's.

    Stride 16 is IRN's strides (2, 2, 2, 1): the last stage's stride is 1 and nothing is dilated (irn
    net/resnet50.py, dilations 1). Stride 8 dilates the last two stages by 2 and 4 (torchvision's
    replace_stride_with_dilation). With pretrained weights the stem convolution is not trained, as in IRN and AMN.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        frozen = config.batch_norm == "frozen"
        dilate = config.output_stride == 8
        network = torchvision.models.resnet50(
            replace_stride_with_dilation=[False, dilate, dilate],
            norm_layer=partial(normaliser, eps=1e-5, frozen=frozen),
        )
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        for stage in _STAGES:
            setattr(self, stage, getattr(network, stage))
        if config.output_stride == 16:
            first = network.layer4[0]
            first.conv2.stride = (1, 1)
            first.downsample[0].stride = (1, 1)
        self.output_stride = config.output_stride
        self.taps = {"stage1": 256, "stage2": 512, "stage3": 1024, "stage4": 2048, "final": 2048}
        if config.weights == "none":
            self._random(frozen)
        elif config.weights == "imagenet":
            load_strict(self, _download(), "ImageNet weights of torchvision", unused=("fc.",))
        else:
            load_strict(self, read_state(Path(config.weights)), config.weights, unused=("fc.",))
        self.conv1.weight.requires_grad_(config.weights == "none")

    def _random(self, frozen: bool) -> None:
        """torchvision's initial values; with frozen statistics the residual branches are halved, or they explode."""
        if frozen:
            for name, module in self.named_modules():
                if name.endswith("bn3"):
                    nn.init.constant_(module.weight, 0.5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> maps by tap name."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = {}
        for index, stage in enumerate(_STAGES, start=1):
            x = maps[f"stage{index}"] = getattr(self, stage)(x)
        return {**maps, "final": x}


def _download() -> dict[str, Tensor]:
    """IMAGENET1K_V1, the weights that the field uses (V2 comes from another training recipe)."""
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(weights.url, progress=False, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"backbone.weights: 'imagenet' for resnet50 could not be fetched from {weights.url} ({error}); "
            "download it elsewhere and set backbone.weights to the file's path, or to 'none' for random values"
        ) from None
    return state
