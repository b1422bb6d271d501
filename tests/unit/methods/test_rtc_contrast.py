"""RTC's contrast against loops: evidence, prototypes, read-back, InfoNCE, class relation, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wsss_methods.rtc.config import ContrastConfig
from wsss_methods.rtc.contrast import (
    class_relation,
    contrast,
    find_evidence,
    find_prototypes,
    log_shares,
    read_back,
)

B, C, D, N = 3, 3, 5, 12
LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]])
CONFIG = ContrastConfig(fraction=0.25)


def _tensors(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Refined maps [B, 1 + C, N] and an embedding [B, D, N], at least 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(B, 1 + C, N, generator=generator), torch.randn(B, D, N, generator=generator).relu()


def _evidence_by_loops(refined: Tensor, background: float) -> tuple[list[list[list[float]]], list[list[int]]]:
    scores, labels = [], []
    for b in range(B):
        rows = [[background] * N]
        for c in range(1, 1 + C):
            values = [max(0.0, float(value)) for value in refined[b, c]]
            low, high = min(values), max(values)
            kept = [0.0 if value < low + 1e-5 else value for value in values]
            rows.append([(value - low - 1e-5) / (high - low + 1e-5) for value in kept])
        scores.append(rows)
        gate = [1.0, *LABELS[b].tolist()]
        labels.append([max(range(1 + C), key=lambda c, i=i: (rows[c][i] * gate[c], -c)) for i in range(N)])
    return scores, labels


def test_evidence_is_that_of_loops_below_zero_where_a_map_is_lowest() -> None:
    refined, _ = _tensors()
    found = find_evidence(refined, LABELS, 0.2)
    scores, labels = _evidence_by_loops(refined, 0.2)
    torch.testing.assert_close(found.scores, torch.tensor(scores), rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == labels
    assert float(found.scores.min()) < 0
    flat = find_evidence(torch.full((B, 1 + C, N), 0.5), LABELS, 0.2)
    assert (flat.labels == 0).all()
    assert torch.isfinite(flat.scores).all()


def _unit(vector: list[float]) -> list[float]:
    length = max(math.sqrt(sum(value * value for value in vector)), 1e-12)
    return [value / length for value in vector]


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _best(scores: list[list[list[float]]], c: int, count: int) -> list[tuple[float, int, int]]:
    """(value, image, position) of the best places of channel c over the batch."""
    everywhere = [(scores[b][c][i], b, i) for b in range(B) for i in range(N)]
    return sorted(everywhere, reverse=True)[:count]


def test_prototypes_are_weighted_means_of_the_other_views_features_over_the_batch() -> None:
    """Of images without the class, too: with `released`, class 2's best places are not only in image 1."""
    refined, embedding = _tensors()
    seen = find_evidence(refined, LABELS, 0.2)
    found = find_prototypes(seen, embedding, LABELS, CONFIG)
    scores, _ = _evidence_by_loops(refined, 0.2)
    assert found.places.shape == (1 + C, N // 4)
    for c in range(1, 1 + C):
        best = _best(scores, c, N // 4)
        mean = [sum(v * float(embedding[b, d, i]) for v, b, i in best) / sum(v for v, _, _ in best) for d in range(D)]
        torch.testing.assert_close(found.vectors[c], torch.tensor(_unit(mean)), rtol=1e-3, atol=1e-4)
    assert {place // N for place in found.places[2].tolist()} - {1}
    assert found.usable.all()


def test_labelled_prototypes_are_of_images_with_the_class_only() -> None:
    refined, embedding = _tensors()
    labels = LABELS.clone()
    labels[:, 1] = 0
    seen = find_evidence(refined, labels, 0.2)
    config = ContrastConfig(fraction=0.25, members="labelled")
    found = find_prototypes(seen, embedding, labels, config)
    assert found.usable.tolist() == [True, True, False, True]
    for c in (1, 3):
        images = {place // N for place, value in zip(found.places[c].tolist(), found.values[c], strict=True) if value}
        assert images <= {b for b in range(B) if labels[b, c - 1]}
    flat = seen.labels.flatten()
    assert all(flat[place] == 0 for place in found.places[0][found.values[0] > 0].tolist())


def test_read_back_adds_what_the_best_features_give() -> None:
    refined, embedding = _tensors()
    seen = find_evidence(refined, LABELS, 0.2)
    prototypes = find_prototypes(seen, embedding, LABELS, CONFIG)
    found = read_back(seen, embedding, prototypes)
    scores, _ = _evidence_by_loops(refined, 0.2)
    for c in range(1, 1 + C):
        best = _best(scores, c, N // 4)
        keys = [_unit([float(embedding[b, d, i]) for d in range(D)]) for _, b, i in best]
        for b in range(B):
            for i in range(N):
                z = _unit([float(value) for value in embedding[b, :, i]])
                odds = [math.exp(_dot(z, key)) for key in keys]
                given = sum(o * v for o, (v, _, _) in zip(odds, best, strict=True)) / sum(odds)
                assert float(found[b, c, i]) == pytest.approx(scores[b][c][i] + given, abs=1e-4)


def _nce_by_loops(embedding: Tensor, vectors: Tensor, labels: list[list[int]], temperature: float) -> float:
    total = 0.0
    for b in range(B):
        for i in range(N):
            z = _unit([float(value) for value in embedding[b, :, i]])
            odds = [math.exp(_dot(z, vectors[c].tolist()) / temperature) for c in range(1 + C)]
            total -= math.log(odds[labels[b][i]] / sum(odds))
    return total / (B * N)


def test_contrast_is_the_mean_over_all_positions() -> None:
    refined, embedding = _tensors()
    seen = find_evidence(refined, LABELS, 0.2)
    prototypes = find_prototypes(seen, embedding, LABELS, CONFIG)
    found = contrast(log_shares(embedding, prototypes, 0.1), seen.labels, prototypes)
    wanted = _nce_by_loops(embedding, prototypes.vectors, seen.labels.tolist(), 0.1)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    prototypes.usable[:] = False
    assert float(contrast(log_shares(embedding, prototypes, 0.1), seen.labels, prototypes)) == 0


def test_contrast_is_finite_where_exponentials_are_not() -> None:
    """exp(1 / 0.01) is above what float32 holds."""
    refined, embedding = _tensors()
    seen = find_evidence(refined, LABELS, 0.2)
    prototypes = find_prototypes(seen, embedding, LABELS, CONFIG)
    assert torch.isfinite(contrast(log_shares(embedding, prototypes, 0.01), seen.labels, prototypes))


def test_class_relation_is_that_of_loops_and_has_a_gradient() -> None:
    refined, z1 = _tensors()
    other, z2 = _tensors(seed=1)
    labels = LABELS.clone()
    labels[:, 2] = 0
    z1.requires_grad_()
    z2.requires_grad_()
    of1 = find_prototypes(find_evidence(refined, labels, 0.2), z2, labels, CONFIG)
    of2 = find_prototypes(find_evidence(other, labels, 0.2), z1, labels, CONFIG)
    found = class_relation(of1, of2, z1, z2, labels)
    terms = [
        -math.log(max(1 - _dot(of1.vectors[c].tolist(), of2.vectors[d].tolist()), 1e-4))
        for c in range(3)
        for d in range(3)
        if c != d
    ]
    assert float(found.detach()) == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    found.backward()
    for embedding in (z1, z2):
        assert embedding.grad is not None
        assert embedding.grad.any()
    none = class_relation(of1, of2, z1, z2, torch.zeros(B, C))
    assert float(none.detach()) == 0, "only the background is there: the release divides by 0"


def test_maps_that_are_constant_or_empty_give_finite_prototypes() -> None:
    _, embedding = _tensors()
    for value in (0.0, 0.5):
        seen = find_evidence(torch.full((B, 1 + C, N), value), LABELS, 0.2)
        for members in ("released", "labelled"):
            config = ContrastConfig.model_validate({"members": members})
            prototypes = find_prototypes(seen, embedding, LABELS, config)
            assert torch.isfinite(prototypes.vectors).all()
            assert torch.isfinite(read_back(seen, embedding, prototypes)).all()
            assert torch.isfinite(contrast(log_shares(embedding, prototypes, 0.1), seen.labels, prototypes))
    assert torch.isfinite(find_prototypes(seen, torch.zeros(B, D, N), LABELS, CONFIG).vectors).all()
