"""The terms of PPC on EPS (SEAM's, EPS's, PPC's) and FBR's background map, in float32.

Maps are [B, 1 + C, h, w] with the background first; the release has it last. `labels` are image-level, [B, C].
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_platform.nets.heads.seam import farthest, stretched


def thresholded_average(features: Tensor, threshold: float) -> Tensor:
    """Mean of each channel's activations above `threshold` x its maximum (FBR util/imutils.py, ThresholdedAvgPool2d).

    Args:
        features: [B, D, h, w], at least 0.
        threshold: 0..1.

    Returns:
        [B, D, 1, 1]; 0 for a channel that is 0 everywhere.
    """
    kept = features > threshold * features.amax((2, 3), keepdim=True)
    return (features * kept).sum((2, 3), keepdim=True) / kept.sum((2, 3), keepdim=True).clamp(min=1)


def saliency_loss(maps: Tensor, saliency: Tensor, labels: Tensor, overlap: float, blend: float) -> Tensor:
    """EPS (Lee et al., CVPR 2021; eps.py, get_eps_loss).

    P = softmax(maps). A class of the image is salient when the part of {P_c > 1/2} that lies on {saliency > 1/2}
    is more than `overlap`. F = sum of the salient classes' P, G = P of the background and of the image's other
    classes. Loss: mean of (blend F + (1 - blend) (1 - G) - saliency)^2.

    Args:
        maps: [B, 1 + C, h, w].
        saliency: 0..1, [B, 1, H, W]; reduced to h x w by the nearest position, as in the release.
        labels: [B, C].
        overlap: tau.
        blend: alpha.
    """
    saliency = functional.interpolate(saliency, maps.shape[2:])
    share = maps.softmax(1)
    confident = share[:, 1:].detach().round()
    on_saliency = (confident * saliency.round()).sum((2, 3)) / (confident + 1e-4).sum((2, 3))
    salient = labels * (on_saliency > overlap)
    foreground = (share[:, 1:] * salient[:, :, None, None]).sum(1, keepdim=True)
    background = share[:, :1] + (share[:, 1:] * (labels - salient)[:, :, None, None]).sum(1, keepdim=True)
    return functional.mse_loss(blend * foreground + (1 - blend) * (1 - background), saliency)


def consistency(
    first: Tensor, second: Tensor, first_refined: Tensor, second_refined: Tensor, labels: Tensor, *, released: bool
) -> tuple[Tensor, Tensor]:
    """SEAM's two terms between views (FBR module/train.py, get_er_loss), on the second view's h x w.

    With s(m) = stretched(m) x labels (1 for the background): equivariance is the mean of |s(first) - s(second)| over
    the classes. Cross refinement is, for each view, the mean of the top 20 % of |w(other view's s) - s(refined)| in
    each image, both summed; w keeps the largest class of each position and puts 1 - it on the background, and has
    no gradient.

    Args:
        first: maps of the first view, [B, 1 + C, H, W].
        second: maps of the second view, [B, 1 + C, h, w].
        first_refined: the first view's refined maps.
        second_refined: the second view's.
        labels: [B, C].
        released: w as the release has it: SEAM's "all but channel 0", where FBR and PPC have the background last, so
            it keeps the first class whatever it is, and the background only where it is the largest of the rest.

    Returns:
        equivariance and cross refinement.
    """
    gate = functional.pad(labels, (1, 0), value=1.0)[:, :, None, None]
    one, one_refined = (_resized(stretched(maps), second.shape[2:]) * gate for maps in (first, first_refined))
    other, other_refined = (stretched(maps) * gate for maps in (second, second_refined))
    equivariance = (one[:, 1:] - other[:, 1:]).abs().mean()
    crossed = farthest(winners(other, released=released), one_refined, 0.2)
    crossed = crossed + farthest(winners(one, released=released), other_refined, 0.2)
    return equivariance, crossed


@torch.no_grad()
def winners(stretched: Tensor, *, released: bool) -> Tensor:
    """w of `consistency`: [B, 1 + C, h, w] of a stretched and gated map, whose background channel is not used."""
    classes = stretched[:, 1:]
    background = 1 - classes.amax(1, keepdim=True)
    if not released:
        return torch.cat([background, classes.masked_fill(classes < classes.amax(1, keepdim=True), 0)], dim=1)
    rest = torch.cat([background, classes[:, 1:]], dim=1)
    rest = rest.masked_fill(rest < rest.amax(1, keepdim=True), 0)
    return torch.cat([rest[:, :1], classes[:, :1], rest[:, 1:]], dim=1)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(maps, size, mode="bilinear", align_corners=True)


def to_prototypes(vectors: Tensor, classes: Tensor, prototypes: Tensor, usable: Tensor, temperature: float) -> Tensor:
    """PPC's pixel-to-prototype contrast (Du et al., CVPR 2022; FBR module/train.py, get_contrast_loss).

    -log( exp(z . p_l / T) / sum over c of exp(z . p_c / T) ) with unit z and p, summed over the foreground pixels and
    divided by ALL pixels [code].

    Args:
        vectors: z before normalisation, [P, D].
        classes: int64 [P], l: 0 background, 1 + c for class c, below 0 nothing.
        prototypes: before normalisation, [1 + C, D].
        usable: bool [1 + C], which of them exist; pixels of another class count 0.
        temperature: T.
    """
    unit = functional.normalize(vectors, dim=1, eps=1e-8)
    scores = unit @ functional.normalize(prototypes, dim=1, eps=1e-8).T / temperature
    labels = classes.clamp(min=0)
    counted = (classes > 0) & usable[labels]
    # A finite score for what does not exist: with nothing usable at all, infinities would give nan.
    loss = -scores.masked_fill(~usable, -1e4).log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return torch.where(counted, loss, 0).sum() / classes.shape[0]


@torch.no_grad()
def background_target(maps: Tensor, labels: Tensor, below: float) -> Tensor:
    """FBR's get_background_label: 1 where the image's classes, each divided by its maximum, sum to less than
    `below`: float32 [B, 1, h, w]."""
    scores = maps[:, 1:].relu() * labels[:, :, None, None]
    scores = scores / (scores.amax((2, 3), keepdim=True) + 1e-5)
    return (scores.sum(1, keepdim=True) < below).float()
