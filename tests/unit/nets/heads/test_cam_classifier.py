"""The CAM classifier: pooling before or after its linear layer, and its loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wsss_platform.config import BackboneConfig
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.cam_classifier import CamClassifier


def test_loss_is_the_soft_margin_of_pooled_features() -> None:
    torch.manual_seed(0)
    training_module = CamClassifier(BackboneConfig(weights="none"), 3)
    images, labels = torch.randn(2, 3, 64, 48), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    batch = Batch(["a", "b"], images, labels, torch.ones(2, 64, 48, dtype=torch.bool))
    pooled = training_module.backbone(images)["final"].mean((2, 3))
    logits = pooled @ training_module.classifier.weight[:, :, 0, 0].T
    probability = logits.sigmoid()
    wanted = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()
    torch.testing.assert_close(training_module.losses(batch, 0.0)["classification"], wanted)
    assert training_module.class_maps(images, labels).min() < 0, "class maps are raw scores, without activation"


STRIDES = {"efficientnet_lite0": 16, "resnet50": 16, "vgg16": 8, "wide_resnet38": 8}


@pytest.mark.parametrize("name", STRIDES)
def test_it_trains_on_every_backbone(name: str) -> None:
    """One step at an odd size: the term falls, and what is frozen stays."""
    torch.manual_seed(0)
    stride = STRIDES[name]
    config = BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride})
    training_module = CamClassifier(config, 3).train()
    for module in training_module.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    frozen = {key: value.clone() for key, value in training_module.named_buffers()}
    images, labels = torch.randn(2, 3, 61, 47), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    batch = Batch(["a", "b"], images, labels, torch.ones(2, 61, 47, dtype=torch.bool))
    assert training_module.class_maps(images, labels).shape == (2, 3, -(-61 // stride), -(-47 // stride))
    loss = training_module.losses(batch, 0.0)["classification"]
    loss.backward()
    with torch.no_grad():
        length = (
            torch.stack([p.grad.square().sum() for p in training_module.parameters() if p.grad is not None])
            .sum()
            .sqrt()
        )
        for parameter in training_module.parameters():
            assert parameter.grad is not None
            parameter -= 1e-2 * parameter.grad / length
        assert training_module.losses(batch, 0.0)["classification"] < loss
    assert all(torch.equal(value, frozen[key]) for key, value in training_module.named_buffers())


def test_image_scores_are_the_probabilities_that_are_trained() -> None:
    """The soft margin is the cross-entropy of the sigmoid of the averages."""
    torch.manual_seed(0)
    training_module = CamClassifier(BackboneConfig(weights="none"), 3).eval()
    images, labels = torch.randn(2, 3, 64, 48), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    batch = Batch(["a", "b"], images, labels, torch.ones(2, 64, 48, dtype=torch.bool))
    with torch.no_grad():
        scores = training_module.image_scores(images)
        loss = training_module.losses(batch, 0.0)["classification"]
    torch.testing.assert_close(torch.nn.functional.binary_cross_entropy(scores, labels), loss)
