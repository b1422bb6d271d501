"""The convolution with its activation in one pass gives what the two give, and is used where it should be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from wsss_platform.config import BackboneConfig, SuppressionConfig
from wsss_platform.nets.backbones import efficientnet_lite0
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.cpu.fused import convolve, fuses
from wsss_platform.nets.folding import fold
from wsss_platform.nets.heads.suppression import suppress

SHAPES = [
    # channels, filters, kernel, stride, dilation, groups
    (24, 40, 1, 1, 1, 1),
    (3, 32, 3, 2, 1, 1),
    (48, 48, 3, 1, 1, 48),
    (48, 48, 5, 2, 1, 48),
    (48, 48, 5, 1, 2, 48),
]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("channels", "filters", "kernel", "stride", "dilation", "groups"), SHAPES)
def test_as_the_convolution_and_relu6(
    channels: int,
    filters: int,
    kernel: int,
    stride: int,
    dilation: int,
    groups: int,
    batch: int,
    layout: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, filters, kernel, stride, dilation=dilation, groups=groups)
    x = (3 * torch.randn(batch, channels, 37, 50)).contiguous(memory_format=layout)
    padding = (dilation * (kernel // 2), dilation * (kernel // 2) + 1)
    with torch.no_grad():
        assert fuses(x)
        expected = functional.conv2d(x, layer.weight, layer.bias, stride, padding, dilation, groups)
        for clamped, wanted in ((False, expected), (True, functional.relu6(expected))):
            torch.testing.assert_close(convolve(x, layer, padding, clamped), wanted, rtol=1e-5, atol=1e-5)
        assert (expected < 0).any(), "the activation has something to do"


def test_only_looking_on_a_cpu_in_single_precision() -> None:
    x = torch.zeros(1, 3, 4, 4)
    assert not fuses(x), "a gradient may be wanted"
    with torch.inference_mode():
        assert fuses(x)
        assert not fuses(x.double())
        assert not fuses(x.bfloat16())
        assert not fuses(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not fuses(x)


@pytest.mark.parametrize("suppressed", [False, True])
def test_a_folded_network_uses_it_for_every_convolution(suppressed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sizes whose "SAME" padding is uneven; a suppression's maximum must not see what is dropped there."""
    torch.manual_seed(0)
    network = build_backbone(BackboneConfig(weights="none", batch_norm="frozen")).eval()
    if suppressed:
        suppress(network, SuppressionConfig(control="constant", delta=0.5, placement="all"))
    images = torch.randn(2, 3, 46, 64)
    used: list[bool] = []

    def counted(x: torch.Tensor, layer: nn.Conv2d, padding: tuple[int, int], clamped: bool) -> torch.Tensor:
        used.append(clamped)
        return convolve(x, layer, padding, clamped)

    monkeypatch.setattr(efficientnet_lite0, "convolve", counted)
    with torch.no_grad():
        before = network(images)
        assert not used, "not folded"
        fold(network)
        after = network(images)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert len(used) == convolutions
    assert sum(used) == sum(isinstance(module, nn.ReLU6) for module in network.modules())
    for tap, expected in before.items():
        torch.testing.assert_close(after[tap], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
