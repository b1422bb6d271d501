"""WideResNet-38: against a plain transcription of its layer list, counts, taps, frozen parts, dropout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsss_platform.config import BackboneConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.backbones.wide_resnet38 import WideResNet38
from wsss_platform.nets.build import build_backbone

CONFIG = BackboneConfig(name="wide_resnet38", weights="none", output_stride=8)
TAPS = {"conv3": (256, 4), "conv4": (512, 8), "conv5": (1024, 8), "conv6": (4096, 8), "final": (4096, 8)}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    network = build_backbone(CONFIG)
    for name, value in network.named_buffers():  # statistics that do something
        if name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
        elif name.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("size", [(64, 48), (61, 47), (16, 16)], ids=str)
def test_taps(backbone: Backbone, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        maps = backbone.eval()(torch.randn(2, 3, *size))
    assert list(maps) == list(backbone.taps) == list(TAPS)
    for tap, (channels, stride) in TAPS.items():
        assert backbone.taps[tap] == channels
        assert maps[tap].shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride)), tap
        assert maps[tap].std() > 1e-3, f"{tap} carries no signal"
        assert maps[tap].min() == 0, f"{tap} is an activation"
    assert maps["conv6"] is maps["final"]


def _norm(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return ((x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]).clamp(min=0)


def _block(
    x: Tensor, state: Mapping[str, Tensor], name: str, stride: int, dilations: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """One block by the released names; (activated input, output). Dilation d pads d for 3x3 and nothing for 1x1."""
    activated = _norm(x, state, f"{name}.bn_branch2a")
    y = activated
    for index, (branch, dilation) in enumerate(zip(("2a", "2b1", "2b2"), dilations, strict=False)):
        if index:
            y = _norm(y, state, f"{name}.bn_branch{branch}")
        weight = state[f"{name}.conv_branch{branch}.weight"]
        own = stride if index == 0 else 1
        y = functional.conv2d(y, weight, None, own, dilation * (weight.shape[2] // 2), dilation)
    shortcut = state.get(f"{name}.conv_branch1.weight")
    return activated, y + (x if shortcut is None else functional.conv2d(activated, shortcut, None, stride))


def test_it_computes_what_the_released_layer_list_says(backbone: Backbone) -> None:
    """psa, network/resnet38d.py: strides 2 at b2, b3, b4; b5 dilated 1 then 2; b5_1, b5_2 by 2; b6, b7 by 4."""
    state, image = backbone.state_dict(), torch.randn(1, 3, 37, 44)
    with torch.inference_mode():
        x = functional.conv2d(image, state["conv1a.weight"], padding=1)
        for group, count in (("b2", 3), ("b3", 3), ("b4", 6)):
            for index in range(count):
                name = group if index == 0 else f"{group}_{index}"
                _, x = _block(x, state, name, 2 if index == 0 else 1, (1, 1))
        conv4, x = _block(x, state, "b5", 1, (1, 2))
        for name in ("b5_1", "b5_2"):
            _, x = _block(x, state, name, 1, (2, 2))
        conv5, x = _block(x, state, "b6", 1, (1, 4, 1))
        _, x = _block(x, state, "b7", 1, (1, 4, 1))
        maps = backbone.eval()(image)
        for tap, wanted in (("conv4", conv4), ("conv5", conv5), ("conv6", _norm(x, state, "bn7"))):
            torch.testing.assert_close(maps[tap], wanted, rtol=1e-3, atol=1e-3)


def test_counts(backbone: Backbone) -> None:
    def basic(inputs: int, middle: int, outputs: int) -> int:
        return 9 * inputs * middle + 9 * middle * outputs + (inputs != outputs) * inputs * outputs

    def bottleneck(inputs: int, outputs: int) -> int:
        return inputs * outputs // 4 + 9 * outputs // 4 * outputs // 2 + outputs // 2 * outputs + inputs * outputs

    wanted = 27 * 64 + basic(64, 128, 128) + 2 * basic(128, 128, 128)
    wanted += basic(128, 256, 256) + 2 * basic(256, 256, 256) + basic(256, 512, 512) + 5 * basic(512, 512, 512)
    wanted += basic(512, 512, 1024) + 2 * basic(1024, 512, 1024) + bottleneck(1024, 2048) + bottleneck(2048, 4096)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == wanted == 105_023_168
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    # 1 + 15 basic blocks of 2 + 2 bottlenecks of 3, and the shortcuts of b2, b3, b4, b5, b6, b7
    assert len(convolutions) == 1 + 15 * 2 + 2 * 3 + 6
    assert all(convolution.bias is None for convolution in convolutions)


def test_dropout_is_in_the_last_two_blocks_and_off_in_evaluation(backbone: Backbone) -> None:
    rates = {name: module.p for name, module in backbone.named_modules() if isinstance(module, nn.Dropout2d)}
    assert rates == {"b6.dropout_2b1": 0.3, "b6.dropout_2b2": 0.3, "b7.dropout_2b1": 0.5, "b7.dropout_2b2": 0.5}
    image = torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        backbone.train()
        assert not torch.equal(backbone(image)["final"], backbone(image)["final"])
        assert torch.equal(backbone(image)["conv5"], backbone(image)["conv5"])
        backbone.eval()
        assert torch.equal(backbone(image)["final"], backbone(image)["final"])


def test_with_loaded_weights_the_first_layers_are_not_trained(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = {name: value.shape for name, value in WideResNet38(CONFIG).state_dict().items()}
    path = tmp_path / "wide_resnet38.pt"
    one = torch.ones(1)  # one number in the file for each tensor
    torch.save({name: one.view([1] * len(shape)).expand(shape) for name, shape in names.items()}, path)
    network = build_backbone(BackboneConfig(name="wide_resnet38", weights=str(path), output_stride=8))
    assert all(bool((value == 1).all()) for value in network.state_dict().values())
    still = {name.split(".")[0] for name, value in network.named_parameters() if not value.requires_grad}
    moving = {name.split(".")[0] for name, value in network.named_parameters() if value.requires_grad}
    assert still == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not still & moving
    assert {"b3", "b4_5", "b7"} <= moving


def test_imagenet_by_name_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"import-weights FILE --as resnet38-mxnet"):
        build_backbone(BackboneConfig(name="wide_resnet38", output_stride=8))
