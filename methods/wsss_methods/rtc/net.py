"""RTC's layers (ChunyanWang1/RTC, network/resnet38_contrast.py [code]); names of its tensors: README.md.

Left out: `fc8` and the PAMR module, which the release builds and never uses.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.heads.pcm import correlation, correlation_taps, resized


def detail_tap(backbone: Backbone) -> str:
    """The tap at stride 4: WideResNet-38's conv3 [code], on other networks the end of that stage [ours]."""
    if "conv3" in backbone.taps:
        return "conv3"
    return "stage3" if "stage5" in backbone.taps else "stage1"  # VGG-16's first two stages are finer


class ClassHead(nn.Module):
    """The last map to an embedding to class maps; see `HeadsConfig`."""

    def __init__(
        self,
        inputs: int,
        embedding: int,
        classes: int,
        dropout: float,
        initial: Literal["xavier", "small"] = "xavier",
    ) -> None:
        super().__init__()
        self.dropout, self.initial = nn.Dropout2d(dropout), initial
        self.project = nn.Conv2d(inputs, embedding, 1, bias=False)
        self.classify = nn.Conv2d(embedding, 1 + classes, 1, bias=False)
        if initial == "xavier":  # "small" is what they have
            _xavier(self.project, self.classify)

    def forward(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, h, w] -> the embedding, at least 0, and the maps [B, 1 + C, h, w], background first."""
        embedding = functional.relu(self.project(self.dropout(last)))
        return embedding, self.classify(embedding)


class TwoCorrelations(nn.Module):
    """SEAM's pixel correlation twice, from shallow and from deep features; the mean of both.

    shallow: mix([colours; ReLU(conv4)]), deep: mix([ReLU(conv5); ReLU(conv6)]), each to an affinity as in SEAM. The
    backbone has no gradient from here. Widths 64, 128, 128, 64 and 128, no biases [code].
    """

    def __init__(self, backbone: Backbone) -> None:
        """
        Args:
            backbone: whose taps are read; conv4, conv5 and the last map, or what stands for them.
        """
        super().__init__()
        self.taps = (*correlation_taps(backbone), "final")
        conv4, conv5, conv6 = (backbone.taps[name] for name in self.taps)
        self.conv4 = nn.Conv2d(conv4, 64, 1, bias=False)
        self.conv5 = nn.Conv2d(conv5, 128, 1, bias=False)
        self.conv6 = nn.Conv2d(conv6, 128, 1, bias=False)
        self.shallow = nn.Conv2d(3 + 64, 64, 1, bias=False)
        self.deep = nn.Conv2d(128 + 128, 128, 1, bias=False)
        for convolution in (self.conv4, self.conv5, self.conv6):
            nn.init.kaiming_normal_(convolution.weight)
        nn.init.xavier_uniform_(self.shallow.weight)
        nn.init.xavier_uniform_(self.deep.weight, gain=4)

    def forward(self, maps: Tensor, images: Tensor, taps: dict[str, Tensor]) -> Tensor:
        """Refined maps, float32 [B, K, h, w].

        Args:
            maps: [B, K, h, w], at least 0 (`seam.evidence`).
            images: normalised images [B, 3, H, W].
            taps: of the backbone; resized to h x w where they differ.
        """
        size = maps.shape[2:]
        conv4, conv5, conv6 = (
            resized(functional.relu(layer(taps[name].detach())), size)
            for layer, name in zip((self.conv4, self.conv5, self.conv6), self.taps, strict=True)
        )
        shallow = self.shallow(torch.cat([resized(images, size), conv4], dim=1))
        deep = self.deep(torch.cat([conv5, conv6], dim=1))
        with torch.autocast(maps.device.type, enabled=False):
            flat = maps.float().flatten(2)
            refined: Tensor = (flat @ correlation(deep) + flat @ correlation(shallow)) / 2
            return refined.view(maps.shape)


class SegmentationHead(nn.Module):
    """The last map and a detail map to class scores at the detail map's size.

    Two dilated 3x3 convolutions beside one plain one, joined by a 1x1; resized; beside a 3x3 of the detail map; 1x1 and
    ReLU; 1x1. There is no normalisation and no activation between the others [code].
    """

    def __init__(self, backbone: Backbone, widths: tuple[int, int, int], classes: int, reach: int = 96) -> None:
        """
        Args:
            backbone: whose taps are read.
            widths: of the first dilated convolution, the others, and the detail branch.
            classes: C foreground classes.
            reach: input pixels between the taps of the dilated convolutions.
        """
        super().__init__()
        first, width, detail = widths
        self.tap, self.reach = detail_tap(backbone), reach
        rate = max(1, round(reach / backbone.output_stride))
        inputs = backbone.channels
        self.wide1 = nn.Conv2d(inputs, first, 3, padding=rate, dilation=rate)
        self.wide2 = nn.Conv2d(first, width, 3, padding=rate, dilation=rate)
        self.near = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.join = nn.Conv2d(2 * width, width, 1, bias=False)
        self.detail = nn.Conv2d(backbone.taps[self.tap], detail, 3, padding=1, bias=False)
        self.project = nn.Conv2d(width + detail, width, 1, bias=False)
        self.classify = nn.Conv2d(width, 1 + classes, 1, bias=False)
        _xavier(self.wide1, self.wide2, self.near, self.join, self.detail, self.project, self.classify)

    def forward(self, taps: dict[str, Tensor]) -> Tensor:
        """Scores [B, 1 + C, h, w], background first, at the detail tap's size."""
        last, fine = taps["final"], taps[self.tap]
        deep = self.join(torch.cat([self.wide2(self.wide1(last)), self.near(last)], dim=1))
        both = torch.cat([resized(deep, fine.shape[2:]), self.detail(fine)], dim=1)
        scores: Tensor = self.classify(functional.relu(self.project(both)))
        return scores


def _xavier(*convolutions: nn.Conv2d) -> None:
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
