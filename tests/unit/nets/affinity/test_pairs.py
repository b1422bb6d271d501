"""Pairs of cells against loops over cells: distances, boundaries on the way, labels, losses and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wsss_platform.nets.affinity import pairs as pairs_module
from wsss_platform.nets.affinity.pairs import (
    BACKGROUND,
    DIFFERENT,
    FOREGROUND,
    affinity_losses,
    at_cells,
    displacement_losses,
    pair_distances,
    pair_kinds,
    path,
    path_maxima,
)
from wsss_platform.nets.affinity.walk import Offset, half_plane

OFFSETS = half_plane(4)
SIZES = pytest.mark.parametrize("size", [(7, 9), (3, 12), (2, 2), (1, 1)], ids=str)


def pairs(height: int, width: int, offsets: tuple[Offset, ...] = OFFSETS) -> list[tuple[int, int, int, int, int]]:
    """(p, y, x, y', x') of every pair inside the grid."""
    return [
        (p, y, x, y + down, x + right)
        for p, (down, right) in enumerate(offsets)
        for y in range(height)
        for x in range(width)
        if y + down < height and 0 <= x + right < width
    ]


def random_labels(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor([0, 0, 1, 2, 255])[torch.randint(0, 5, (2, height, width), generator=generator)]


@SIZES
def test_distances(size: tuple[int, int]) -> None:
    features = torch.randn(2, 5, *size, dtype=torch.float64)
    wanted = torch.zeros(2, len(OFFSETS), *size, dtype=torch.float64)
    for p, y, x, below, beside in pairs(*size):
        wanted[:, p, y, x] = (features[:, :, y, x] - features[:, :, below, beside]).abs().mean(1)
    torch.testing.assert_close(pair_distances(features, OFFSETS), wanted)


@SIZES
def test_the_strongest_boundary_on_the_way(size: tuple[int, int]) -> None:
    boundary = torch.rand(2, *size, dtype=torch.float64)
    wanted = torch.zeros(2, len(OFFSETS), *size, dtype=torch.float64)
    for p, y, x, below, beside in pairs(*size):
        length = math.hypot(below - y, beside - x)
        cells = [
            boundary[:, row, column]
            for row in range(y, below + 1)
            for column in range(min(x, beside), max(x, beside) + 1)
            if abs((below - y) * (column - x) - (beside - x) * (row - y)) / length < 1
        ]
        wanted[:, p, y, x] = torch.stack(cells).amax(0)
    torch.testing.assert_close(path_maxima(boundary, OFFSETS), wanted)


def test_paths_are_those_of_the_release() -> None:
    assert path((0, 3)) == ((0, 3), (0, 2), (0, 1), (0, 0))
    assert path((2, -2)) == ((2, -2), (1, -2), (2, -1), (1, -1), (0, -1), (1, 0), (0, 0))
    for offset in half_plane(10):
        assert path(offset)[0] == offset
        assert path(offset)[-1] == (0, 0)


@pytest.mark.parametrize("function", [pair_distances, path_maxima], ids=["distances", "maxima"])
def test_gradients_are_the_slopes(function: object) -> None:
    shape = (2, 2, 3, 4) if function is pair_distances else (2, 3, 4)
    values = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, half_plane(3)), (values,))  # type: ignore[operator]


def test_of_equal_boundaries_the_first_gets_the_gradient() -> None:
    boundary = torch.full((1, 1, 4), 0.5, requires_grad=True)
    path_maxima(boundary, ((0, 3),)).sum().backward()  # type: ignore[no-untyped-call]
    assert boundary.grad is not None
    assert boundary.grad.flatten().tolist() == [0, 0, 0, 1], "max pooling takes the first, and the far end is first"


def test_labels_at_the_centres_of_cells() -> None:
    labels = torch.arange(64).view(1, 8, 8)
    assert at_cells(labels, 2, 2).tolist() == [[[18, 22], [50, 54]]]
    assert torch.equal(at_cells(labels, 8, 8), labels)
    assert at_cells(labels[:, :7, :3], 2, 1).shape == (1, 2, 1)


@SIZES
def test_kinds(size: tuple[int, int]) -> None:
    labels = random_labels(*size)
    wanted = torch.zeros(2, len(OFFSETS), *size, dtype=torch.uint8)
    for p, y, x, below, beside in pairs(*size):
        for b in range(2):
            one, other = int(labels[b, y, x]), int(labels[b, below, beside])
            if 255 not in (one, other):
                wanted[b, p, y, x] = DIFFERENT if one != other else FOREGROUND if one else BACKGROUND
    assert torch.equal(pair_kinds(labels, OFFSETS), wanted)


def test_affinity_losses_by_loops() -> None:
    labels = random_labels(6, 8)
    affinity = torch.rand(2, len(OFFSETS), 6, 8)
    sums = {name: [0.0, 0] for name in ("background", "foreground", "negative")}
    for p, y, x, below, beside in pairs(6, 8):
        for b in range(2):
            one, other, value = int(labels[b, y, x]), int(labels[b, below, beside]), float(affinity[b, p, y, x])
            if 255 in (one, other):
                continue
            name = "negative" if one != other else "foreground" if one else "background"
            sums[name][0] -= math.log(1 + 1e-5 - value if one != other else value + 1e-5)
            sums[name][1] += 1
    found = affinity_losses(affinity, pair_kinds(labels, OFFSETS))
    assert found.keys() == sums.keys()
    for name, (total, count) in sums.items():
        assert count > 0
        assert float(found[name]) == pytest.approx(total / count, rel=1e-4), name


def test_displacement_losses_by_loops() -> None:
    labels = random_labels(6, 8)
    field = torch.randn(2, 2, 6, 8)
    sums = {"displacement_foreground": [0.0, 0], "displacement_background": [0.0, 0]}
    for _, y, x, below, beside in pairs(6, 8):
        for b in range(2):
            one, other = int(labels[b, y, x]), int(labels[b, below, beside])
            if one != other or one == 255:
                continue
            moved = field[b, :, y, x] - field[b, :, below, beside]
            away = torch.tensor([below - y, beside - x]) if one else torch.zeros(2)
            name = "displacement_foreground" if one else "displacement_background"
            sums[name][0] += float((moved - away).abs().sum())
            sums[name][1] += 2
    found = displacement_losses(field, pair_kinds(labels, OFFSETS), OFFSETS)
    for name, (total, count) in sums.items():
        assert float(found[name]) == pytest.approx(total / count, rel=1e-4), name


def test_the_true_field_costs_nothing() -> None:
    """Every cell of an object points to the same place; the background does not move."""
    labels = torch.zeros(1, 7, 9, dtype=torch.int64)
    labels[:, 2:6, 3:8] = 4
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    field = torch.stack([4 - rows, 5 - columns]) * (labels > 0)
    found = displacement_losses(field[None], pair_kinds(labels, OFFSETS), OFFSETS)
    assert [float(value) for value in found.values()] == [0, 0]


def test_the_shares_of_two_workers_make_up_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDP averages what the workers return; a mean over a worker's own pairs would weigh scarce pairs more."""
    labels, affinity, field = random_labels(5, 6), torch.rand(2, len(OFFSETS), 5, 6), torch.randn(2, 2, 5, 6)
    labels[1, :3] = 255

    def losses(images: slice) -> dict[str, Tensor]:
        kinds = pair_kinds(labels[images], OFFSETS)
        found = affinity_losses(affinity[images], kinds)
        return found | displacement_losses(field[images], kinds, OFFSETS)

    whole = losses(slice(None))
    counts: list[list[Tensor]] = []
    for rank in range(2):
        counts.append([])
        monkeypatch.setattr(pairs_module, "global_batch", lambda own, mine=counts[rank]: mine.append(own) or own)
        losses(slice(rank, rank + 1))
    shares = []
    for rank in range(2):
        both = iter(zip(*counts, strict=True))
        monkeypatch.setattr(pairs_module, "global_batch", lambda own, both=both: torch.cat(next(both)))
        shares.append(losses(slice(rank, rank + 1)))
    for name, value in whole.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("label", [255, 0, 3], ids=["nothing known", "background", "one class"])
def test_terms_without_pairs_are_zero(label: int) -> None:
    features = torch.randn(1, 4, 6, 6, requires_grad=True)
    field = torch.randn(1, 2, 6, 6, requires_grad=True)
    kinds = pair_kinds(torch.full((1, 6, 6), label), OFFSETS)
    terms = affinity_losses(torch.exp(-pair_distances(features, OFFSETS)), kinds)
    terms |= displacement_losses(field, kinds, OFFSETS)
    active = {255: set(), 0: {"background", "displacement_background"}, 3: {"foreground", "displacement_foreground"}}
    assert {name for name, value in terms.items() if value.detach() != 0} == active[label]
    torch.stack(list(terms.values())).sum().backward()
    for leaf in (features, field):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_equal_features_and_sure_boundaries_stay_finite() -> None:
    kinds = pair_kinds(random_labels(5, 5), OFFSETS)
    for affinity in (torch.zeros(2, len(OFFSETS), 5, 5), torch.ones(2, len(OFFSETS), 5, 5)):
        leaf = affinity.requires_grad_()
        total = torch.stack(list(affinity_losses(leaf, kinds).values())).sum()
        total.backward()
        assert torch.isfinite(total)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
