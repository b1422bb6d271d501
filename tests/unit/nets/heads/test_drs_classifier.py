"""The classifier of DRS: counts and groups of the released network, its loss, its initial values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wsss_platform.config import BackboneConfig, SuppressionConfig, TrainConfig
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.drs_classifier import DrsClassifier
from wsss_platform.nets.heads.suppression import Suppression

VGG = BackboneConfig(name="vgg16", weights="none", output_stride=8)
LITE = BackboneConfig(weights="none")
OFF = SuppressionConfig(control="off")


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_counts_are_those_of_the_released_network() -> None:
    plain, learnable = DrsClassifier(VGG, OFF, 3, 20), DrsClassifier(VGG, SuppressionConfig(), 3, 20)
    constant = DrsClassifier(VGG, SuppressionConfig(control="constant"), 3, 20)
    # torchvision's features, three 3x3 convolutions 512 -> 512 with bias, a 1x1 to 20 classes with bias
    assert _weights(plain) == 14_714_688 + 3 * (512 * 512 * 9 + 512) + 512 * 20 + 20
    # W of each of the 16 layers: 2 of 64, 2 of 128, 3 of 256, 6 + 3 of 512 channels
    squares = 2 * 64**2 + 2 * 128**2 + 3 * 256**2 + 9 * 512**2
    assert _weights(learnable) - _weights(plain) == squares == 2_596_864
    assert _weights(constant) == _weights(plain)
    assert sum(isinstance(module, Suppression) for module in learnable.modules()) == 16
    assert not any(isinstance(module, Suppression) for module in plain.modules())


@pytest.mark.parametrize(("layers", "channels"), [(0, 1280), (2, 512)])
def test_on_another_backbone_the_extra_layers_are_at_most_512_wide(layers: int, channels: int) -> None:
    training_module = DrsClassifier(LITE, SuppressionConfig(), layers, 5)
    images = torch.randn(2, 3, 61, 47)
    with torch.inference_mode():
        features = training_module.tail(training_module.backbone(images)["final"])
        assert features.shape == (2, channels, 4, 3)
        torch.testing.assert_close(
            training_module.class_maps(images, torch.zeros(2, 5)), training_module.classifier(features)
        )


def test_loss_is_the_soft_margin_of_pooled_maps() -> None:
    torch.manual_seed(0)
    training_module = DrsClassifier(LITE, SuppressionConfig(), 1, 3)
    images, labels = torch.randn(2, 3, 64, 48), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    batch = Batch(["a", "b"], images, labels, torch.ones(2, 64, 48, dtype=torch.bool))
    logits = training_module.class_maps(images, labels).mean((2, 3)).tolist()
    total = 0.0
    for b in range(2):
        for c in range(3):
            probability = 1 / (1 + math.exp(-logits[b][c]))
            total -= math.log(probability if labels[b, c] else 1 - probability)
    assert float(training_module.losses(batch, 0.0)["classification"].detach()) == pytest.approx(total / 6, rel=1e-4)


def test_groups_are_the_released_ones() -> None:
    """DRS, scripts/train_cls.py: lr x 1, 2, 10, 20, weight decay on every one; names with "extra" or "fc" are new."""
    training_module = DrsClassifier(VGG, SuppressionConfig(), 3, 20)
    train = TrainConfig(learning_rate=1e-3, weight_decay=5e-4, bias_factor=2, decay_biases=True)
    groups = {group["name"]: group for group in training_module.param_groups(train)}
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates == pytest.approx({"pretrained": 1e-3, "pretrained_biases": 2e-3, "new": 1e-2, "new_biases": 2e-2})
    assert all(group["weight_decay"] == 5e-4 for group in groups.values())
    assert {name: len(group["params"]) for name, group in groups.items()} == {
        "pretrained": 13,
        "pretrained_biases": 13,
        "new": 16 + 4,  # the layers' W, the extra convolutions and the linear layer
        "new_biases": 4,
    }
    together = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(together) == sorted(id(parameter) for parameter in training_module.parameters())


@pytest.mark.parametrize(("initial", "extra", "last"), [("he", math.sqrt(2 / (9 * 512)), 0.1), ("small", 0.01, 0.01)])
def test_initial_values(initial: str, extra: float, last: float) -> None:
    training_module = DrsClassifier(VGG, OFF, 3, 200, initial=initial)  # type: ignore[arg-type]
    convolutions = [module for module in training_module.tail if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3
    for convolution in convolutions:
        assert float(convolution.weight.detach().std()) == pytest.approx(extra, rel=0.02)
        assert convolution.bias is not None
        assert not convolution.bias.any()
    assert float(training_module.classifier.weight.detach().std()) == pytest.approx(last, rel=0.03)
    assert training_module.classifier.bias is not None
    assert not training_module.classifier.bias.any()


def test_applied_is_read_from_the_layers() -> None:
    config = SuppressionConfig(control="constant", delta=0.7)
    assert DrsClassifier(LITE, config, 1, 3).applied() == {"suppression.control": "constant", "suppression.delta": 0.7}
    assert DrsClassifier(LITE, OFF, 1, 3).applied() == {}
