"""WideResNet-38 (Wu, Shen & van den Hengel, 2016), model A1, at stride 8, as PSA, SEAM, EPS, PPC, FBR and RTC use it.

Written from jiwoon-ahn/psa, network/resnet38d.py [code], whose state-dict names are kept. ImageNet weights are the
authors' mxnet file (ilsvrc-cls_rna-a1_cls1000_ep-0001.params); `wsss-platform import-weights` turns it into ours.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from wsss_platform.config import BackboneConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.backbones.backbone import Backbone, load_strict, normaliser, read_state

_EPS = 1e-5
_BASIC = (
    # name, inputs, middle, outputs, stride, dilation of the first and of the second convolution
    ("b2", 64, 128, 128, 2, 1, 1),
    ("b2_1", 128, 128, 128, 1, 1, 1),
    ("b2_2", 128, 128, 128, 1, 1, 1),
    ("b3", 128, 256, 256, 2, 1, 1),
    ("b3_1", 256, 256, 256, 1, 1, 1),
    ("b3_2", 256, 256, 256, 1, 1, 1),
    ("b4", 256, 512, 512, 2, 1, 1),
    *((f"b4_{index}", 512, 512, 512, 1, 1, 1) for index in range(1, 6)),
    ("b5", 512, 512, 1024, 1, 1, 2),
    ("b5_1", 1024, 512, 1024, 1, 2, 2),
    ("b5_2", 1024, 512, 1024, 1, 2, 2),
)
_INPUT_TAPS = {"b4": "conv3", "b5": "conv4", "b6": "conv5"}
"""Block -> name of its activated input: what the field's code calls conv3 (RTC), conv4 and conv5."""
_NOT_TRAINED = ("conv1a", "b2", "b2_1", "b2_2")
"""Kept at their ImageNet values [code: not_training of PSA's, SEAM's, EPS's, FBR's and RTC's networks]."""


class WideResNet38(Backbone):
    """Pre-activation blocks; the last two are bottlenecks dilated by 4, with dropout.

    Taps: "conv3" (256, stride 4), "conv4" (512), "conv5" (1024) are activated inputs of blocks 4, 5 and 6, and
    "conv6" = "final" = ReLU(BN(block 7)) (4096), at stride 8. With loaded weights the first convolution and block 2
    are not trained. Frozen BatchNorm is what all those codes have.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        frozen = config.batch_norm == "frozen"
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        for name, *sizes in _BASIC:
            setattr(self, name, _Basic(*sizes, frozen=frozen))
        self.b6 = _Bottleneck(1024, 2048, dropout=0.3, frozen=frozen)
        self.b7 = _Bottleneck(2048, 4096, dropout=0.5, frozen=frozen)
        self.bn7 = normaliser(4096, _EPS, frozen=frozen)
        self.relu7 = nn.ReLU(inplace=True)
        self.output_stride = 8
        self.taps = {"conv3": 256, "conv4": 512, "conv5": 1024, "conv6": 4096, "final": 4096}
        if config.weights == "none":
            self._random(frozen)
            return
        if config.weights == "imagenet":
            raise InputError(
                "backbone.weights: 'imagenet' for wide_resnet38 is an mxnet file that its authors give out "
                "(ilsvrc-cls_rna-a1_cls1000_ep-0001.params); convert it with `wsss-platform import-weights FILE "
                "--as resnet38-mxnet --out wide_resnet38.pt` and set backbone.weights to that path, or to 'none'",
                field="backbone.weights",
            )
        load_strict(self, read_state(Path(config.weights)), config.weights)
        for name in _NOT_TRAINED:
            self.get_submodule(name).requires_grad_(False)

    def _random(self, frozen: bool) -> None:
        """He's normal initial values; with frozen statistics the residual branches are halved, or they explode."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if frozen and name.endswith(("2b1", "2b2")):
                    module.weight.data.mul_(0.5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> maps by tap name."""
        x = self.conv1a(images)
        maps: dict[str, Tensor] = {}
        for name in (*(name for name, *_ in _BASIC), "b6", "b7"):
            activated, x = getattr(self, name)(x)
            if name in _INPUT_TAPS:
                maps[_INPUT_TAPS[name]] = activated
        last = self.relu7(self.bn7(x))
        return {**maps, "conv6": last, "final": last}

    def stage_of(self, module: str) -> int:
        """1..6 of blocks 2..7; the last activation belongs to 6."""
        first = module.partition(".")[0]
        if first in ("bn7", "relu7"):
            return 6
        return int(first[1]) - 1 if first.startswith("b") else 0


class _Basic(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU. The shortcut is the input, or a 1x1 convolution of the
    activated input."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, stride: int, first: int, second: int, *, frozen: bool
    ) -> None:
        super().__init__()
        self.bn_branch2a = normaliser(inputs, _EPS, frozen=frozen)
        self.relu_branch2a = nn.ReLU()  # not in place: the input itself is the shortcut
        self.conv_branch2a = nn.Conv2d(inputs, middle, 3, stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = normaliser(middle, _EPS, frozen=frozen)
        self.relu_branch2b1 = nn.ReLU(inplace=True)
        self.conv_branch2b1 = nn.Conv2d(middle, outputs, 3, padding=second, dilation=second, bias=False)
        self.same_shape = inputs == outputs and stride == 1
        if not self.same_shape:
            self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(activated input, output)."""
        activated = self.relu_branch2a(self.bn_branch2a(x))
        shortcut = x if self.same_shape else self.conv_branch1(activated)
        y = self.relu_branch2b1(self.bn_branch2b1(self.conv_branch2a(activated)))
        return activated, shortcut + self.conv_branch2b1(y)


class _Bottleneck(nn.Module):
    """1x1, 3x3 dilated by 4, 1x1, each after BatchNorm and ReLU; channels are dropped before the last two."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float, frozen: bool) -> None:
        super().__init__()
        self.bn_branch2a = normaliser(inputs, _EPS, frozen=frozen)
        self.relu_branch2a = nn.ReLU()
        self.conv_branch2a = nn.Conv2d(inputs, outputs // 4, 1, bias=False)
        self.bn_branch2b1 = normaliser(outputs // 4, _EPS, frozen=frozen)
        self.relu_branch2b1 = nn.ReLU(inplace=True)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(outputs // 4, outputs // 2, 3, padding=4, dilation=4, bias=False)
        self.bn_branch2b2 = normaliser(outputs // 2, _EPS, frozen=frozen)
        self.relu_branch2b2 = nn.ReLU(inplace=True)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(outputs // 2, outputs, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(activated input, output)."""
        activated = self.relu_branch2a(self.bn_branch2a(x))
        y = self.relu_branch2b1(self.bn_branch2b1(self.conv_branch2a(activated)))
        y = self.relu_branch2b2(self.bn_branch2b2(self.conv_branch2b1(self.dropout_2b1(y))))
        return activated, self.conv_branch1(activated) + self.conv_branch2b2(self.dropout_2b2(y))
