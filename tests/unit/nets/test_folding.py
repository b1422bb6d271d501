"""A folded network gives the same maps; nothing else is folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.backbones.backbone import Backbone, FrozenBatchNorm
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.folding import fold

CASES = [("resnet50", 16), ("resnet50", 8), ("efficientnet_lite0", 16), ("wide_resnet38", 8), ("vgg16", 8)]


def _network(name: str, stride: int, batch_norm: str) -> Backbone:
    """With random weights, and statistics that are not those of an identity."""
    torch.manual_seed(0)
    config = {"name": name, "output_stride": stride, "weights": "none", "batch_norm": batch_norm}
    network = build_backbone(BackboneConfig.model_validate(config)).eval()
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm | nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data.mul_(torch.empty_like(tensor).uniform_(0.7, 1.3))
            for tensor in (module.bias, module.running_mean):
                tensor.data.add_(torch.empty_like(tensor).uniform_(-0.1, 0.1))
    return network


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
@pytest.mark.parametrize(("name", "stride"), CASES)
@torch.no_grad()
def test_folded_networks_give_the_same(name: str, stride: int, batch_norm: str) -> None:
    network = _network(name, stride, batch_norm)
    images = torch.randn(1, 3, 45, 64)
    before = network(images)
    names = {name for pair in network.normalised() for name in pair}
    fold(network)
    after = network(images)
    for tap, expected in before.items():
        torch.testing.assert_close(after[tap], expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))
    left = [name for name, module in network.named_modules() if isinstance(module, FrozenBatchNorm | nn.BatchNorm2d)]
    assert not names & set(left)
    if name in ("resnet50", "efficientnet_lite0"):
        assert not left  # every one of theirs follows a convolution
    fold(network)  # nothing is left to do
    torch.testing.assert_close(network(images)["final"], after["final"], rtol=0, atol=0)


def test_a_wrong_fold_would_show() -> None:
    network, images = _network("resnet50", 16, "frozen"), torch.randn(1, 3, 45, 64)
    with torch.no_grad():
        before = network(images)["final"]
        fold(network)
        network.get_submodule("layer3.2.conv2").bias.add_(0.1)  # type: ignore[operator]
        assert (network(images)["final"] - before).abs().max() > 1e-2 * before.abs().max()
