"""Maps between 0 and 1, RCM and MAM, in full precision. B images, C classes, N positions of one grid, D channels."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.rcm_mam.config import RegionsConfig
from wsss_platform.method.module import global_batch

NOWHERE = -1
"""Region of positions that RCM does not use."""


def activation(maps: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
    """a_c = ReLU(map_c) / (its maximum in the image), 0 for classes that are not in the image, and outside it.

    Args:
        maps: class scores [B, C, N].
        labels: image-level, [B, C].
        inside: bool [B, N], positions that are no padding.

    Returns:
        0..1, [B, C, N]; all 0 for a class with no score above 0. The maximum has a gradient, as in SEAM.
    """
    scores = maps.relu() * labels.unsqueeze(2) * inside.unsqueeze(1)
    return scores / scores.amax(2, keepdim=True).clamp(min=1e-5)


@torch.no_grad()
def find_regions(scores: Tensor, labels: Tensor, inside: Tensor, config: RegionsConfig) -> Tensor:
    """The region of each position: int64 [B, N].

    1 + c for the best class c where it scores at least `foreground`; 0, background, where it scores less than
    `background`; else, and outside the image, `NOWHERE`. Of equal classes the first. Without a background prototype
    the background is `NOWHERE` too, and so it is in an image one of whose classes SupportNet sees nowhere: the object
    would be drawn to the background, and the class with it [ours].

    Args:
        scores: SupportNet's, 0..1, [B, C, N].
        labels: image-level, [B, C].
        inside: bool [B, N].
        config: the two thresholds.
    """
    best, index = scores.max(1)
    regions = torch.full_like(index, NOWHERE)
    if config.background_prototype:
        complete = ((scores > 0).any(2) | (labels == 0)).all(1, keepdim=True)
        regions[(best < config.background) & complete] = 0
    regions = torch.where(best >= config.foreground, index + 1, regions)
    return regions.masked_fill(~inside, NOWHERE)


@torch.no_grad()
def find_prototypes(vectors: Tensor, regions: Tensor, classes: int, *, by_image: bool) -> tuple[Tensor, Tensor]:
    """p_r = the mean of SupportNet's vectors in region r, made a unit vector.

    Args:
        vectors: [B, D, N].
        regions: int64 [B, N].
        classes: C.
        by_image: each image's own prototypes instead of those of the whole batch, over all workers.

    Returns:
        [G, 1 + C, D], background first, and which of them exist, bool [G, 1 + C]; G is B by image, else 1.
    """
    member = functional.one_hot(regions + 1, classes + 2)[:, :, 1:].to(vectors.dtype)
    sums = member.transpose(1, 2) @ vectors.transpose(1, 2)
    counts = member.sum(1)
    if not by_image:
        both = torch.cat([sums, counts.unsqueeze(2)], dim=2).sum(0, keepdim=True)
        both = global_batch(both).sum(0, keepdim=True)
        sums, counts = both[:, :, :-1], both[:, :, -1]
    return functional.normalize(sums, dim=2), counts > 0


def regional_contrast(
    vectors: Tensor, regions: Tensor, prototypes: Tensor, exist: Tensor, temperature: float
) -> Tensor:
    """RCM: the mean of -log( exp(f_i . p_r / T) / sum over existing q of exp(f_i . p_q / T) ) over the positions i of
    the whole batch that are in a region r.

    Args:
        vectors: f, MainNet's unit vectors [B, D, N].
        regions: r, int64 [B, N].
        prototypes: p, unit vectors [G, 1 + C, D], G is 1 or B.
        exist: bool [G, 1 + C].
        temperature: T.

    Returns:
        A scalar, at least 0; 0 without regions, or with one prototype alone.
    """
    scores = prototypes @ vectors / temperature
    # Finite, so that an image without any prototype gives no nan.
    scores = scores.masked_fill(~exist.unsqueeze(2), -1e4)
    counted = regions >= 0
    loss = -scores.log_softmax(1).gather(1, regions.clamp(min=0).unsqueeze(1)).squeeze(1)
    counts = global_batch(counted.sum().view(1))
    # DDP averages the workers' gradients, so each one's share of the whole batch's mean is multiplied by their number.
    return counts.shape[0] * torch.where(counted, loss, 0).sum() / counts.sum().clamp(min=1)


def attentive(main: Tensor, target: Tensor, *, one_sided: bool) -> Tensor:
    """MAM: with d = |A - G| without gradient, the sum of d |A - G| over the sum of d, both over the positions and
    classes of an image; the mean over images [ours: the abstract gives no formula]. A class that SupportNet sees
    nowhere (G = 0) does not count: MainNet may have begun to see it [ours].

    Args:
        main: A, MainNet's maps, 0..1, [B, C, N]; 0 for absent classes and outside the image.
        target: G, SupportNet's, the same.
        one_sided: only where G > A.

    Returns:
        A scalar in 0..1; 0 for images whose maps agree.
    """
    gap = (target.detach() - main) * (target > 0).any(2, keepdim=True)
    distance = gap.relu() if one_sided else gap.abs()
    attention = distance.detach()
    return ((attention * distance).sum((1, 2)) / attention.sum((1, 2)).clamp(min=1e-8)).mean()
