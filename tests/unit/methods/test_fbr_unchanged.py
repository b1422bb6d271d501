"""FBR on AMN gives the numbers that it gave before its plug-in part was a module of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.objective import FbrObjective
from wsss_platform.config import override
from wsss_platform.objective import Batch

# Recorded from the code of that time, steps of SGD on noise.
RECORDED: dict[str, list[dict[str, float]]] = {
    "paper": [
        {
            "classification": 1.3941195011138916,
            "decorrelation": 0.29842716455459595,
            "intra_foreground": 1.6182032823562622,
            "negative_regions": 1.2486827373504639,
        },
        {
            "classification": 1.3906841278076172,
            "decorrelation": 0.39447733759880066,
            "intra_foreground": 2.6493337154388428,
            "negative_regions": 2.1898372173309326,
        },
    ],
    "as_released": [
        {
            "classification": 1.3941195011138916,
            "decorrelation": 0.29842716455459595,
            "intra_foreground": 2.5754482746124268,
            "negative_regions": 2.548997402191162,
        },
        {
            "classification": 1.390681505203247,
            "decorrelation": 0.3940252959728241,
            "intra_foreground": 2.55568265914917,
            "negative_regions": 2.7577857971191406,
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


@pytest.mark.parametrize("variant", ["paper", "as_released"])
def test_the_terms_are_the_recorded_ones(variant: str) -> None:
    config = _config(variant)
    torch.manual_seed(0)
    objective = FbrObjective(config, 3).train()
    optimiser = torch.optim.SGD(objective.param_groups(config.train), momentum=0.9)
    weights = config.loss.model_dump()
    for step, recorded in enumerate(RECORDED[variant]):
        torch.manual_seed(step)
        terms = objective.losses(_batch(step), 0.0)
        assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(recorded, rel=1e-4)
        optimiser.zero_grad()
        torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
        optimiser.step()
    assert int(objective.contrast.draw_seed) == 2009720019
