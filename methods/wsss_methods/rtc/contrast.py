"""RTC's contrast: pseudo labels, prototypes of the swapped view, the class read-back, and the terms on them.

Positions are those of one grid: maps and embeddings are [B, K, N].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.rtc.config import ContrastConfig
from wsss_platform.method.module import global_batch


@dataclass
class Evidence:
    """What one view's refined map says. Nothing here has a gradient."""

    scores: Tensor
    """float32 [B, 1 + C, N], each class stretched over the image; the background is the constant."""
    labels: Tensor
    """int64 [B, N]: 0 background, 1 + c for class c of the image."""


@dataclass
class Prototypes:
    """What the best positions of one view's map hold in the OTHER view's embedding, over the whole batch."""

    places: Tensor
    """int64 [1 + C, k], positions among B x N of all workers."""
    values: Tensor
    """The map's scores there, [1 + C, k]."""
    keys: Tensor
    """Embeddings there, [1 + C, k, D]."""
    vectors: Tensor
    """Their means weighted by the values, of unit length: [1 + C, D]."""
    usable: Tensor
    """bool [1 + C], which of them exist."""


@torch.no_grad()
def find_evidence(refined: Tensor, labels: Tensor, background: float) -> Evidence:
    """Scores and pseudo labels (contrast_train.py, normal).

    With r = ReLU(refined), values below min + 1e-5 set to 0: (r - min - 1e-5) / (max - min + 1e-5), so a map's lowest
    positions get -(min + 1e-5) / (max - min + 1e-5), as in the release. The label is the largest of the background's
    constant and the image's classes; classes that are not in the image count 0.

    Args:
        refined: [B, 1 + C, N].
        labels: [B, C].
        background: the constant.
    """
    scores = refined.relu()
    low, high = scores.amin(2, keepdim=True), scores.amax(2, keepdim=True)
    scores = scores.masked_fill(scores < low + 1e-5, 0)
    scores = (scores - low - 1e-5) / (high - low + 1e-5)
    scores[:, 0] = background
    gate = functional.pad(labels, (1, 0), value=1.0).unsqueeze(2)
    return Evidence(scores, (scores * gate).argmax(1))


@torch.no_grad()
def find_prototypes(evidence: Evidence, embedding: Tensor, labels: Tensor, config: ContrastConfig) -> Prototypes:
    """The k best positions of each class over the batch of all workers, and what `embedding` holds there.

    Args:
        evidence: of one view.
        embedding: of the other view, [B, D, N].
        labels: [B, C].
        config: fraction and members.
    """
    scores, vectors = global_batch(evidence.scores), global_batch(embedding)
    if config.members == "labelled":
        gate = functional.pad(global_batch(labels), (1, 0), value=1.0).unsqueeze(2)
        scores = (scores * gate).clamp(min=0)
        scores[:, 0] = (global_batch(evidence.labels) == 0).to(scores)
    count = min(max(1, int(scores.shape[2] * config.fraction)), scores.shape[0] * scores.shape[2])
    values, places = scores.transpose(0, 1).flatten(1).topk(count, dim=1)
    keys = vectors.transpose(1, 2).flatten(0, 1)[places]
    usable = torch.ones(len(values), dtype=torch.bool, device=values.device)
    if config.members == "labelled":
        usable = values.sum(1) > 0
    return Prototypes(places, values, keys, _weighted(values, keys), usable)


def _weighted(values: Tensor, keys: Tensor) -> Tensor:
    """sum(values keys) / sum(values), of unit length: [K, D] from [K, k] and [K, k, D]."""
    total = values.sum(1, keepdim=True)
    # A map that is constant has scores far below 0, so the sign stays.
    total = torch.where(total.abs() < 1e-12, 1e-12, total)
    return functional.normalize((values.unsqueeze(2) * keys).sum(1) / total, dim=1)


@torch.no_grad()
def read_back(evidence: Evidence, embedding: Tensor, prototypes: Prototypes) -> Tensor:
    """The view's scores plus, for each class, what the batch's best features of that class give back ("compensator"):

        new_c(i) = score_c(i) + sum over j of softmax_j( cos(z_i, key_cj) ) value_cj       (no temperature [code])

    Args:
        evidence: of the view.
        embedding: z of the OTHER view, [B, D, N].
        prototypes: of the view's map, whose keys are of the other view's embedding.

    Returns:
        [B, 1 + C, N].
    """
    unit = functional.normalize(embedding, dim=1).transpose(1, 2).flatten(0, 1)
    keys = functional.normalize(prototypes.keys, dim=2)
    attention = (unit @ keys.transpose(1, 2)).softmax(2)
    given = (attention @ prototypes.values.unsqueeze(2)).squeeze(2)
    batch, _, positions = embedding.shape
    return evidence.scores + given.view(-1, batch, positions).transpose(0, 1)


def log_shares(embedding: Tensor, prototypes: Prototypes, temperature: float) -> Tensor:
    """log( exp(z . p_c / T) / sum over c' of exp(z . p_c' / T) ) with unit z: [B, 1 + C, N] of [B, D, N]."""
    scores = functional.normalize(embedding, dim=1).transpose(1, 2) @ prototypes.vectors.T / temperature
    # A finite score for what does not exist: with nothing usable at all, infinities would give nan.
    return scores.masked_fill(~prototypes.usable, -1e4).log_softmax(2).transpose(1, 2)


def contrast(shares: Tensor, labels: Tensor, prototypes: Prototypes) -> Tensor:
    """The mean of -log_shares at each position's label, over ALL positions (InfoNCE).

    Args:
        shares: of `log_shares`.
        labels: int64 [B, N]; a label whose prototype does not exist counts 0.
        prototypes: that the shares were computed with.
    """
    loss = -shares.gather(1, labels.unsqueeze(1)).squeeze(1)
    return torch.where(prototypes.usable[labels], loss, 0).mean()


def class_relation(
    first: Prototypes, second: Prototypes, first_embedding: Tensor, second_embedding: Tensor, labels: Tensor
) -> Tensor:
    """The mean of -log(1 - cos(p_c, q_d)) over pairs of different classes c, d of the batch, background among them.

    p are the first view's prototypes, q the second's, computed again from embeddings with a gradient. 0 without a
    class.

    Args:
        first: prototypes of the first view's map, of the second view's embedding.
        second: the other way round.
        first_embedding: of the first view, [B, D, N].
        second_embedding: of the second view.
        labels: [B, C].
    """
    one, other = (
        _weighted(prototypes.values, _everyone(embedding).transpose(1, 2).flatten(0, 1)[prototypes.places])
        for prototypes, embedding in ((first, second_embedding), (second, first_embedding))
    )
    there = functional.pad(global_batch(labels).amax(0) > 0, (1, 0), value=True)
    pairs = there.unsqueeze(0) & there.unsqueeze(1) & ~torch.eye(len(there), dtype=torch.bool, device=there.device)
    distance = -(1 - one @ other.T).clamp(min=1e-4).log()
    return torch.where(pairs, distance, 0).sum() / pairs.sum().clamp(min=1)


def _everyone(local: Tensor) -> Tensor:
    """`global_batch` with the gradient of this worker's own rows, times the number of workers, who take the mean."""
    rows = global_batch(local)
    if rows.shape[0] == local.shape[0]:
        return local
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    own = world * local - (world - 1) * local.detach()
    start = rank * local.shape[0]
    return torch.cat([rows[:start], own, rows[start + local.shape[0] :]])
