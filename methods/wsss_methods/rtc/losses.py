"""RTC's terms on whole maps: SEAM's between the views, structure, and the balanced cross-entropy; in float32.

Maps are [B, 1 + C, h, w], background first. `labels` are image-level, [B, C].
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.rtc.refinement import IGNORE
from wsss_platform.nets.heads.pcm import resized
from wsss_platform.nets.heads.seam import farthest, stretched


def compared(maps: Tensor, labels: Tensor, size: torch.Size) -> Tensor:
    """Maps stretched to 0..1, resized, and 0 for classes that are not in the image: [B, 1 + C, *size]."""
    gate = functional.pad(labels, (1, 0), value=1.0)[:, :, None, None]
    return resized(stretched(maps), size) * gate


def with_background(maps: Tensor) -> Tensor:
    """The background's channel becomes 1 - the largest class."""
    return torch.cat([1 - maps[:, 1:].amax(1, keepdim=True), maps[:, 1:]], dim=1)


def winners(maps: Tensor) -> Tensor:
    """SEAM's max_onehot: the largest class of each position keeps its value, the others become 0, the background stays.

    The release writes into its argument, also through `detach()`; here it is a new tensor. That changes no number: the
    only later use of those maps takes their winners again.
    """
    classes = maps[:, 1:]
    return torch.cat([maps[:, :1], classes.masked_fill(classes < classes.amax(1, keepdim=True), 0)], dim=1)


def equivariance(first: Tensor, second: Tensor) -> Tensor:
    """SEAM: mean of |first - second| over the classes, of `compared` maps."""
    return (first[:, 1:] - second[:, 1:]).abs().mean()


def cross_refinement(first: Tensor, second: Tensor, first_refined: Tensor, second_refined: Tensor) -> Tensor:
    """SEAM: for each view the mean of the top 20 % of |winners(the other view's maps) - refined maps| of an image,
    both summed; the winners have no gradient.

    Args:
        first: `with_background(compared(maps))` of the first view.
        second: of the second view.
        first_refined: `compared` refined maps of the first view.
        second_refined: of the second view.
    """
    crossed = farthest(winners(second).detach(), first_refined, 0.2)
    return crossed + farthest(winners(first).detach(), second_refined, 0.2)


def structure(read_back: Tensor, maps: Tensor, labels: Tensor, fraction: float) -> Tensor:
    """The mean of the largest |winners(read back) - winners(maps)| of an image, over its classes and positions.

    Args:
        read_back: of `contrast.read_back`, [B, 1 + C, h', w'], without gradient.
        maps: `compared` maps of the view, [B, 1 + C, h, w]; their largest classes have the gradient.
        labels: [B, C].
        fraction: how many distances count.
    """
    target = winners(compared(read_back, labels, maps.shape[2:]))
    return farthest(target[:, 1:], winners(maps)[:, 1:], fraction)


def balanced_cross_entropy(scores: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in which rare classes count as much (Araslanov & Roth, CVPR 2020; contrast_train.py,
    balanced_mask_loss_ce).

    A pixel of class c weighs (T - n_c) / (1 + T), with n_c pixels of c and T labelled pixels in its image; a
    image's loss is the mean over ALL of its pixels, and 0 where its target lacks one of the image's classes or the
    background; mean over images.

    Args:
        scores: [B, 1 + C, h, w], resized to the target's size.
        target: int64 [B, H, W], 255 ignored.
        labels: [B, C].
    """
    scores = resized(scores, target.shape[1:])
    number = scores.shape[1]
    known = target != IGNORE
    flat = torch.where(known, target, number).flatten(1)
    counts = torch.zeros(len(flat), number + 1, device=flat.device).scatter_add_(1, flat, torch.ones_like(flat).float())
    counts = counts[:, :number]
    total = counts.sum(1, keepdim=True)
    rarity = functional.pad((total - counts) / (1 + total), (0, 1))
    loss = functional.cross_entropy(scores, target, ignore_index=IGNORE, reduction="none").flatten(1)
    complete = (counts > 0).sum(1) == labels.sum(1) + 1
    return (complete * (rarity.gather(1, flat) * loss).mean(1)).mean()
