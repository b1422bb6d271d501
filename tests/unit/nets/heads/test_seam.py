"""SEAM's functions of class maps against loops, and their limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsss_platform.nets.heads.seam import evidence, farthest, min_pooling

LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def _maps(height: int = 4, width: int = 5, seed: int = 0) -> Tensor:
    """[2, 1 + 3, h, w], background first."""
    return 3 * torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(seed))


def _places(maps: Tensor) -> list[tuple[int, int]]:
    return [(y, x) for y in range(maps.shape[2]) for x in range(maps.shape[3])]


def test_evidence_keeps_the_best_class_and_gives_the_rest_to_the_background() -> None:
    maps = _maps()
    found = evidence(maps)
    for b in range(2):
        highest = [max(0.0, float(maps[b, c].max())) for c in range(1, 4)]
        for y, x in _places(maps):
            scores = [max(0.0, max(0.0, float(maps[b, c + 1, y, x])) - 1e-5) / (highest[c] + 1e-5) for c in range(3)]
            best = max(scores)
            assert float(found[b, 0, y, x]) == pytest.approx(1 - best, abs=1e-5)
            for c in range(3):
                wanted = scores[c] if scores[c] == best else 0.0
                assert float(found[b, c + 1, y, x]) == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(evidence(-torch.ones(1, 3, 2, 2))[:, 0], torch.ones(1, 2, 2)), "nothing is all background"


def test_min_pooling_is_the_mean_of_the_lowest_quarter() -> None:
    refined = _maps(4, 6)
    total = 0.0
    for b in range(2):
        best = [max(float(LABELS[b, c] * refined[b, c + 1, y, x]) for c in range(3)) for y, x in _places(refined)]
        total += sum(max(0.0, value) for value in sorted(best)[:6])
    assert float(min_pooling(refined, LABELS)) == pytest.approx(total / 12, abs=1e-6)
    assert float(min_pooling(torch.ones(1, 4, 1, 1), torch.ones(1, 3))) == 1, "a map of one position"
    assert float(min_pooling(torch.ones(2, 4, 4, 4), torch.zeros(2, 3))) == 0


def test_farthest_is_the_mean_of_the_largest_distances_of_each_image() -> None:
    one, other = _maps(), _maps(seed=1)
    total = 0.0
    for image in range(2):
        distances = sorted((float(v) for v in (one - other)[image].abs().flatten()), reverse=True)
        total += sum(distances[:16]) / 16
    assert float(farthest(one, other, 0.2)) == pytest.approx(total / 2, rel=1e-5)
    assert float(farthest(one, one, 0.2)) == 0
    assert float(farthest(one[:1, :1, :1, :1], other[:1, :1, :1, :1], 0.2)) > 0, "one position is enough"
