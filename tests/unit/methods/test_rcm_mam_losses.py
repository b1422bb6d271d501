"""RCM and MAM against references written with loops, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wsss_methods.rcm_mam.config import RegionsConfig
from wsss_methods.rcm_mam.losses import (
    NOWHERE,
    activation,
    attentive,
    find_prototypes,
    find_regions,
    regional_contrast,
)

IMAGES, CLASSES, POSITIONS, WIDTH = 3, 4, 30, 5
BOTH = pytest.mark.parametrize("by_image", [False, True])


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Raw maps [B, C, N], labels [B, C], inside [B, N]; the second image has padding, the third one class;
    the second class is in none."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(IMAGES, CLASSES, POSITIONS, generator=generator)
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 0]])
    inside = torch.ones(IMAGES, POSITIONS, dtype=torch.bool)
    inside[1, 20:] = False
    return maps, labels, inside


def unit(seed: int, shape: tuple[int, ...] = (IMAGES, WIDTH, POSITIONS)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1)


def regions_of_scene(**changes: object) -> Tensor:
    maps, labels, inside = scene()
    return find_regions(activation(maps, labels, inside), labels, inside, RegionsConfig.model_validate(changes))


def contrast(regions: Tensor, ours: Tensor, theirs: Tensor, *, by_image: bool, temperature: float = 0.1) -> Tensor:
    prototypes, exist = find_prototypes(theirs, regions, CLASSES, by_image=by_image)
    return regional_contrast(ours, regions, prototypes, exist, temperature)


def test_activation_is_a_share_of_the_maximum_inside_the_image() -> None:
    maps, labels, inside = scene()
    found = activation(maps, labels, inside)
    for b in range(IMAGES):
        for c in range(CLASSES):
            values = [max(0.0, float(maps[b, c, n])) for n in range(POSITIONS) if inside[b, n]]
            for n in range(POSITIONS):
                wanted = 0.0
                if labels[b, c] and inside[b, n]:
                    wanted = max(0.0, float(maps[b, c, n])) / max(values)
                assert float(found[b, c, n]) == pytest.approx(wanted, abs=1e-6)
    assert float(found.max()) == 1


def test_activation_of_a_class_that_is_nowhere_positive_is_0() -> None:
    maps, labels, inside = scene()
    assert not activation(-maps.abs(), labels, inside).any()


def test_padding_does_not_change_what_is_inside() -> None:
    maps, labels, inside = scene()
    loud = torch.where(inside.unsqueeze(1), maps, 1e3)
    assert torch.equal(activation(maps, labels, inside), activation(loud, labels, inside))


@pytest.mark.parametrize("background_prototype", [True, False])
def test_regions_position_by_position(background_prototype: bool) -> None:
    maps, labels, inside = scene()
    scores = activation(maps, labels, inside)
    config = RegionsConfig(foreground=0.5, background=0.3, background_prototype=background_prototype)
    found = find_regions(scores, labels, inside, config)
    kinds = set()
    for b in range(IMAGES):
        for n in range(POSITIONS):
            values = scores[b, :, n].tolist()
            wanted = NOWHERE
            if inside[b, n] and max(values) >= 0.5:
                wanted = 1 + values.index(max(values))
            elif inside[b, n] and max(values) < 0.3 and background_prototype:
                wanted = 0
            assert int(found[b, n]) == wanted
            kinds.add(wanted)
    assert {NOWHERE, 1, 3, 4} <= kinds
    assert (0 in kinds) is background_prototype


def test_regions_at_the_thresholds_themselves() -> None:
    config = RegionsConfig(foreground=0.5, background=0.25)
    scores = torch.tensor([[[0.5, 0.49, 0.25, 0.24, 0.0]]])
    everywhere = torch.ones(1, 5, dtype=torch.bool)
    found = find_regions(scores, torch.ones(1, 1), everywhere, config)
    assert found.tolist() == [[1, NOWHERE, NOWHERE, 0, 0]]


def test_an_image_with_an_unseen_class_has_no_background() -> None:
    """Or the object of that class would be drawn to the background's prototype, and stay unseen."""
    config = RegionsConfig(foreground=0.5, background=0.25)
    scores = torch.tensor([[[1.0, 0.3, 0.0], [0.0, 0.0, 0.0]]]).repeat(4, 1, 1)
    scores[2:] = 0
    labels = torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 0]])
    found = find_regions(scores, labels, torch.ones(4, 3, dtype=torch.bool), config)
    assert found.tolist() == [[1, NOWHERE, 0], [1, NOWHERE, NOWHERE], [NOWHERE] * 3, [0, 0, 0]]


def test_the_attentive_loss_leaves_out_what_supportnet_sees_nowhere() -> None:
    main = torch.tensor([[[0.2, 0.9], [0.5, 1.0]]], requires_grad=True)
    target = torch.tensor([[[0.8, 0.7], [0.0, 0.0]]])
    for one_sided in (False, True):
        found = attentive(main, target, one_sided=one_sided)
        alone = attentive(main[:, :1].detach(), target[:, :1], one_sided=one_sided)
        assert float(found.detach()) == pytest.approx(float(alone))
        (gradient,) = torch.autograd.grad(found, main)
        assert gradient[0, 0].any()
        assert not gradient[0, 1].any()


@BOTH
def test_prototypes_are_means_of_regions(by_image: bool) -> None:
    regions, vectors = regions_of_scene(foreground=0.4, background=0.2), unit(1)
    found, exist = find_prototypes(vectors, regions, CLASSES, by_image=by_image)
    groups = [[b] for b in range(IMAGES)] if by_image else [list(range(IMAGES))]
    assert found.shape == (len(groups), 1 + CLASSES, WIDTH)
    for g, images in enumerate(groups):
        for r in range(1 + CLASSES):
            total, count = [0.0] * WIDTH, 0
            for b in images:
                for n in range(POSITIONS):
                    if int(regions[b, n]) == r:
                        count += 1
                        total = [total[d] + float(vectors[b, d, n]) for d in range(WIDTH)]
            assert bool(exist[g, r]) is (count > 0)
            length = math.sqrt(sum((value / max(count, 1)) ** 2 for value in total))
            for d in range(WIDTH):
                wanted = total[d] / count / length if count else 0.0
                assert float(found[g, r, d]) == pytest.approx(wanted, abs=1e-5)
    assert not exist.all()


@BOTH
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_regional_contrast_position_by_position(by_image: bool, temperature: float) -> None:
    regions, ours, theirs = regions_of_scene(foreground=0.4, background=0.2), unit(2), unit(1)
    prototypes, exist = find_prototypes(theirs, regions, CLASSES, by_image=by_image)
    total, count = 0.0, 0
    for b in range(IMAGES):
        g = b if by_image else 0
        for n in range(POSITIONS):
            r = int(regions[b, n])
            if r == NOWHERE:
                continue
            shares = {}
            for q in range(1 + CLASSES):
                if exist[g, q]:
                    cosine = sum(float(ours[b, d, n]) * float(prototypes[g, q, d]) for d in range(WIDTH))
                    shares[q] = math.exp(cosine / temperature)
            total -= math.log(shares[r] / sum(shares.values()))
            count += 1
    found = contrast(regions, ours, theirs, by_image=by_image, temperature=temperature)
    assert float(found) == pytest.approx(total / count, rel=1e-4)


def test_batch_and_image_prototypes_differ_and_agree_on_one_image() -> None:
    regions, ours, theirs = regions_of_scene(foreground=0.4), unit(2), unit(1)
    assert float(contrast(regions, ours, theirs, by_image=True)) != pytest.approx(
        float(contrast(regions, ours, theirs, by_image=False))
    )
    one = [contrast(regions[:1], ours[:1], theirs[:1], by_image=by_image) for by_image in (True, False)]
    assert torch.equal(one[0], one[1])


@BOTH
def test_regional_contrast_limits(by_image: bool) -> None:
    ours, theirs = unit(2).requires_grad_(), unit(1)
    nowhere = torch.full((IMAGES, POSITIONS), NOWHERE)
    alone = torch.full((IMAGES, POSITIONS), 2)
    for regions in (nowhere, alone):
        loss = contrast(regions, ours, theirs, by_image=by_image)
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
        (gradient,) = torch.autograd.grad(loss, ours)
        assert torch.isfinite(gradient).all()
    # Features that are their prototypes, which stand at right angles: -log of 1 / (1 + e^(-1/T)) for two.
    regions = torch.tensor([[0] * 15 + [3] * 15] * IMAGES)
    axes = torch.eye(WIDTH)[regions[:, :].clamp(max=WIDTH - 1)].transpose(1, 2)
    for temperature in (0.05, 0.5):
        loss = contrast(regions, axes, axes, by_image=by_image, temperature=temperature)
        assert float(loss) == pytest.approx(math.log(1 + math.exp(-1 / temperature)), abs=1e-6)
    # Features that say nothing: all prototypes are equally likely.
    loss = contrast(regions, torch.zeros_like(axes), axes, by_image=by_image)
    assert float(loss) == pytest.approx(math.log(2), rel=1e-5)


def test_regional_contrast_draws_a_feature_to_its_own_prototype_alone() -> None:
    regions = torch.tensor([[1, 2]])
    theirs = torch.eye(WIDTH)[:2].T.unsqueeze(0)
    ours = torch.nn.functional.normalize(torch.ones(1, WIDTH, 2), dim=1).requires_grad_()
    prototypes, exist = find_prototypes(theirs, regions, CLASSES, by_image=False)
    regional_contrast(ours, regions, prototypes, exist, 0.1).backward()
    assert ours.grad is not None
    step = -ours.grad
    assert float(step[0, 0, 0]) > 0 > float(step[0, 1, 0])
    assert float(step[0, 1, 1]) > 0 > float(step[0, 0, 1])
    assert not step[0, 2:].any()


def test_prototypes_have_no_gradient() -> None:
    theirs = unit(1).requires_grad_()
    prototypes, _ = find_prototypes(theirs, regions_of_scene(), CLASSES, by_image=False)
    assert not prototypes.requires_grad


@pytest.mark.parametrize("one_sided", [False, True])
def test_attentive_position_by_position(one_sided: bool) -> None:
    maps, labels, inside = scene()
    main = activation(maps, labels, inside)
    target = activation(maps.roll(1, dims=2) + 0.3, labels, inside)
    total = 0.0
    for b in range(IMAGES):
        over, under = 0.0, 0.0
        for c in range(CLASSES):
            for n in range(POSITIONS):
                gap = float(target[b, c, n]) - float(main[b, c, n])
                if one_sided and gap <= 0:
                    continue
                over += abs(gap) * abs(gap)
                under += abs(gap)
        total += over / under
    found = attentive(main, target, one_sided=one_sided)
    assert float(found) == pytest.approx(total / IMAGES, rel=1e-5)


def test_attentive_limits() -> None:
    maps, labels, inside = scene()
    main = activation(maps, labels, inside).requires_grad_()
    for one_sided in (False, True):
        loss = attentive(main, main.detach(), one_sided=one_sided)
        assert float(loss.detach()) == 0
        (gradient,) = torch.autograd.grad(loss, main)
        assert torch.isfinite(gradient).all()
    nothing = torch.zeros_like(main)
    # A constant gap is the loss itself, whatever its sign; one-sided, only growth counts.
    half = torch.full_like(main, 0.5)
    assert float(attentive(nothing, half, one_sided=False)) == pytest.approx(0.5)
    low = torch.full_like(main, 0.25)
    assert float(attentive(half, low, one_sided=False)) == pytest.approx(0.25)
    assert float(attentive(nothing, half, one_sided=True)) == pytest.approx(0.5)
    assert float(attentive(half, low, one_sided=True)) == 0
    assert float(attentive(nothing, torch.ones_like(main), one_sided=False)) == pytest.approx(1)


def test_attentive_pulls_towards_the_target_where_the_gap_is_large() -> None:
    main = torch.tensor([[[0.2, 0.9, 0.5, 0.0]]], requires_grad=True)
    target = torch.tensor([[[0.8, 0.7, 0.5, 0.1]]], requires_grad=True)
    attentive(main, target, one_sided=False).backward()
    assert main.grad is not None
    assert target.grad is None
    # d |A - G| / sum d: the step of each position is its gap over 0.6 + 0.2 + 0.1.
    torch.testing.assert_close(-main.grad, torch.tensor([[[0.6, -0.2, 0.0, 0.1]]]) / 0.9)
    main.grad = None
    attentive(main, target, one_sided=True).backward()
    torch.testing.assert_close(-main.grad, torch.tensor([[[0.6, 0.0, 0.0, 0.1]]]) / 0.7)


def test_attentive_spreads_over_the_classes_of_an_image_and_skips_absent_ones() -> None:
    maps, labels, inside = scene()
    main, target = activation(maps, labels, inside), activation(maps.flip(2), labels, inside)
    alone = [attentive(main[b : b + 1], target[b : b + 1], one_sided=False) for b in range(IMAGES)]
    assert float(attentive(main, target, one_sided=False)) == pytest.approx(sum(map(float, alone)) / IMAGES, rel=1e-5)
    present = labels[2].bool()
    without_absent = attentive(main[2:, present], target[2:, present], one_sided=False)
    assert float(alone[2]) == pytest.approx(float(without_absent), rel=1e-6)
