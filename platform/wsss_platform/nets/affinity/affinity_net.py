"""AffinityNet (Ahn & Kwak, CVPR 2018; jiwoon-ahn/psa, network/resnet38_aff.py [code]), as PSA, SEAM and PPC use it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import AffinityConfig, BackboneConfig
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.affinity.pairs import affinity_losses, at_cells, pair_distances, pair_kinds
from wsss_platform.nets.affinity.walk import half_plane, walk
from wsss_platform.nets.build import build_backbone

SIDES = {
    "wide_resnet38": ("conv4", "conv5", "final"),
    "resnet50": ("stage2", "stage3", "final"),
    "vgg16": ("stage3", "stage4", "final"),
    "efficientnet_lite0": ("stage2", "stage3", "final"),
}
"""The three taps by backbone. WideResNet-38's are the released ones (conv6 is "final"); the others [ours]."""
WIDTHS = (64, 128, 256)
"""Channels of the side features; their concatenation, 448, is also the embedding's [code]."""
STRIDE = 8
"""Pixels per cell [code]. Taps of other strides are resized to it."""


class AffinityNet(TrainingModule):
    """Three side features and an embedding f, each a 1x1 convolution without bias and an ELU:

    f = ELU(W [ELU(W_3 conv4); ELU(W_4 conv5); ELU(W_5 conv6)]),    A[i, j] = exp(-mean over channels |f_i - f_j|)
    """

    map_stride = STRIDE

    def __init__(self, backbone: BackboneConfig, affinity: AffinityConfig) -> None:
        super().__init__()
        self.walk = affinity.walk
        self.offsets = half_plane(affinity.train_radius)
        self.backbone = build_backbone(backbone)
        self.taps = SIDES[backbone.name]
        self.sides = nn.ModuleList(
            nn.Conv2d(self.backbone.taps[tap], width, 1, bias=False)
            for tap, width in zip(self.taps, WIDTHS, strict=True)
        )
        self.mix = nn.Conv2d(sum(WIDTHS), sum(WIDTHS), 1, bias=False)
        for weight in self.sides.parameters():
            nn.init.kaiming_normal_(weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def embedding(self, images: Tensor) -> Tensor:
        """f, [B, 448, h, w] with ceil(H / 8) x ceil(W / 8) cells."""
        taps = self.backbone(images)
        size = [-(-side // STRIDE) for side in images.shape[2:]]
        sides = []
        for tap, layer in zip(self.taps, self.sides, strict=True):
            side = functional.elu(layer(taps[tap]))
            if list(side.shape[2:]) != size:
                side = functional.interpolate(side, size, mode="bilinear", align_corners=False)
            sides.append(side)
        return functional.elu(self.mix(torch.cat(sides, dim=1)))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`background`, `foreground` and `negative` (`pairs.affinity_losses`) over pairs within the radius.

        The labels are the one extra of the batch, whatever the phase that it comes from is called."""
        (seeds,) = batch.extras.values()
        features = self.embedding(batch.images)
        with torch.autocast(features.device.type, enabled=False):
            affinity = torch.exp(-pair_distances(features.float(), self.offsets))
            return affinity_losses(affinity, pair_kinds(at_cells(seeds, *features.shape[2:]), self.offsets))

    def applied(self) -> dict[str, float | int | bool | str]:
        """The reach of the pairs that are trained on."""
        return {"affinity.train_radius": max(right for _, right in self.offsets) + 1}

    def refine(self, image: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
        """The background (1 - max)^alpha and the classes walk on cells of 8 x 8 pixels. [K, H / 4, W / 4]: w_k / (w_k
        + w_0) of the walked scores, which is above 0.5 exactly where class k beats the background 0.

        So the constant background 0.5 gives PSA's argmax, and the sweep starts there [ours]; PSA enlarges the
        scores to pixels before its argmax, here the last enlargement, from 4 x 4 pixels, is one of the shares.
        """
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        offsets = half_plane(self.walk.radius)
        features = self.embedding(image)[:, :, :rows, :columns]
        affinity = torch.exp(-pair_distances(features.float(), offsets))[0]
        background = (1 - scores.amax(0, keepdim=True)).clamp_min(0) ** self.walk.alpha
        start = functional.avg_pool2d(torch.cat([background, scores]), 2)[:, :rows, :columns]
        walked = walked_on(start, affinity, self.walk.beta, self.walk.log2_steps, self.walk.radius)
        fine = functional.interpolate(walked[None], scale_factor=2.0, mode="bilinear", align_corners=False)[0]
        share = fine[1:] / (fine[1:] + fine[:1]).clamp_min(torch.finfo(torch.float32).tiny)
        return grown(share[:, : -(-height // 4), : -(-width // 4)], scores.shape[1:])


def walked_on(start: Tensor, affinity: Tensor, beta: float, log2_steps: int, radius: int) -> Tensor:
    """`nets.affinity.walk.walk`, which runs on the CPU, of tensors on any device: float32 [K, h, w] over [P, h, w]."""
    one, other = (np.ascontiguousarray(item.detach().float().cpu().numpy()) for item in (start, affinity))
    return torch.from_numpy(walk(one, other, half_plane(radius), beta, log2_steps)).to(start.device)


def grown(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps [K, h, w] of the image's cells on the grid of the padded image; the last row and column are repeated."""
    missing = (0, size[1] - maps.shape[2], 0, size[0] - maps.shape[1])
    return functional.pad(maps[None], missing, mode="replicate")[0]
