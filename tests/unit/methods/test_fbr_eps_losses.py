"""The terms of PPC on EPS against references written as loops, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_methods.fbr.on_eps.losses import (
    background_target,
    consistency,
    saliency_loss,
    thresholded_average,
    to_prototypes,
    winners,
)
from wsss_platform.nets.heads.seam import stretched

LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def _maps(height: int = 4, width: int = 5, seed: int = 0) -> Tensor:
    """[2, 1 + 3, h, w], background first."""
    return 3 * torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(seed))


def _places(maps: Tensor) -> list[tuple[int, int]]:
    return [(y, x) for y in range(maps.shape[2]) for x in range(maps.shape[3])]


def test_pooling_averages_what_is_above_a_part_of_the_maximum() -> None:
    features = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    features[1, 2] = 0
    found = thresholded_average(features, 0.4)
    for b in range(2):
        for c in range(3):
            values = features[b, c].flatten().tolist()
            kept = [value for value in values if value > 0.4 * max(values)]
            assert float(found[b, c, 0, 0]) == pytest.approx(sum(kept) / max(len(kept), 1), rel=1e-5)


def _saliency_by_loops(maps: Tensor, saliency: Tensor, overlap: float, blend: float) -> tuple[float, int]:
    squares, salient_classes = [], 0
    for b in range(2):
        share = {(c, y, x): float(maps[b, :, y, x].softmax(0)[c]) for c in range(4) for y, x in _places(maps)}
        salient = set()
        for c in range(1, 4):
            mine = [place for place in _places(maps) if share[c, *place] > 0.5]
            on = [place for place in mine if float(saliency[b, 0, place[0], place[1]]) > 0.5]
            divisor = len(mine) + 1e-4 * len(_places(maps))
            if LABELS[b, c - 1] and len(on) / divisor > overlap:
                salient.add(c)
        salient_classes += len(salient)
        for place in _places(maps):
            present = [c for c in range(1, 4) if LABELS[b, c - 1]]
            foreground = sum(share[c, *place] for c in salient)
            background = share[0, *place] + sum(share[c, *place] for c in present if c not in salient)
            predicted = blend * foreground + (1 - blend) * (1 - background)
            squares.append((predicted - float(saliency[b, 0, place[0], place[1]])) ** 2)
    return sum(squares) / len(squares), salient_classes


@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("blend", [0.5, 0.2])
def test_saliency_loss_is_epss(overlap: float, blend: float) -> None:
    maps = _maps()
    saliency = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(1))
    wanted, salient = _saliency_by_loops(maps, saliency, overlap, blend)
    assert float(saliency_loss(maps, saliency, LABELS, overlap, blend)) == pytest.approx(wanted, rel=1e-5)
    assert (salient > 0) == (overlap < 1), "both kinds of class are met"


def test_saliency_is_reduced_to_the_first_position_of_each_cell() -> None:
    saliency = torch.rand(1, 1, 8, 8)
    maps = _maps(4, 4)[:1]
    assert torch.equal(
        saliency_loss(maps, saliency, LABELS[:1], 0.4, 0.5),
        saliency_loss(maps, saliency[:, :, ::2, ::2], LABELS[:1], 0.4, 0.5),
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saliency_of_nothing_or_everything_is_finite(value: float) -> None:
    maps = _maps().requires_grad_()
    loss = saliency_loss(maps, torch.full((2, 1, 4, 5), value), torch.zeros(2, 3), 0.4, 0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def _stretched_by_loops(maps: Tensor) -> Tensor:
    out = torch.zeros_like(maps)
    for b in range(len(maps)):
        for c in range(maps.shape[1]):
            values = {place: max(0.0, float(maps[b, c, place[0], place[1]])) for place in _places(maps)}
            low, high = min(values.values()), max(values.values())
            for (y, x), value in values.items():
                out[b, c, y, x] = max(0.0, value - low - 1e-5) / (high - low + 1e-5)
    return out


@pytest.mark.parametrize("released", [False, True])
def test_consistency_is_seams_two_terms(released: bool) -> None:
    first, second = _maps(8, 10, 1), _maps(4, 5, 2)
    first_refined, second_refined = _maps(8, 10, 3).relu(), _maps(4, 5, 4).relu()
    gate = torch.cat([torch.ones(2, 1), LABELS], dim=1)

    def ready(maps: Tensor) -> Tensor:
        maps = functional.interpolate(_stretched_by_loops(maps), (4, 5), mode="bilinear", align_corners=True)
        return maps * gate[:, :, None, None]

    one, other, one_refined, other_refined = map(ready, (first, second, first_refined, second_refined))
    total = sum(
        abs(float(one[b, c, y, x]) - float(other[b, c, y, x]))
        for b in range(2)
        for c in range(1, 4)
        for y, x in _places(one)
    )
    crossed = 0.0
    for maps, refined in ((other, one_refined), (one, other_refined)):
        for b in range(2):
            distances = []
            for y, x in _places(maps):
                score = {c: float(maps[b, c, y, x]) for c in range(1, 4)}
                score[0] = 1 - max(score.values())
                # Of these the largest is kept, the others become 0.
                among = [0, 2, 3] if released else [1, 2, 3]
                best = max(score[c] for c in among)
                kept = {c: score[c] if c not in among or score[c] == best else 0.0 for c in range(4)}
                distances += [abs(kept[c] - float(refined[b, c, y, x])) for c in range(4)]
            top = sorted(distances, reverse=True)[: int(4 * 20 * 0.2)]
            crossed += sum(top) / len(top) / 2
    found = consistency(first, second, first_refined, second_refined, LABELS, released=released)
    assert float(found[0]) == pytest.approx(total / (2 * 3 * 20), rel=1e-4)
    assert float(found[1]) == pytest.approx(crossed, rel=1e-4)


def test_the_release_keeps_the_first_class_whatever_it_is() -> None:
    """Trap 5: SEAM's max_onehot, written for the background first, on maps with the background last."""
    maps = torch.tensor([0.0, 0.2, 0.9]).view(1, 3, 1, 1)  # (background, class 0, class 1)
    assert winners(maps, released=False).flatten().tolist() == pytest.approx([0.1, 0.0, 0.9])
    assert winners(maps, released=True).flatten().tolist() == pytest.approx([0.0, 0.2, 0.9])
    low = torch.tensor([0.0, 0.2, 0.3]).view(1, 3, 1, 1)
    assert winners(low, released=False).flatten().tolist() == pytest.approx([0.7, 0.0, 0.3])
    assert winners(low, released=True).flatten().tolist() == pytest.approx([0.7, 0.2, 0.0])


def test_consistency_of_flat_maps_and_single_positions_is_finite() -> None:
    for size in ((1, 1), (3, 3)):
        maps = torch.zeros(2, 4, *size, requires_grad=True)
        terms = consistency(maps, maps, maps, maps, torch.zeros(2, 3), released=False)
        torch.stack(terms).sum().backward()
        assert maps.grad is not None
        assert torch.isfinite(maps.grad).all()
    assert stretched(torch.full((1, 1, 2, 2), 7.0)).abs().max() == 0


def test_pixels_against_prototypes() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, prototypes = torch.rand(12, 6, generator=generator), torch.rand(4, 6, generator=generator)
    classes = torch.tensor([0, 1, 2, 3, -1, 1, 2, 0, 3, 3, 1, 0])
    usable = torch.tensor([True, True, True, False])
    total = 0.0
    for z, label in zip(vectors, classes.tolist(), strict=True):
        if label > 0 and usable[label]:
            cosine = [float(z @ p) / float(z.norm() * p.norm()) for p in prototypes]
            total -= math.log(math.exp(cosine[label] / 0.1) / sum(math.exp(cosine[c] / 0.1) for c in range(3)))
    assert float(to_prototypes(vectors, classes, prototypes, usable, 0.1)) == pytest.approx(total / 12, rel=1e-4)


@pytest.mark.parametrize("usable", [False, True])
def test_pixels_against_prototypes_at_its_limits(usable: bool) -> None:
    """Nothing but background, no prototype at all, and vectors of zeros."""
    vectors = torch.zeros(5, 6, requires_grad=True)
    exists = torch.full((4,), usable)
    for classes in (torch.zeros(5, dtype=torch.int64), torch.full((5,), -1), torch.full((5,), 2)):
        loss = to_prototypes(vectors, classes, torch.zeros(4, 6), exists, 0.1)
        loss.backward()
        assert (float(loss.detach()) > 0) == (usable and bool((classes > 0).any()))
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_background_target_is_where_the_classes_sum_to_little() -> None:
    maps = _maps()
    found = background_target(maps, LABELS, 0.3)
    for b in range(2):
        for y, x in _places(maps):
            total = 0.0
            for c in range(3):
                if LABELS[b, c]:
                    highest = max(0.0, float(maps[b, c + 1].max()))
                    total += max(0.0, float(maps[b, c + 1, y, x])) / (highest + 1e-5)
            assert float(found[b, 0, y, x]) == float(total < 0.3)
    assert 0 < float(found.mean()) < 1
    assert torch.equal(background_target(maps, torch.zeros(2, 3), 0.05), torch.ones(2, 1, 4, 5))
