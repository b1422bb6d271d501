"""What SEAM does with class maps (Wang et al., CVPR 2020; YudeWang/SEAM), as PPC, FBR and RTC carry it.

Maps are [B, 1 + C, h, w] with the background first; `labels` are image-level, [B, C].
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def evidence(maps: Tensor) -> Tensor:
    """What is given to the pixel correlation: with a_c = ReLU(map_c) / (its maximum + 1e-5), the largest a_c of
    each position, zeros for the other classes, and 1 - that for the background: [B, 1 + C, h, w]."""
    scores = maps[:, 1:].relu()
    scores = (scores - 1e-5).relu() / (scores.amax((2, 3), keepdim=True) + 1e-5)
    best = scores.amax(1, keepdim=True)
    return torch.cat([1 - best, scores.masked_fill(scores < best, 0)], dim=1)


def stretched(maps: Tensor) -> Tensor:
    """max_norm: ReLU(r - min - 1e-5) / (max - min + 1e-5) with r = ReLU(maps), per image and channel. The
    extremes have a gradient, as in the release."""
    maps = maps.relu()
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low - 1e-5).relu() / (high - low + 1e-5)


def min_pooling(refined: Tensor, labels: Tensor) -> Tensor:
    """adaptive_min_pooling_loss: per position the largest refined score of the image's classes; mean of ReLU of
    the lowest quarter of positions."""
    best = (refined[:, 1:] * labels[:, :, None, None]).amax(1).flatten(1)
    lowest = best.topk(max(1, best.shape[1] // 4), dim=1, largest=False).values
    return lowest.relu().mean()


def farthest(one: Tensor, other: Tensor, fraction: float) -> Tensor:
    """The mean of the largest |one - other| of each image, of all channels and positions together.

    Args:
        one: [B, K, h, w].
        other: the same shape.
        fraction: how many of them, of all; at least one.
    """
    distance = (one - other).abs().flatten(1)
    return distance.topk(max(1, int(distance.shape[1] * fraction)), dim=1).values.mean()
