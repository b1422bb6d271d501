"""VARM, RTC's refinement by local colours (network/VARM.py), and the labels of its segmentation head.

No gradient goes through here. There is no loop over pixels or images; that over the 48 neighbours in `refine` keeps
memory at that of one, while `neighbour_weights` holds the colours of all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.rtc.config import SegmentationConfig
from wsss_platform.nets.backbones.backbone import DEVIATION, MEAN
from wsss_platform.nets.heads.pcm import resized
from wsss_platform.nets.heads.seam import stretched

IGNORE = 255
"""A pixel without a label."""
_AROUND = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The map seen from each neighbour, [B, K, H, W] each; the border's values repeat outside."""
    reach = max(dilations)
    padded = functional.pad(maps, [reach] * 4, mode="replicate")
    height, width = maps.shape[2:]
    for distance in dilations:
        for down, right in _AROUND:
            top, left = reach + distance * down, reach + distance * right
            yield padded[:, :, top : top + height, left : left + width]


@torch.no_grad()
def neighbour_weights(images: Tensor, dilations: Sequence[int], edge_weight: float) -> Tensor:
    """How much each neighbour counts.

    With I the image, I_n the image seen from neighbour n, s its standard deviation over all neighbours:

        w_n = softmax_n( -mean (4 |I_n - I| / (s + 1e-8))^2 ) - edge_weight softmax_n( mean v_n )

    with means over colours; v_n is the squared difference of I_n to the pixel below plus that to the pixel on the
    right (0 on the last row or column). AFA's term on positions, whose code is still there, is not used [code].

    Args:
        images: RGB 0..1, [B, 3, H, W].
        dilations: distances of the eight neighbours in pixels.
        edge_weight: 0..1.

    Returns:
        [B, N, H, W] for N = 8 x len(dilations); a pixel's weights sum to 1 - edge_weight, some may be below 0.
    """
    around = torch.stack(list(_neighbours(images, dilations)), dim=1)
    deviation = around.std(1, keepdim=True)
    alike = -((4 * (around - images.unsqueeze(1)) / (deviation + 1e-8)) ** 2).mean(2)
    below = torch.cat([around[..., 1:, :], around[..., -1:, :]], dim=-2)
    right = torch.cat([around[..., 1:], around[..., -1:]], dim=-1)
    varies = ((around - below) ** 2 + (around - right) ** 2).mean(2)
    return alike.softmax(1) - edge_weight * varies.softmax(1)


@torch.no_grad()
def refine(maps: Tensor, weights: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Each pixel becomes the weighted sum of its neighbours, `iterations` times: [B, K, H, W].

    Args:
        maps: [B, K, H, W].
        weights: of `neighbour_weights`.
        dilations: as given to it.
        iterations: 0 leaves the maps as they are.
    """
    for _ in range(iterations):
        total = torch.zeros_like(maps)
        for index, seen in enumerate(_neighbours(maps, dilations)):
            total.addcmul_(weights[:, index : index + 1], seen)
        maps = total
    return maps


@torch.no_grad()
def pseudo_labels(refined: Tensor, images: Tensor, labels: Tensor, valid: Tensor, config: SegmentationConfig) -> Tensor:
    """Labels of the segmentation head (network/losses.py, refine_cams_with_bkg_v1): int64 [B, H, W], 255 undecided.

    Maps are stretched to 0..1, limited to the image's classes and halved from H x W. Two passes put another constant
    beside them for the background, take the softmax over the image's classes, refine, enlarge and take the largest.
    The first pass's class counts; background is where both say so; all else, and padding, is 255.

    Args:
        refined: after the pixel correlation, [B, 1 + C, h, w].
        images: normalised crops, [B, 3, H, W]; not changed (the release's `denorm` writes into them).
        labels: [B, C].
        valid: bool [B, H, W], False on padding, like the release's box of the crop.
        config: thresholds and refinement.
    """
    size = images.shape[2:]
    half = (max(1, size[0] // 2), max(1, size[1] // 2))
    # Only the classes of an image are worth refining: [B, K] of them in ascending order, K the most of any image.
    most = int(labels.sum(1).max())
    present = labels.argsort(dim=1, descending=True, stable=True)[:, :most]
    there = labels.gather(1, present) > 0
    maps = refined.gather(1, (present + 1)[:, :, None, None].expand(-1, -1, *refined.shape[2:]))
    maps = _halved(resized(stretched(maps), size), half) if most else maps.new_zeros((len(maps), 0, *half))

    absent = functional.pad(~there, (1, 0), value=False)[:, :, None, None]
    passes = [
        functional.pad(maps, (0, 0, 0, 0, 1, 0), value=score).masked_fill(absent, -torch.inf).softmax(1)
        for score in (config.confident_foreground, config.confident_background)
    ]
    deviation, mean = (images.new_tensor(values).view(3, 1, 1) for values in (DEVIATION, MEAN))
    colours = _halved(images * deviation + mean, half)
    weights = neighbour_weights(colours, config.dilations, config.edge_weight)
    done = refine(torch.cat(passes, dim=1), weights, config.dilations, config.iterations)
    names = functional.pad(present + 1, (1, 0))
    foreground, background = (
        names.gather(1, _halved(part, size).masked_fill(absent, -torch.inf).argmax(1).flatten(1)).view(valid.shape)
        for part in done.chunk(2, dim=1)
    )
    undecided = (foreground == 0) & (background != 0)
    return foreground.masked_fill(undecided | ~valid, IGNORE)


def _halved(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """To the halved crop and back, which the release does with half-pixel centres."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)
