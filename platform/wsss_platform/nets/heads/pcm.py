"""SEAM's pixel correlation module (Wang et al., CVPR 2020; YudeWang/SEAM, network/resnet38_SEAM.py), as PPC and FBR
carry it."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.nets.backbones.backbone import Backbone


class PixelCorrelation(nn.Module):
    """Spreads class maps over positions that look alike.

    With x = [colours; ReLU(low conv); ReLU(high conv)], f = mix conv(x), each position's f divided by its length:

        A[i, j] = ReLU(f_i . f_j) / sum over i of ReLU(f_i . f_j),    refined_j = sum over i of map_i A[i, j]

    The backbone has no gradient from here. Widths 64, 128 and 192, no biases [code].
    """

    def __init__(self, low: int, high: int) -> None:
        """
        Args:
            low: channels of the shallower tap (conv4 of WideResNet-38: 512).
            high: channels of the deeper tap (conv5: 1024).
        """
        super().__init__()
        self.low = nn.Conv2d(low, 64, 1, bias=False)
        self.high = nn.Conv2d(high, 128, 1, bias=False)
        self.mix = nn.Conv2d(3 + 64 + 128, 192, 1, bias=False)
        nn.init.kaiming_normal_(self.low.weight)
        nn.init.kaiming_normal_(self.high.weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def forward(self, maps: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Refined maps, float32 [B, K, h, w].

        Args:
            maps: [B, K, h, w], at least 0.
            images: normalised images [B, 3, H, W].
            low: the shallower tap, [B, low, h', w'], resized to h x w where it differs.
            high: the deeper tap, likewise.
        """
        size = maps.shape[2:]
        affinity = self.affinity(images, low, high, size)
        with torch.autocast(maps.device.type, enabled=False):
            refined: Tensor = maps.float().flatten(2) @ affinity
            return refined.view(maps.shape)

    def affinity(self, images: Tensor, low: Tensor, high: Tensor, size: torch.Size) -> Tensor:
        """A, float32 [B, N, N] with N = h x w; its columns sum to 1 (to almost 1, by the 1e-5 in the divisor)."""
        parts = [images, functional.relu(self.low(low.detach())), functional.relu(self.high(high.detach()))]
        return correlation(self.mix(torch.cat([resized(part, size) for part in parts], dim=1)))


def correlation(features: Tensor) -> Tensor:
    """A of `PixelCorrelation`, float32 [B, N, N], of features [B, D, h, w] with N = h x w."""
    with torch.autocast(features.device.type, enabled=False):
        features = features.float().flatten(2)
        features = features / (features.norm(dim=1, keepdim=True) + 1e-5)
        alike = functional.relu(features.transpose(1, 2) @ features)
        return alike / (alike.sum(1, keepdim=True) + 1e-5)


def correlation_taps(backbone: Backbone) -> tuple[str, str]:
    """Names of the two taps the module reads: SEAM's conv4 and conv5, on other networks the ends of the last two
    stages [ours]."""
    if {"conv4", "conv5"} <= backbone.taps.keys():
        return "conv4", "conv5"
    stages = [name for name in backbone.taps if name.startswith("stage")]
    return stages[-2], stages[-1]


def resized(map_: Tensor, size: torch.Size) -> Tensor:
    """[B, K, h, w] at another size, bilinear with the corners on the corners, as all of SEAM's training does it."""
    if map_.shape[2:] == size:
        return map_
    return functional.interpolate(map_, size, mode="bilinear", align_corners=True)
