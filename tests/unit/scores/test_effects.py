"""Effects against slow loops over pixels, and the interval over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.bootstrap import bootstrap, bootstrap_seeds, compare, compare_seeds
from wsss_platform.scores.confusion import confusion, mean_iou_of_parts, parts
from wsss_platform.scores.effects import BOUNDARY, REACH, boundaries_met, effects, near_boundary
from wsss_platform.scores.sparse import SparseParts


def drawn(seed: int) -> tuple[NDArray[np.uint8], ...]:
    random = np.random.default_rng(seed)
    truth = np.kron(random.choice([0, 0, 1, 2, 255], (5, 6)), np.ones((4, 3))).astype(np.uint8)
    mask = np.where(random.random(truth.shape) < 0.6, truth, random.choice([0, 1, 2, 255], truth.shape))
    layers = np.where(truth == 0, 0, random.choice([1, 2], truth.shape))
    return mask.astype(np.uint8), truth, layers.astype(np.uint8), random.random(truth.shape) < 0.3


def met_by_a_loop(mask: NDArray[np.uint8], truth: NDArray[np.uint8], reach: float = REACH) -> tuple[int, int]:
    """`boundaries_met`, pixel by pixel."""
    height, width = truth.shape
    places = [(y, x) for y in range(height) for x in range(width)]

    made_of = np.where(mask == 255, 0, mask)

    def edge(labels: NDArray[np.uint8], y: int, x: int) -> bool:
        around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        inside = [(v, u) for v, u in around if 0 <= v < height and 0 <= u < width]
        return labels[y, x] != 255 and any(labels[place] != labels[y, x] for place in inside)

    def near(place: tuple[int, int], others: list[tuple[int, int]]) -> bool:
        within = max(1.0, reach * math.hypot(height, width))
        return any(math.hypot(place[0] - y, place[1] - x) <= within for y, x in others)

    made, true = [p for p in places if edge(made_of, *p)], [p for p in places if edge(truth, *p)]
    counted = [p for p in made if truth[p] != 255]
    band = [p for p in places if truth[p] == 255]
    met = [near(p, true + band) for p in counted] + [near(p, made) for p in true]
    return sum(met), len(met)


@pytest.mark.parametrize("seed", range(5))
def test_effects_are_what_a_loop_over_pixels_counts(seed: int) -> None:
    mask, truth, layers, context = drawn(seed)
    height, width = truth.shape
    expected = {name: [0, 0] for name in effects(mask, truth, layers, context)}
    for y in range(height):
        for x in range(width):
            true, made = int(truth[y, x]), int(mask[y, x])
            if true == 255:
                continue
            right, taken = made == true, made not in (0, 255)
            near = any(
                0 <= y + dy < height and 0 <= x + dx < width and int(truth[y + dy, x + dx]) != true
                for step in range(1, BOUNDARY + 1)
                for dy, dx in ((step, 0), (-step, 0), (0, step), (0, -step))
            )
            for name, counted, among in (
                ("objects found", right, true != 0),
                ("boundary right", right, near),
                ("background taken", taken, true == 0),
                ("context taken", taken, true == 0 and bool(context[y, x])),
                ("plain parts found", right, true != 0 and layers[y, x] == 2),
                ("emblems found", right, true != 0 and layers[y, x] == 1),
            ):
                expected[name][0] += counted and among
                expected[name][1] += among
    expected["boundaries met"] = list(met_by_a_loop(mask, truth))
    assert {name: list(pair) for name, pair in effects(mask, truth, layers, context).items()} == expected


@pytest.mark.parametrize("reach", [0.01, 0.08, 0.12])
def test_boundaries_met_are_what_a_loop_finds(reach: float) -> None:
    mask, truth, _, _ = drawn(7)
    sparse = np.where(np.random.default_rng(7).random(truth.shape) < 0.02, mask, 0).astype(np.uint8)
    for made in (mask, sparse):
        assert boundaries_met(made, truth, reach) == met_by_a_loop(made, truth, reach)


def test_masks_alone_give_what_masks_can_tell() -> None:
    mask, truth, _, _ = drawn(0)
    assert set(effects(mask, truth)) == {"objects found", "boundary right", "boundaries met", "background taken"}


def test_an_image_of_one_label_has_no_boundary() -> None:
    assert not near_boundary(np.zeros((4, 5), np.uint8)).any()
    assert boundaries_met(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)) == (0, 0)


def test_the_band_around_an_object_of_voc_is_its_boundary() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 255
    truth[35:65, 35:65] = 1
    inside = np.zeros_like(truth)
    inside[32:68, 32:68] = 1  # its boundary is in the band
    assert near_boundary(truth, 1).sum() == 4 * 40 + 4 * 29
    assert boundaries_met(inside, truth)[1] == 4 * 40 + 4 * 29  # and so counts by the ground truth's alone
    assert boundaries_met(inside, truth, 0.04)[0] == 4 * 40 + 4 * 29
    assert boundaries_met(np.roll(inside, 20, 1), truth)[0] < 0.6 * boundaries_met(np.roll(inside, 20, 1), truth)[1]
    assert boundaries_met(np.zeros_like(truth), truth)[0] == 0


def test_an_image_lower_than_the_reach() -> None:
    truth = np.zeros((2, 400), np.uint8)
    truth[:, 100:200] = 1
    assert boundaries_met(np.roll(truth, 7, 1), truth) == (16, 16)
    assert boundaries_met(np.roll(truth, 10, 1), truth) == (0, 16)


def test_what_is_undecided_is_no_boundary() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 1
    mask = truth.copy()
    mask[:15] = 255
    assert boundaries_met(mask, truth) == boundaries_met(truth, truth) == (632, 632)


def test_the_reach_is_two_percent_of_the_diagonal() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 1
    assert boundaries_met(np.roll(truth, 2, 1), truth) == (632, 632)  # 2.83 pixels
    assert boundaries_met(np.roll(truth, 3, 1), truth) == (484, 632)


def test_a_boundary_in_the_wrong_place_is_worse_than_a_shifted_one() -> None:
    truth = np.zeros((80, 80), np.uint8)
    truth[20:60, 20:60] = 3
    shares = [met / all_ for met, all_ in (boundaries_met(np.roll(truth, by, 1), truth) for by in (0, 1, 6, 15))]
    assert shares[0] == shares[1] == 1
    assert shares[1] > shares[2] > shares[3]


def counts(seed: int, right: float, seeds: int = 3, images: int = 30) -> NDArray[np.int64]:
    """int64 [S, N, 3, 3] of masks that are right with a probability."""
    truth = np.random.default_rng(99).choice([0, 1, 2], (images, 8, 8)).astype(np.uint8)
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(seeds):
        wrong = random.choice([0, 1, 2], truth.shape)
        masks = np.where(random.random(truth.shape) < right, truth, wrong).astype(np.uint8)
        rows.append([parts(confusion(t, m, 2)) for t, m in zip(truth, masks, strict=True)])
    return np.array(rows)


def test_one_seed_is_the_paired_comparison_over_images() -> None:
    a, b = counts(0, 0.8, seeds=1), counts(1, 0.7, seeds=1)
    assert compare_seeds(a, b, mean_iou_of_parts) == compare(a[0], b[0])
    assert compare_seeds(a, b, mean_iou_of_parts).a == bootstrap(a[0])


def test_several_seeds_are_averaged_and_drawn() -> None:
    a, b = counts(0, 0.8), counts(1, 0.7)
    found = compare_seeds(a, b, mean_iou_of_parts)
    each = [compare(x, y).difference.value for x, y in zip(a, b, strict=True)]
    assert found.difference.value == pytest.approx(np.mean(each))
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.difference.low > 0
    assert found.a_wins == 1
    apart = np.concatenate([b[:1], a[1:]])  # one seed brings nothing: the interval must be wider for it
    assert compare_seeds(apart, b, mean_iou_of_parts).difference.low == pytest.approx(0, abs=1e-12)


def test_the_interval_of_one_method_over_seeds_is_its_side_of_a_comparison() -> None:
    """From sparse counts, as a leaderboard reads them."""
    a, b = counts(0, 0.8), counts(1, 0.7)
    found = bootstrap_seeds([SparseParts.of(each) for each in a])
    assert found == compare_seeds(a, b, mean_iou_of_parts).a
    with pytest.raises(InputError, match="other numbers of images"):
        bootstrap_seeds([SparseParts.of(a[0]), SparseParts.of(a[1][:7])])
    with pytest.raises(InputError, match="nothing to resample"):
        bootstrap_seeds([SparseParts.of(np.zeros_like(a[0]))])


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be paired"):
        compare_seeds(counts(0, 0.8), counts(0, 0.8, seeds=2), mean_iou_of_parts)
    with pytest.raises(InputError, match="nothing to resample"):
        compare_seeds(np.zeros((1, 2, 3, 3), np.int64), np.zeros((1, 2, 3, 3), np.int64), mean_iou_of_parts)
