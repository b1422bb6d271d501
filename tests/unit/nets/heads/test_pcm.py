"""SEAM's pixel correlation against loops, and which taps it reads."""

from __future__ import annotations

import math

import pytest
import torch

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.pcm import PixelCorrelation, correlation_taps


def _module() -> PixelCorrelation:
    torch.manual_seed(0)
    return PixelCorrelation(5, 7)


def test_it_is_the_formula() -> None:
    module = _module()
    maps, images = torch.rand(2, 3, 3, 4), torch.randn(2, 3, 3, 4)
    low, high = torch.randn(2, 5, 3, 4), torch.randn(2, 7, 3, 4)
    found = module(maps, images, low, high)
    assert found.shape == maps.shape
    weights = [layer.weight.detach()[:, :, 0, 0] for layer in (module.low, module.high, module.mix)]
    for b in range(2):
        vectors = []
        for n in range(12):
            y, x = divmod(n, 4)
            parts = [images[b, :, y, x], (weights[0] @ low[b, :, y, x]).relu(), (weights[1] @ high[b, :, y, x]).relu()]
            f = weights[2] @ torch.cat(parts)
            vectors.append(f / (math.sqrt(float(f @ f)) + 1e-5))
        alike = [[max(0.0, float(vectors[i] @ vectors[j])) for j in range(12)] for i in range(12)]
        for j in range(12):
            total = sum(alike[i][j] for i in range(12)) + 1e-5
            for c in range(3):
                wanted = sum(float(maps[b, c, i // 4, i % 4]) * alike[i][j] / total for i in range(12))
                assert float(found[b, c, j // 4, j % 4].detach()) == pytest.approx(wanted, abs=1e-5)


def test_taps_and_images_are_brought_to_the_maps_size() -> None:
    module = _module()
    maps = torch.rand(1, 2, 4, 4)
    found = module(maps, torch.randn(1, 3, 32, 32), torch.randn(1, 5, 8, 8), torch.randn(1, 7, 4, 4))
    assert found.shape == maps.shape
    affinity = module.affinity(
        torch.randn(1, 3, 32, 32), torch.randn(1, 5, 8, 8), torch.randn(1, 7, 4, 4), torch.Size((4, 4))
    )
    torch.testing.assert_close(affinity.sum(1), torch.ones(1, 16), atol=1e-4, rtol=0)
    assert (affinity >= 0).all()


def test_it_trains_itself_and_not_the_backbone() -> None:
    module = _module()
    low, high = (torch.randn(1, channels, 4, 4, requires_grad=True) for channels in (5, 7))
    module(torch.rand(1, 2, 4, 4), torch.randn(1, 3, 8, 8), low, high).square().sum().backward()
    assert low.grad is None
    assert high.grad is None
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


def test_equal_positions_share_equally() -> None:
    module = _module()
    ones = [torch.ones(1, channels, 2, 2) for channels in (3, 5, 7)]
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    torch.testing.assert_close(module(maps, *ones), torch.full((1, 1, 2, 2), 1.5), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "stride", "taps"),
    [
        ("efficientnet_lite0", 16, ("stage3", "stage4")),
        ("resnet50", 16, ("stage3", "stage4")),
        ("vgg16", 8, ("stage4", "stage5")),
        ("wide_resnet38", 8, ("conv4", "conv5")),
    ],
)
def test_which_taps_it_reads(name: str, stride: int, taps: tuple[str, str]) -> None:
    config = BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride})
    with torch.device("meta"):
        assert correlation_taps(build_backbone(config)) == taps
