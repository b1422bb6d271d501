"""The loss terms of FBR on AMN, in float32. Counts come from the whole batch, over all workers."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_platform.method.module import global_batch

IGNORE = 255
"""Seed label of pixels that no loss uses."""


def balanced_cross_entropy(logits: Tensor, seed: Tensor, smoothing: float) -> Tensor:
    """AMN's per-pixel classification (Lee et al., CVPR 2022; AMN step/train_amn.py): smoothed cross-entropy, half
    the mean over background pixels plus half the mean over foreground pixels; a group without pixels gives 0.

    Args:
        logits: [B, 1 + C, h, w].
        seed: int64 [B, H, W], 0 background, 1 + c for class c, 255 ignored; reduced to h x w by nearest position.
        smoothing: eps; the target is 1 - eps on the seed's label and eps / C on each other one.
    """
    seed = seed_at(seed, logits.shape[2:])
    rest = smoothing / (logits.shape[1] - 1)
    log_probability = logits.log_softmax(1)
    at_label = log_probability.gather(1, seed.masked_fill(seed == IGNORE, 0).unsqueeze(1)).squeeze(1)
    loss = -(1 - smoothing - rest) * at_label - rest * log_probability.sum(1)
    groups = torch.stack([seed == 0, (seed != 0) & (seed != IGNORE)]).to(loss.dtype)
    counts, workers = _summed(groups.sum(dim=(1, 2, 3)))
    means = workers * (groups * loss).sum(dim=(1, 2, 3)) / counts.clamp(min=1)
    halves: Tensor = means.sum() / 2
    return halves


def seed_at(seed: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Seed labels int64 [B, H, W] at the nearest pixel of each position of an h x w map: int64 [B, h, w]."""
    return functional.interpolate(seed.unsqueeze(1).float(), size, mode="nearest-exact")[:, 0].long()


def decorrelation(foreground: Tensor, background: Tensor) -> Tensor:
    """Mean cosine between the two vectors of each pixel; both [B, D, h, w]."""
    return functional.cosine_similarity(foreground, background, dim=1, eps=1e-8).mean()


def contrast(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """-log of the positive's share, for each anchor.

    Args:
        positive: cosines [Q].
        negative: cosines [Q, M].
        temperature: divides both.

    Returns:
        [Q], at least 0.
    """
    scores = torch.cat([positive.unsqueeze(1), negative], dim=1) / temperature
    return -scores.log_softmax(1)[:, 0]


def contrast_over_keys(anchors: Tensor, prototypes: Tensor, table: Tensor, index: Tensor, temperature: float) -> Tensor:
    """The release's pixel-to-NROI term: its cosine runs over the 1 + M keys instead of the D channels, so it is a
    cross-entropy over D "classes" with target 0 (FBR AMN/region_utils.py, cosine_similarity(..., dim=1)).

    Args:
        anchors: [Q, D].
        prototypes: each anchor's positive, [Q, D].
        table: [R, D], the bank.
        index: int64 [Q, M], each anchor's negatives in it.
        temperature: divides the cosines.

    Returns:
        [Q].
    """
    total: Tensor = prototypes + functional.embedding_bag(index, table, mode="sum")
    squares: Tensor = prototypes.square() + functional.embedding_bag(index, table.square(), mode="sum")
    length = anchors.abs() * (1 + index.shape[1]) ** 0.5
    over_keys: Tensor = anchors * total / (length.clamp(min=1e-8) * squares.sqrt().clamp(min=1e-8))
    return -(over_keys / temperature).log_softmax(1)[:, 0]


def cosines(anchors: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Cosine of anchor q with table[index[q, m]].

    Args:
        anchors: unit vectors [Q, D].
        table: unit vectors [R, D].
        index: int64 [Q, M].

    Returns:
        [Q, M]. All Q x R products where that is the smaller job, else the chosen rows alone.
    """
    if table.shape[0] <= 32 * index.shape[1]:
        return (anchors @ table.T).gather(1, index)
    return torch.einsum("qd,qmd->qm", anchors, functional.embedding(index, table))


def class_mean(loss: Tensor, classes: Tensor, present: Tensor) -> Tensor:
    """Mean over the anchors of a class, then over the classes present in the batch (one without anchors counts 0).

    Args:
        loss: [Q], this worker's anchors.
        classes: int64 [Q], 0..C - 1.
        present: bool [C], classes in the pseudo labels of the whole batch.
    """
    counts, workers = _summed(torch.bincount(classes, minlength=present.shape[0]).to(loss.dtype))
    return workers * (loss / counts[classes]).sum() / present.sum().clamp(min=1)


def _summed(counts: Tensor) -> tuple[Tensor, int]:
    """Counts [n] summed over workers, and how many these are: DDP averages the workers' gradients, so each
    worker's share of a global mean is multiplied by it."""
    rows = global_batch(counts.unsqueeze(0))
    return rows.sum(0), rows.shape[0]
