"""FBR on AMN gives the numbers that it gave before its plug-in part was a module of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.module import FbrModule
from wsss_platform.config import override
from wsss_platform.method.module import Batch

# Of the code that also gave that time's numbers; from fixed arrays, because processors round networks differently.
RECORDED: dict[str, list[dict[str, float]]] = {
    "paper": [
        {
            "classification": 10.2555943,
            "decorrelation": 0.3247145,
            "intra_foreground": 2.5636886,
            "negative_regions": 2.5300933,
        },
        {
            "classification": 8.4969940,
            "decorrelation": 0.3320959,
            "intra_foreground": 2.6979258,
            "negative_regions": 2.6998351,
        },
    ],
    "as_released": [
        {
            "classification": 10.2555943,
            "decorrelation": 0.3247145,
            "intra_foreground": 2.7331975,
            "negative_regions": 2.2147787,
        },
        {
            "classification": 8.4969940,
            "decorrelation": 0.3320959,
            "intra_foreground": 2.6692437,
            "negative_regions": 2.3010989,
        },
    ],
}


def _config(variant: str) -> FbrConfig:
    small: dict[str, Any] = {"backbone.weights": "none", "heads.projection": 8, "heads.dilations": [1, 2]}
    return override(
        FbrConfig(), {**small, "sampling.bank_size": 60, "sampling.negatives": 12, "sampling.variant": variant}
    )


def _batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(3, 3, 48, 48, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])
    seed = torch.randint(0, 4, (3, 48, 48), generator=generator)
    seed[0, :8] = 255
    valid = torch.ones(3, 48, 48, dtype=torch.bool)
    valid[1, 32:] = False
    return Batch(["0", "1", "2"], images, labels, valid, {"seed": seed})


def _fixed(*shape: int, seed: int) -> Tensor:
    """Numbers from -0.5 to 0.5 that are the same on every machine."""
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32) - 0.5)


@pytest.mark.parametrize("variant", ["paper", "as_released"])
def test_the_terms_are_the_recorded_ones(variant: str) -> None:
    """Two batches of fixed features through fixed weights: the second meets what the first left in the bank."""
    torch.manual_seed(0)
    module = FbrModule(_config(variant), 3).train()
    assert int(module.contrast.draw_seed) == 2009720019
    module.dropout = torch.nn.Identity()
    trained = [*module.classifier.parameters(), *module.contrast.parameters()]
    for place, weight in enumerate(trained):
        weight.data = _fixed(*weight.shape, seed=place)
    for step, recorded in enumerate(RECORDED[variant]):
        features = _fixed(3, module.backbone.channels, 6, 6, seed=100 + step)
        module.features = lambda images, labels, given=features: given
        terms = module.losses(_batch(step), 0.0)
        assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(recorded, rel=1e-4)
