"""Winograd's form of a convolution: the same numbers as the direct form, and only where it serves."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.cpu.winograd import QuickConvolution, pays, quicken, transformed_weight, winograd


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 8), (13, 10), (24, 33)])
@pytest.mark.parametrize("channels", [(3, 5), (130, 128)])
def test_it_is_the_convolution(size: tuple[int, int], dilation: int, channels: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels[0], *size, generator=generator)
    weight, bias = (
        torch.randn(shape, generator=generator) for shape in ((channels[1], channels[0], 3, 3), channels[1:])
    )
    expected = functional.conv2d(x.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation)
    for given in (x, x.to(memory_format=torch.channels_last)):
        found = winograd(given, transformed_weight(weight), bias, dilation)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5
    bare = winograd(x, transformed_weight(weight), None, dilation)
    assert bare.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(bare + bias.view(-1, 1, 1), found, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 2},
        {"padding": 0},
        {"padding": 2},
        {"groups": 128},
        {"kernel_size": 5, "padding": 2},
        {"in_channels": 64},
        {"out_channels": 64},
        {"padding_mode": "reflect"},
        {"dilation": (1, 2), "padding": (1, 2)},
        {"dtype": torch.float64},
    ],
)
def test_other_convolutions_stay(change: dict[str, object]) -> None:
    usual: dict[str, object] = {"in_channels": 128, "out_channels": 128, "kernel_size": 3, "padding": 1}
    network = nn.Sequential(nn.Conv2d(**usual), nn.Conv2d(**{**usual, **change}))  # type: ignore[arg-type]
    quicken(network)
    assert [type(module) for module in network] == [QuickConvolution, nn.Conv2d]


def test_bands_of_tiles_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(2, 8, 45, 38), transformed_weight(torch.randn(4, 8, 3, 3))
    whole = winograd(x, weight, None, 2)
    for values in (1, 36 * 2 * 5 * 4 * 8 * 2):  # a row of tiles, two rows
        monkeypatch.setattr("wsss_platform.nets.cpu.winograd._AT_ONCE", values)
        torch.testing.assert_close(winograd(x, weight, None, 2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dilation", "expected"),
    [
        ((2, 128, 24, 32), 1, True),
        ((2, 128, 8, 8), 1, True),
        ((2, 128, 47, 63), 2, True),
        ((2, 128, 8, 8), 6, False),  # nine times as many positions
        ((2, 128, 5, 5), 1, False),
        ((1, 128, 8, 8), 1, False),  # four tiles
        ((0, 128, 24, 32), 1, False),
        ((128, 24, 32), 1, False),
    ],
)
def test_maps_that_fill_the_tiles_badly_take_the_direct_form(
    shape: tuple[int, ...], dilation: int, expected: bool
) -> None:
    assert pays(shape, dilation) == expected
    usual = nn.Conv2d(128, 128, 3, padding=dilation, dilation=dilation)
    network = nn.Sequential(usual)
    quicken(network)
    x = torch.randn(shape)
    with torch.no_grad():
        found = network(x)
        assert found.shape == usual(x).shape
        assert expected or torch.equal(found, usual(x))


def test_the_first_ones_come_first_as_far_as_memory_goes() -> None:
    network = nn.Sequential(*(nn.Conv2d(128, count, 3, padding=1) for count in (128, 512, 128, 128)))
    quicken(network, memory=2 * 4 * 36 * 128 * 128)
    for _ in range(2):  # the second finds nothing left
        assert [isinstance(module, QuickConvolution) for module in network] == [True, False, True, False]
        quicken(network, memory=2 * 4 * 36 * 128 * 128)


def test_gradients_and_other_precisions_take_the_direct_form() -> None:
    torch.manual_seed(0)
    usual = nn.Conv2d(128, 128, 3, padding=1)
    network = nn.Sequential(usual)
    quicken(network)
    x = torch.randn(1, 128, 12, 12)
    assert torch.equal(network(x), usual(x))
    network(x).sum().backward()
    assert usual.weight.grad is not None
    with torch.no_grad():
        assert not torch.equal(network(x), usual(x)), "without gradients another sum, off by rounding"
        expected = usual(x)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(network(x), usual(x))
        assert torch.equal(network.double()(x.double()), usual(x.double()))


@pytest.mark.parametrize(
    ("name", "stride", "count"),
    [("resnet50", 16, 11), ("vgg16", 8, 10), ("wide_resnet38", 8, 15), ("efficientnet_lite0", 16, 0)],
)
@torch.no_grad()
def test_networks_give_the_same(name: str, stride: int, count: int) -> None:
    torch.manual_seed(0)
    config = {"name": name, "output_stride": stride, "weights": "none"}
    network = build_backbone(BackboneConfig.model_validate(config)).eval()
    images = torch.randn(1, 3, 181, 256)
    before = network(images)
    quicken(network)
    after = network(images)
    for tap, expected in before.items():
        torch.testing.assert_close(after[tap], expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))
    assert sum(isinstance(module, QuickConvolution) for module in network.modules()) == count


def test_weights_are_transformed_when_they_are_needed() -> None:
    network = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.Conv2d(128, 128, 3, padding=1))
    quicken(network)
    with torch.inference_mode():
        network[0](torch.randn(1, 128, 12, 12))
    assert [module._transformed is None for module in network] == [False, True]
