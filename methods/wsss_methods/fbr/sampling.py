"""Which pixels are anchors, class prototypes, and negatives of other classes. Nothing here has a gradient.

Positions of a map are flattened: N = h x w. Class c of C is index c, and index 1 + c where background comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.fbr.bank import draw_index
from wsss_methods.fbr.config import ContrastConfig, MapSamplingConfig, SamplingConfig

NOWHERE = -1
"""Pseudo label of padding: in no region."""


@dataclass
class Regions:
    """What the current network says of each position of a batch."""

    pseudo: Tensor
    """int64 [B, N]: 0 background, 1 + c for class c, NOWHERE for padding."""
    activation: Tensor
    """float [B, C, N] in 0..1: class scores inside each class's own region."""
    hard: Tensor
    """bool [B, N]: foreground positions that are neither sure nor of low entropy; the anchors."""


@torch.no_grad()
def find_regions(logits: Tensor, labels: Tensor, valid: Tensor, config: SamplingConfig) -> Regions:
    """The rule on AMN, from per-pixel logits (FBR AMN/region_utils.py, get_reliable_pseudo_label).

    Args:
        logits: float32 [B, 1 + C, N].
        labels: image-level labels [B, C]; limit the pseudo labels in the variant "paper".
        valid: bool [B, N], False on padding, which the variant "paper" leaves out.
        config: thresholds.
    """
    released = config.variant == "as_released"
    inside = torch.ones_like(valid) if released else valid
    outside = ~inside.unsqueeze(1)
    probability = logits.softmax(1)
    low = probability.masked_fill(outside, torch.inf).amin(2, keepdim=True)
    high = probability.masked_fill(outside, -torch.inf).amax(2, keepdim=True)
    activation = (probability - low) / (high - low + 1e-5)
    if not released:
        gate = functional.pad(labels, (1, 0), value=1.0).unsqueeze(2)
        activation = (activation * gate).masked_fill(outside, 0)
    pseudo = activation.argmax(1).masked_fill(~inside, NOWHERE)
    return _regions(pseudo, activation[:, 1:], _entropy(probability), inside, config)


@torch.no_grad()
def find_map_regions(maps: Tensor, labels: Tensor, valid: Tensor, config: MapSamplingConfig) -> Regions:
    """The rule on PPC and on hosts without a background channel, from class maps (FBR module/train.py,
    get_contrast_loss and get_reliable_pseudo_label): A = min-max of ReLU(map) for each image and class, 0 for
    classes that are not in the image; pseudo label = the largest of A and the background's constant score.
    Entropy is that of softmax([background, A]) over all classes, and 0 on background.

    Args:
        maps: float32 [B, C, N], foreground classes only.
        labels: image-level labels [B, C].
        valid: bool [B, N], False on padding, which the variant "paper" leaves out.
        config: thresholds and the background's score.
    """
    released = config.variant == "as_released"
    inside = torch.ones_like(valid) if released else valid
    outside = ~inside.unsqueeze(1)
    scores = maps.relu()
    low = scores.masked_fill(outside, torch.inf).amin(2, keepdim=True)
    high = scores.masked_fill(outside, -torch.inf).amax(2, keepdim=True)
    gate = labels.unsqueeze(2)
    if released:
        activation = ((scores - low - 1e-5) / (high - low + 1e-5)).relu()  # theirs is below 0 at the lowest positions
        gated = activation * gate
    else:
        activation = gated = ((scores - low) / (high - low + 1e-5) * gate).masked_fill(outside, 0)
    both = functional.pad(gated, (0, 0, 1, 0), value=config.background)
    pseudo = both.argmax(1).masked_fill(~inside, NOWHERE)
    entropy = _entropy(both.softmax(1)) * (pseudo > 0)
    return _regions(pseudo, activation, entropy, inside, config)


def _entropy(probability: Tensor) -> Tensor:
    """In nats, over classes: [B, N] from [B, K, N]."""
    return -(probability * (probability + 1e-10).log()).sum(1)


def _regions(pseudo: Tensor, own: Tensor, entropy: Tensor, inside: Tensor, config: ContrastConfig) -> Regions:
    """What both rules share: activation limited to regions, the sure part of each class, and the hard positions.

    Args:
        pseudo: int64 [B, N].
        own: activation of each class [B, C, N].
        entropy: [B, N].
        inside: bool [B, N], positions that count.
        config: thresholds.
    """
    classes = torch.arange(1, own.shape[1] + 1, device=own.device).view(1, -1, 1)
    region = pseudo.unsqueeze(1) == classes
    within = own * region
    # The release masks a class only in images where it has a region.
    own = torch.where(region.any(2, keepdim=True), within, own) if config.variant == "as_released" else within

    counted = within > config.activation_floor
    ascending = torch.where(counted, within, torch.inf).sort(dim=2).values
    count = counted.sum(2, keepdim=True)
    position = (count.double() * config.sure_cut).long().clamp(max=within.shape[2] - 1)
    cut = ascending.gather(2, position)  # inf, so nothing is sure, where no pixel is above the floor
    sure = (within > cut).any(1)

    threshold = entropy.masked_fill(~inside, torch.nan).nanquantile(config.entropy_quantile, dim=1, keepdim=True)
    hard = (entropy > threshold) & ~sure & (pseudo > 0)
    return Regions(pseudo, own, hard)


@torch.no_grad()
def find_prototypes(vectors: Tensor, activation: Tensor, fraction: float) -> Tensor:
    """Each class's mean vector over its strongest positions of the whole batch, weighted by activation.

    Args:
        vectors: [B, D, N].
        activation: [B, C, N].
        fraction: positions in a prototype over N; at least one.

    Returns:
        [C, D]; zeros for a class without activation.
    """
    count = min(max(1, int(vectors.shape[2] * fraction)), vectors.shape[0] * vectors.shape[2])
    strongest, index = activation.transpose(0, 1).flatten(1).topk(count, dim=1)
    rows = vectors.transpose(1, 2).flatten(0, 1)[index]
    return (strongest.unsqueeze(2) * rows).sum(1) / strongest.sum(1, keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def other_class_pixels(
    prototypes: Tensor, pseudo: Tensor, classes: Tensor, draws: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Negatives for each anchor: first another class of the batch, the likelier the more alike its prototype,
    then any of its pixels (after ReCo, Liu et al., ICLR 2022).

    Args:
        prototypes: [C, D].
        pseudo: int64 [P], pseudo labels of the whole batch.
        classes: int64 [Q], each anchor's class 0..C - 1.
        draws: uniform numbers in [0, 1), [Q, M, 2].
        temperature: of the softmax over cosines.

    Returns:
        int64 [Q, M], positions among the P, and bool [Q]: False (the positions mean nothing) when the batch has
        no other class, where the release crashes.
    """
    number = prototypes.shape[0]
    counts = functional.one_hot(pseudo.clamp(min=0), number + 1)[:, 1:].sum(0)
    unit = functional.normalize(prototypes, dim=1, eps=1e-8)
    allowed = (counts > 0).unsqueeze(0) & ~torch.eye(number, dtype=torch.bool, device=counts.device)
    has = allowed.any(1)
    scores = (unit @ unit.T / temperature).masked_fill(~allowed, -torch.inf)
    odds = torch.where(has.unsqueeze(1), scores, 0).softmax(1)
    other = draw_index(odds[classes], draws[..., 0])
    order = pseudo.argsort(stable=True)
    starts = (pseudo <= 0).sum() + counts.cumsum(0) - counts
    size = counts[other]
    within = torch.minimum((draws[..., 1] * size).long(), (size - 1).clamp(min=0))
    return order[(starts[other] + within).clamp(max=pseudo.shape[0] - 1)], has[classes]
