"""ResNet-50 (He et al., CVPR 2016) from torchvision, with an output stride and named taps."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.backbones.backbone import Backbone, download, load_strict, normaliser, read_state

_STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNet50(Backbone):
    """torchvision's ResNet-50 without its classifier; state-dict names are torchvision's.

    Stride 16 is IRN's strides (2, 2, 2, 1): the last stage's stride is 1 and nothing is dilated (irn
    net/resnet50.py, dilations 1). Stride 8 dilates the last two stages by 2 and 4 (torchvision's
    replace_stride_with_dilation). With pretrained weights the stem convolution is not trained, as in IRN and AMN.
    "stem" is its pooled output, at stride 4.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        frozen = config.batch_norm == "frozen"
        dilate = config.output_stride == 8
        network = ResNet(
            _Bottleneck,
            [3, 4, 6, 3],
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
        self.taps = {"stem": 64, "stage1": 256, "stage2": 512, "stage3": 1024, "stage4": 2048, "final": 2048}
        if config.weights == "none":
            self._random(frozen)
        elif config.weights == "imagenet":
            # IMAGENET1K_V1, the weights that the field uses (V2 comes from another training recipe).
            url = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
            load_strict(self, download(url, "resnet50"), "ImageNet weights of torchvision", unused=("fc.",))
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
        maps = {"stem": x}  # stride 4; IRN's boundary branch reads it
        for index, stage in enumerate(_STAGES, start=1):
            x = maps[f"stage{index}"] = getattr(self, stage)(x)
        return {**maps, "final": x}

    def stage_of(self, module: str) -> int:
        """1..4 of "layer1".."layer4"."""
        first = module.partition(".")[0]
        return 1 + _STAGES.index(first) if first in _STAGES else 0


class _Bottleneck(Bottleneck):  # type: ignore[misc]  # torchvision has no types
    """torchvision's block with one module for each of its three activations, which share one there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.relu2, self.relu3 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu3(y)
        return activated
