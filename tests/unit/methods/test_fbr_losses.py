"""Each loss term of FBR against an independent reference, its limits, and the release's traps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.losses import (
    balanced_cross_entropy,
    class_mean,
    contrast,
    contrast_over_keys,
    cosines,
    decorrelation,
)
from wsss_methods.fbr.module import FbrModule
from wsss_methods.fbr.sampling import Regions
from wsss_platform.config import override
from wsss_platform.method.module import Batch


def test_classification_is_the_balanced_smoothed_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, smoothing = torch.randn(2, 4, 3, 3), 0.4
    seed = torch.randint(0, 4, (2, 3, 3))
    seed[0, 0, :2] = 255
    groups: dict[bool, list[float]] = {True: [], False: []}
    for b in range(2):
        for y in range(3):
            for x in range(3):
                label = int(seed[b, y, x])
                if label != 255:
                    log = logits[b, :, y, x].log_softmax(0)
                    target = [1 - smoothing if c == label else smoothing / 3 for c in range(4)]
                    groups[label == 0].append(-sum(t * float(v) for t, v in zip(target, log, strict=True)))
    wanted = sum(sum(values) / len(values) for values in groups.values()) / 2
    assert float(balanced_cross_entropy(logits, seed, smoothing)) == pytest.approx(wanted, rel=1e-5)


def test_seeds_are_reduced_to_the_centre_of_each_cell() -> None:
    from PIL import Image

    torch.manual_seed(0)
    seed = torch.randint(0, 4, (1, 32, 48))
    reduced = np.asarray(Image.fromarray(seed[0].numpy().astype("uint8")).resize((3, 2), Image.Resampling.NEAREST))
    logits = 20 * functional.one_hot(torch.tensor(reduced).long()[None], 4).permute(0, 3, 1, 2).float()
    assert float(balanced_cross_entropy(logits, seed, 0.0)) < 1e-6, "PIL's nearest, which AMN uses, picks others"


@pytest.mark.parametrize("value", [0, 1, 255])
def test_classification_with_one_group_or_none(value: int) -> None:
    """Trap: the release divides by the number of pixels of a group, which may be 0."""
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = balanced_cross_entropy(logits, torch.full((1, 2, 2), value), 0.4)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (float(loss.detach()) == 0) == (value == 255)


def test_decorrelation_is_the_mean_cosine() -> None:
    torch.manual_seed(0)
    one, other = torch.rand(2, 5, 3, 4), torch.rand(2, 5, 3, 4)
    total = 0.0
    for b in range(2):
        for y in range(3):
            for x in range(4):
                p, q = one[b, :, y, x], other[b, :, y, x]
                total += float(p @ q) / (float(p.norm()) * float(q.norm()))
    assert float(decorrelation(one, other)) == pytest.approx(total / 24, rel=1e-5)
    dead = torch.zeros(1, 5, 2, 2, requires_grad=True)
    decorrelation(dead, dead.detach()).backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()


def test_contrast_is_minus_log_of_the_positives_share() -> None:
    torch.manual_seed(0)
    positive, negative = 2 * torch.rand(3) - 1, 2 * torch.rand(3, 7) - 1
    for q, value in enumerate(contrast(positive, negative, 0.5).tolist()):
        up = math.exp(float(positive[q]) / 0.5)
        down = sum(math.exp(float(value) / 0.5) for value in negative[q])
        assert value == pytest.approx(-math.log(up / (up + down)), rel=1e-5)
    assert torch.isfinite(contrast(-torch.ones(2), torch.ones(2, 5), 0.01)).all()


@pytest.mark.parametrize("rows", [6, 400], ids=["all products", "chosen rows"])
def test_cosines_with_chosen_rows(rows: int) -> None:
    torch.manual_seed(0)
    anchors = functional.normalize(torch.randn(3, 8), dim=1).requires_grad_()
    table = functional.normalize(torch.randn(rows, 8), dim=1)
    index = torch.randint(rows, (3, 5))
    found = cosines(anchors, table, index)
    for q in range(3):
        for m in range(5):
            assert float(found[q, m]) == pytest.approx(float(anchors[q] @ table[index[q, m]]), abs=1e-5)
    found.sum().backward()
    assert anchors.grad is not None


def test_contrast_over_keys_is_the_releases_cosine() -> None:
    """Trap 1: cosine_similarity(anchors [Q, 1, D], keys [Q, 1 + M, D], dim=1) and target 0 among D."""
    torch.manual_seed(0)
    anchors, prototypes, table = torch.rand(4, 8), torch.rand(4, 8), torch.rand(20, 8)
    index = torch.randint(20, (4, 5))
    keys = torch.cat([prototypes.unsqueeze(1), table[index]], dim=1)
    logits = torch.cosine_similarity(anchors.unsqueeze(1), keys, dim=1) / 0.5
    assert logits.shape == (4, 8)
    wanted = functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64), reduction="none")
    torch.testing.assert_close(contrast_over_keys(anchors, prototypes, table, index, 0.5), wanted)


def test_class_mean_averages_anchors_then_present_classes() -> None:
    loss, classes = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([2, 2, 0])
    present = torch.tensor([True, True, True, False])  # class 1 is there, but has no anchors
    assert float(class_mean(loss, classes, present)) == pytest.approx((2 + 10 + 0) / 3)
    empty = class_mean(loss[:0], classes[:0], torch.zeros(4, dtype=torch.bool))
    assert float(empty) == 0


# The whole training module.


def _module(**changes: Any) -> FbrModule:
    small = {"backbone.weights": "none", "heads.projection": 8, "heads.dilations": [1], "sampling.bank_size": 50}
    config = override(FbrConfig(), {**small, "sampling.negatives": 12, **changes})
    torch.manual_seed(0)
    module = FbrModule(config, 3).train()
    features = torch.randn(1, module.backbone.channels, 6, 6)
    module.backbone.forward = lambda images: {"final": features.expand(len(images), -1, -1, -1) * images[:, :1]}  # type: ignore[method-assign]
    return module


def _batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(count, 3, 6, 6, generator=generator) + 0.5
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])[:count]
    seed = torch.randint(0, 4, (count, 6, 6), generator=generator)
    valid = torch.ones(count, 6, 6, dtype=torch.bool)
    return Batch([str(index) for index in range(count)], images, labels, valid, {"seed": seed})


def _gradient(module: FbrModule, term: str) -> list[str]:
    loss = module.losses(_batch(), 0.0)[term]
    if not loss.requires_grad:
        return []
    named = dict(module.named_parameters())
    trainable = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    return [
        name for name, gradient in zip(trainable, gradients, strict=True) if gradient is not None and gradient.any()
    ]


@pytest.mark.parametrize("term", ["intra_foreground", "negative_regions"])
def test_contrast_trains_the_foreground_space_in_the_paper_variant_only(term: str) -> None:
    """Traps 2 and 3: the release detaches the anchors of both terms."""
    live = _gradient(_module(), term)
    assert {"contrast.project_foreground.weight", "conditioning.weight"} <= set(live)
    assert not any(name.startswith(("contrast.project_background", "classifier")) for name in live)
    assert _gradient(_module(**{"sampling.variant": "as_released"}), term) == []


def test_negative_regions_follow_the_definition() -> None:
    """Anchors, prototypes and bank from the parts tested above; every negative drawn from a bank of one vector."""
    from wsss_methods.fbr.sampling import find_prototypes, find_regions

    module = _module(**{"sampling.bank_size": 1, "sampling.negatives": 5, "heads.dropout": 0.0})
    batch = _batch()
    features = module.features(batch.images, batch.labels)
    foreground = functional.relu(module.contrast.project_foreground(features)).flatten(2)
    regions = find_regions(module.classify(features).flatten(2), batch.labels, batch.valid.flatten(1), module.sampling)
    prototypes = find_prototypes(foreground, regions.activation, module.sampling.prototype_fraction)
    found = float(module.losses(batch, 0.0)["negative_regions"].detach())
    stored = module.contrast.bank().contents()[0]
    per_class: dict[int, list[float]] = {c: [] for c in range(3) if (regions.pseudo == c + 1).any()}
    for b in range(3):
        for n in range(36):
            if regions.hard[b, n]:
                c = int(regions.pseudo[b, n]) - 1
                up = math.exp(_cosine(foreground[b, :, n], prototypes[c]) / 0.5)
                down = 5 * math.exp(_cosine(foreground[b, :, n], stored) / 0.5)
                per_class[c].append(-math.log(up / (up + down)))
    assert sum(len(values) for values in per_class.values()) > 5
    wanted = sum(sum(values) / max(len(values), 1) for values in per_class.values()) / len(per_class)
    assert found == pytest.approx(wanted, rel=1e-4)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other) / (float(one.norm()) * float(other.norm()))


def test_one_class_in_the_batch_leaves_only_the_negative_regions() -> None:
    module, batch = _module(), _batch()
    batch.labels[:] = torch.tensor([0.0, 1, 0])
    terms = module.losses(batch, 0.0)
    assert float(terms["intra_foreground"].detach()) == 0
    assert float(terms["negative_regions"].detach()) > 0


def test_without_foreground_the_contrast_terms_are_zero_and_the_bank_fills() -> None:
    module, batch = _module(), _batch()
    batch.labels.zero_()
    terms = module.losses(batch, 0.0)
    assert float(terms["intra_foreground"].detach()) == float(terms["negative_regions"].detach()) == 0
    assert int(module.contrast.bank().filled) == 24


def test_an_empty_bank_gives_zero() -> None:
    module = _module()
    terms = module.eval().losses(_batch(), 0.0)  # evaluation neither fills the bank nor moves the draws
    assert float(terms["negative_regions"].detach()) == 0
    assert int(module.contrast.bank().filled) == int(module.contrast.draw_step) == 0


def test_a_full_bank_goes_round() -> None:
    module = _module(**{"sampling.bank_size": 10})
    for _ in range(3):
        terms = module.losses(_batch(), 0.0)
        assert torch.isfinite(terms["negative_regions"])
    assert int(module.contrast.bank().filled) == 10


def test_padding_stays_out_of_the_bank_and_the_anchors() -> None:
    module, batch = _module(**{"sampling.clusters": 36, "sampling.bank_size": 100}), _batch()
    batch.labels.zero_()
    batch.valid[:, 3:] = False
    module.losses(batch, 0.0)
    assert int(module.contrast.bank().filled) == 3 * 18


def test_dropout_is_off_when_maps_are_made() -> None:
    """Trap 7: the release's network ignores eval(), so its dropout stays on."""
    module, batch = _module(**{"heads.dropout": 0.5}), _batch()
    assert not torch.equal(module.class_maps(batch.images, batch.labels), module.class_maps(batch.images, batch.labels))
    module.eval()
    assert torch.equal(module.class_maps(batch.images, batch.labels), module.class_maps(batch.images, batch.labels))


def test_autocast_keeps_the_terms_in_float32() -> None:
    module = _module()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = module.losses(_batch(), 0.0)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert module.contrast.bank().vectors.dtype == torch.float32


def test_agreeing_anchors_are_those_of_the_seeds_label() -> None:
    """Of the hard positions those whose seed has the network's label; where no seed agrees, none and no loss."""
    seen: dict[str, Tensor] = {}
    given = _batch()
    for anchors in ("all", "agreeing"):
        module = _module(**{"sampling.anchors": anchors})
        whole = module.contrast.forward

        def watch(regions: Regions, *rest: Any, name: str = anchors, go: Any = whole) -> Any:
            seen[name], seen["pseudo"] = regions.hard.clone(), regions.pseudo
            return go(regions, *rest)

        module.contrast.forward = watch  # type: ignore[method-assign]
        module.losses(given, 0.0)
    agree = seen["pseudo"] == given.extras["seed"].flatten(1)
    assert torch.equal(seen["agreeing"], seen["all"] & agree)
    assert 0 < int(seen["agreeing"].sum()) < int(seen["all"].sum())
    given.extras["seed"][:] = 255
    terms = _module(**{"sampling.anchors": "agreeing"}).losses(given, 0.0)
    assert float(terms["intra_foreground"]) == float(terms["negative_regions"]) == 0
