"""FBR's regions, prototypes, negatives, clusters and bank against references written as loops."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_methods.fbr.bank import Bank, cluster, draw_index
from wsss_methods.fbr.config import MapSamplingConfig, SamplingConfig
from wsss_methods.fbr.sampling import NOWHERE, find_map_regions, find_prototypes, find_regions, other_class_pixels


def _regions_by_loops(
    logits: Tensor, labels: Tensor, valid: Tensor, config: SamplingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The release's get_reliable_pseudo_label, image by image and class by class, with the paper variant's gate."""
    released = config.variant == "as_released"
    images, channels, positions = logits.shape
    pseudo = torch.full((images, positions), NOWHERE)
    activation = torch.zeros(images, channels - 1, positions)
    hard = torch.zeros(images, positions, dtype=torch.bool)
    for b in range(images):
        inside = [n for n in range(positions) if released or valid[b, n]]
        probability = logits[b].softmax(0)
        scores = torch.zeros(channels, positions)
        for c in range(channels):
            values = [float(probability[c, n]) for n in inside]
            if released or c == 0 or labels[b, c - 1]:
                for n in inside:
                    scores[c, n] = (float(probability[c, n]) - min(values)) / (max(values) - min(values) + 1e-5)
        entropy = {n: -sum(float(p) * math.log(float(p) + 1e-10) for p in probability[:, n]) for n in inside}
        limit = float(np.quantile(list(entropy.values()), config.entropy_quantile))
        for n in inside:
            pseudo[b, n] = int(scores[:, n].argmax())
        sure = set()
        for c in range(1, channels):
            mine = [n for n in inside if pseudo[b, n] == c]
            counted = sorted(float(scores[c, n]) for n in mine if scores[c, n] > config.activation_floor)
            for n in range(positions):
                if n in mine or (released and not mine):
                    activation[b, c - 1, n] = scores[c, n]
            if counted:
                cut = counted[int(len(counted) * config.sure_cut)]
                sure |= {n for n in mine if float(scores[c, n]) > cut}
        for n in inside:
            hard[b, n] = bool(pseudo[b, n] > 0) and n not in sure and entropy[n] > limit
    return pseudo, activation, hard


@pytest.mark.parametrize("variant", ["paper", "as_released"])
@pytest.mark.parametrize("cut", [0.0, 0.4, 0.99])
@pytest.mark.parametrize("quantile", [0.0, 0.25, 1.0])
def test_regions_are_those_of_the_loops(variant: str, cut: float, quantile: float) -> None:
    config = SamplingConfig.model_validate({"variant": variant, "sure_cut": cut, "entropy_quantile": quantile})
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(3, 5, 30, generator=generator)
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    valid = torch.ones(3, 30, dtype=torch.bool)
    valid[1, 20:] = False
    regions = find_regions(logits, labels, valid, config)
    pseudo, activation, hard = _regions_by_loops(logits, labels, valid, config)
    assert torch.equal(regions.pseudo, pseudo)
    torch.testing.assert_close(regions.activation, activation)
    assert torch.equal(regions.hard, hard)
    if variant == "paper":
        assert (regions.pseudo[1, 20:] == NOWHERE).all()
        assert (regions.pseudo[2] == 0).all(), "an image without labels is background"
        assert set(regions.pseudo[0].tolist()) <= {0, 1, 3}
    if variant == "as_released":
        assert len(set(regions.pseudo[2].tolist())) == 5, "the release lets absent classes in"


def test_a_class_with_no_pixel_above_the_floor_is_nowhere_sure() -> None:
    """Trap: the release indexes an empty list here."""
    logits = torch.zeros(1, 3, 8)
    logits[0, 1] = torch.linspace(-2, -1, 8)
    logits[0, 2, 0] = 5.0
    config = SamplingConfig(activation_floor=0.999999, entropy_quantile=0.0)
    regions = find_regions(logits, torch.ones(1, 2), torch.ones(1, 8, dtype=torch.bool), config)
    lowest = find_regions(logits, torch.ones(1, 2), torch.ones(1, 8, dtype=torch.bool), SamplingConfig()).hard
    assert regions.hard.sum() >= lowest.sum()
    assert torch.isfinite(regions.activation).all()


def test_flat_maps_and_single_positions_have_no_anchors() -> None:
    for positions in (1, 4):
        flat = torch.zeros(2, 4, positions)
        regions = find_regions(flat, torch.ones(2, 3), torch.ones(2, positions, dtype=torch.bool), SamplingConfig())
        assert not regions.hard.any()
        assert (regions.pseudo == 0).all()


def test_prototypes_are_weighted_means_of_the_strongest_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.rand(3, 6, 16, generator=generator)
    activation = torch.rand(3, 2, 16, generator=generator)
    found = find_prototypes(vectors, activation, 1 / 4)
    for c in range(2):
        places = sorted(((float(activation[b, c, n]), b, n) for b in range(3) for n in range(16)), reverse=True)[:4]
        wanted = sum(score * vectors[b, :, n] for score, b, n in places) / sum(score for score, _, _ in places)
        torch.testing.assert_close(found[c], wanted)


def test_a_prototype_of_more_positions_than_its_region_ignores_the_rest() -> None:
    activation = torch.zeros(1, 2, 8)
    activation[0, 0, 3] = 0.7
    vectors = torch.rand(1, 4, 8)
    found = find_prototypes(vectors, activation, 1.0)
    torch.testing.assert_close(found[0], vectors[0, :, 3])
    assert torch.equal(found[1], torch.zeros(4))
    assert find_prototypes(vectors, activation, 1e-6).shape == (2, 4)


def test_negatives_come_from_other_classes_in_the_stated_proportions() -> None:
    prototypes = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.5]])
    pseudo = torch.tensor([0, 1, 2, 2, 3, 3, 3, NOWHERE, 1])  # the fourth class is absent
    classes = torch.tensor([0, 1, 2])
    draws = torch.rand(3, 60_000, 2, generator=torch.Generator().manual_seed(0))
    index, has = other_class_pixels(prototypes, pseudo, classes, draws, 0.5)
    assert has.all()
    for anchor, own in enumerate(classes.tolist()):
        unit = [vector / vector.norm() for vector in prototypes]
        weights = {c: math.exp(float(unit[own] @ unit[c]) / 0.5) for c in range(3) if c != own}
        drawn = collections.Counter(index[anchor].tolist())
        for place, label in enumerate(pseudo.tolist()):
            among = pseudo.tolist().count(label)
            share = weights.get(label - 1, 0.0) / sum(weights.values()) / among
            assert drawn[place] / 60_000 == pytest.approx(share, abs=0.01)
            assert share > 0 or drawn[place] == 0


def test_a_batch_with_one_class_has_no_other_pixels() -> None:
    """Trap: the release builds an empty categorical distribution here."""
    index, has = other_class_pixels(
        torch.rand(3, 4), torch.tensor([0, 2, 2]), torch.tensor([1, 1]), torch.rand(2, 5, 2), 0.5
    )
    assert not has.any()
    assert index.shape == (2, 5)
    assert ((index >= 0) & (index < 3)).all()


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
def test_draws_at_both_ends_stay_inside(draw: float) -> None:
    weight = torch.tensor([[0.0, 0.3, 0.1, 0.7, 0.0]])
    assert draw_index(weight, torch.tensor([[draw]])).item() == (1 if draw == 0 else 3)
    index, _ = other_class_pixels(
        torch.rand(2, 4), torch.tensor([0, 1, 2, 2]), torch.tensor([0]), torch.full((1, 1, 2), draw), 0.5
    )
    assert index.item() in (2, 3)


def _cluster_by_loops(points: np.ndarray, draws: list[float], iterations: int) -> np.ndarray:
    centres: list[np.ndarray] = []
    for draw in draws:
        weight = np.ones(len(points))
        if centres:
            weight = np.array([min(((p - c) ** 2).sum() for c in centres) for p in points])
            weight = weight if weight.sum() > 0 else np.ones(len(points))
        cumulative = weight.cumsum() / weight.sum()
        centres.append(points[int((cumulative <= draw).sum())].copy())
    for _ in range(iterations):
        nearest = [int(np.argmin([((p - c) ** 2).sum() for c in centres])) for p in points]
        for k in range(len(centres)):
            mine = [p for p, n in zip(points, nearest, strict=True) if n == k]
            if mine:
                centres[k] = np.mean(mine, axis=0)
    return np.array(centres)


def test_clusters_are_those_of_the_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = torch.rand(4, 40, 5, generator=generator)
    member = torch.rand(4, 40, generator=generator) < 0.6
    draws = torch.rand(4, 6, generator=generator)
    centroids, valid = cluster(vectors, member, draws, 7)
    assert valid.all()
    for b in range(4):
        wanted = _cluster_by_loops(vectors[b][member[b]].double().numpy(), draws[b].tolist(), 7)
        np.testing.assert_allclose(centroids[b].numpy(), wanted, atol=1e-4)


def test_well_separated_groups_are_found() -> None:
    centres = torch.tensor([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    vectors = (centres.repeat_interleave(10, 0) + torch.rand(40, 2)).unsqueeze(0)
    centroids, _ = cluster(vectors, torch.ones(1, 40, dtype=torch.bool), torch.rand(1, 4), 10)
    gaps = torch.cdist(centroids[0], centres + 0.5)
    assert (gaps.min(0).values < 1).all()


@pytest.mark.parametrize("members", [0, 1, 3, 8])
@pytest.mark.parametrize("positions", [8, 12, 4])
def test_few_members_go_in_as_they_are(members: int, positions: int) -> None:
    members = min(members, positions)
    vectors = torch.rand(2, positions, 3)
    member = torch.zeros(2, positions, dtype=torch.bool)
    member[0, positions - members :] = True
    centroids, valid = cluster(vectors, member, torch.rand(2, 8), 5)
    assert valid.sum(1).tolist() == [members, 0]
    assert torch.equal(centroids[0][valid[0]], vectors[0][member[0]])


def test_equal_vectors_give_finite_clusters() -> None:
    centroids, valid = cluster(torch.ones(1, 20, 3), torch.ones(1, 20, dtype=torch.bool), torch.rand(1, 8), 5)
    assert valid.all()
    assert torch.equal(centroids, torch.ones(1, 8, 3))


def test_the_bank_is_first_in_first_out() -> None:
    bank, wanted = Bank(7, 2), collections.deque[tuple[float, ...]](maxlen=7)
    count = 0
    for rows in (0, 3, 3, 2, 0, 7, 1, 20, 5):
        values = torch.arange(count, count + 2 * rows, dtype=torch.float32).view(rows, 2)
        count += 2 * rows
        bank.push(values)
        wanted.extend(tuple(row) for row in values.tolist())
        assert sorted(tuple(row) for row in bank.contents().tolist()) == sorted(wanted)
        copy = Bank(7, 2)
        copy.load_state_dict(bank.state_dict())
        assert torch.equal(copy.contents(), bank.contents())
    assert bank.contents().shape == (7, 2)


def _map_regions_by_loops(
    maps: Tensor, labels: Tensor, valid: Tensor, config: MapSamplingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The rule of get_contrast_loss, image by image, with the paper variant's gate and padding."""
    released = config.variant == "as_released"
    images, classes, positions = maps.shape
    pseudo = torch.full((images, positions), NOWHERE)
    activation = torch.zeros(images, classes, positions)
    hard = torch.zeros(images, positions, dtype=torch.bool)
    for b in range(images):
        inside = [n for n in range(positions) if released or valid[b, n]]
        scores = [[0.0] * positions for _ in range(classes)]
        for c in range(classes):
            values = {n: max(0.0, float(maps[b, c, n])) for n in inside}
            low, high = min(values.values()), max(values.values())
            for n in inside:
                floor = low + 1e-5 if released else low
                scores[c][n] = max(0.0, (values[n] - floor) / (high - low + 1e-5))
                if not released:
                    scores[c][n] *= float(labels[b, c])
        entropy = {}
        for n in inside:
            row = [config.background, *(scores[c][n] * float(labels[b, c]) for c in range(classes))]
            pseudo[b, n] = row.index(max(row))
            total = sum(math.exp(value) for value in row)
            share = [math.exp(value) / total for value in row]
            entropy[n] = -sum(p * math.log(p + 1e-10) for p in share) if pseudo[b, n] > 0 else 0.0
        limit = float(np.quantile(np.array(list(entropy.values()), np.float32), config.entropy_quantile))
        sure = set()
        for c in range(classes):
            mine = [n for n in inside if pseudo[b, n] == c + 1]
            for n in range(positions):
                if n in mine or (released and not mine):
                    activation[b, c, n] = scores[c][n]
            counted = sorted(scores[c][n] for n in mine if scores[c][n] > config.activation_floor)
            if counted:
                sure |= {n for n in mine if scores[c][n] > counted[int(len(counted) * config.sure_cut)] + 1e-7}
        for n in inside:
            hard[b, n] = bool(pseudo[b, n] > 0) and n not in sure and entropy[n] > limit + 1e-7
    return pseudo, activation, hard


@pytest.mark.parametrize("variant", ["paper", "as_released"])
@pytest.mark.parametrize("cut", [0.0, 0.6])
@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.8])
def test_regions_of_class_maps_are_those_of_the_loops(variant: str, cut: float, quantile: float) -> None:
    config = MapSamplingConfig.model_validate({"variant": variant, "sure_cut": cut, "entropy_quantile": quantile})
    generator = torch.Generator().manual_seed(4)
    maps = 2 * torch.randn(3, 4, 30, generator=generator) + 1
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    valid = torch.ones(3, 30, dtype=torch.bool)
    valid[1, 20:] = False
    kept = maps.clone()
    regions = find_map_regions(maps, labels, valid, config)
    assert torch.equal(maps, kept), "trap 4: the release writes its mask into the maps; only the result is masked here"
    pseudo, activation, hard = _map_regions_by_loops(maps, labels, valid, config)
    assert torch.equal(regions.pseudo, pseudo)
    torch.testing.assert_close(regions.activation, activation, atol=1e-5, rtol=1e-5)
    assert torch.equal(regions.hard, hard)
    assert regions.hard.any()
    assert set(regions.pseudo[0].tolist()) == {0, 1, 3}, "labels gate the pseudo labels in both variants"
    assert (regions.pseudo[2] == 0).all()
    if variant == "paper":
        assert (regions.pseudo[1, 20:] == NOWHERE).all()
        assert not regions.activation[2].any()
    else:
        assert regions.activation[2].any(), "prototypes of the release see images without the class"


def test_activations_are_masked_to_the_region_before_prototypes_are_taken() -> None:
    """Trap 4: the strongest positions of a class, but where another class is stronger still, stay out."""
    maps = torch.tensor([[[10.0, 9, 1, 0], [0, 100, 0, 0]]])
    config = MapSamplingConfig(prototype_fraction=0.5)
    regions = find_map_regions(maps, torch.ones(1, 2), torch.ones(1, 4, dtype=torch.bool), config)
    assert regions.pseudo.tolist() == [[1, 2, 0, 0]]
    vectors = torch.eye(4).unsqueeze(0)
    prototypes = find_prototypes(vectors, regions.activation, config.prototype_fraction)
    torch.testing.assert_close(prototypes, torch.eye(4)[:2])


def test_flat_class_maps_have_no_anchors() -> None:
    for value in (0.0, 3.0, -1.0):
        for variant in ("paper", "as_released"):
            config = MapSamplingConfig.model_validate({"variant": variant})
            maps = torch.full((2, 3, 5), value)
            regions = find_map_regions(maps, torch.ones(2, 3), torch.ones(2, 5, dtype=torch.bool), config)
            assert not regions.hard.any()
            assert (regions.pseudo == 0).all()
            assert torch.isfinite(regions.activation).all()
