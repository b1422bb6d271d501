"""The CAM classifier: pooling before or after its linear layer, and its loss."""

from __future__ import annotations

import torch

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.cam_classifier import CamClassifier
from wsss_platform.objective import Batch


def test_loss_is_the_soft_margin_of_pooled_features() -> None:
    torch.manual_seed(0)
    objective = CamClassifier(BackboneConfig(weights="none"), 3)
    images, labels = torch.randn(2, 3, 64, 48), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    batch = Batch(["a", "b"], images, labels, torch.ones(2, 64, 48, dtype=torch.bool))
    pooled = objective.backbone(images)["final"].mean((2, 3))
    logits = pooled @ objective.classifier.weight[:, :, 0, 0].T
    probability = logits.sigmoid()
    wanted = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()
    torch.testing.assert_close(objective.losses(batch, 0.0)["classification"], wanted)
    assert objective.class_maps(images, labels).min() < 0, "class maps are raw scores, without activation"
