"""VGG-16 (Simonyan & Zisserman, ICLR 2015) from torchvision at stride 8, as DRS and OC-CSE use it."""

from __future__ import annotations

from pathlib import Path

import torchvision
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.backbones.backbone import Backbone, download, load_strict, read_state

_LAYERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions of each stage."""
_CLASSIFIER = ("classifier.",)
"""Prefix of ImageNet's classifier in torchvision's files; not used here."""


class VGG16(Backbone):
    """torchvision's features without BatchNorm and classifier; state-dict names are torchvision's.

    Changed as in DRS (models/vgg.py, layout "D1"): the fourth pool is 3x3 with stride 1, the fifth is left out, and
    the convolutions of the fifth stage are dilated by 2. Pools 1 to 3 round up, so that a map at stride s has
    ceil(H / s) positions; where H is a multiple of 8, as in DRS, that is the same.

    "stage1".."stage5" are the last activations of the stages, at strides 1, 2, 4, 8, 8.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features())
        self.output_stride = 8
        self.taps = {f"stage{stage}": widths[-1] for stage, widths in enumerate(_LAYERS, start=1)} | {"final": 512}
        if config.weights == "none":
            self._random()
        elif config.weights == "imagenet":
            url = torchvision.models.VGG16_Weights.IMAGENET1K_V1.url
            load_strict(self, download(url, "vgg16"), "ImageNet weights of torchvision", unused=_CLASSIFIER)
        else:
            load_strict(self, read_state(Path(config.weights)), config.weights, unused=_CLASSIFIER)

    def _random(self) -> None:
        """torchvision's initial values: He's normal over outputs, biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> maps by tap name."""
        x = images
        maps: dict[str, Tensor] = {}
        for module in self.features:
            if isinstance(module, nn.MaxPool2d):
                maps[f"stage{len(maps) + 1}"] = x
            x = module(x)
        return {**maps, "stage5": x, "final": x}

    def stage_of(self, module: str) -> int:
        """1..5: one more than the pools before the module."""
        index = int(module.split(".")[1])
        return 1 + sum(isinstance(earlier, nn.MaxPool2d) for earlier in self.features[:index])


def _features() -> list[nn.Module]:
    modules: list[nn.Module] = []
    inputs = 3
    for stage, widths in enumerate(_LAYERS, start=1):
        dilation = 2 if stage == 5 else 1
        for outputs in widths:
            modules += [nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
            inputs = outputs
        if stage < 4:
            modules.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
        elif stage == 4:
            modules.append(nn.MaxPool2d(3, stride=1, padding=1))
    return modules
