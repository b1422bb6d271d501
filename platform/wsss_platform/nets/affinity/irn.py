"""IRN (Ahn, Cho & Kwak, CVPR 2019; jiwoon-ahn/irn, net/resnet50_irn.py [code]): class boundaries and displacements."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import AffinityConfig, BackboneConfig
from wsss_platform.method.module import Batch, TrainingModule, global_batch
from wsss_platform.nets.affinity.affinity_net import grown, walked_on
from wsss_platform.nets.affinity.pairs import affinity_losses, at_cells, displacement_losses, pair_kinds, path_maxima
from wsss_platform.nets.affinity.walk import half_plane
from wsss_platform.nets.build import build_backbone

TAPS = {
    "resnet50": (("stem", "stage1"), ("stage2", "stage3", "final")),
    "wide_resnet38": (("conv3",), ("conv4", "conv5", "final")),
    "vgg16": (("stage2", "stage3"), ("stage4", "final")),
    "efficientnet_lite0": (("stage1",), ("stage2", "stage3", "final")),
}
"""Taps by backbone: of fine maps, up to stride 4, and of coarse ones. ResNet-50's are the released ones; the others
[ours]."""
STRIDE = 4
"""Pixels per cell of both outputs [code]."""
_FINE = ((64, 8), (128, 16))  # channels and groups of the displacement branch [code]
_WIDE = (256, 16)
_MOMENTUM = 0.1  # of the running mean of displacements [code: MeanShift]


class Irn(TrainingModule):
    """Two branches on a backbone that is not trained, each layer a 1x1 convolution, GroupNorm and ReLU:

        boundary:     32 channels of each tap, resized to stride 4 -> 1
        displacement: the coarse taps' 256 channels -> 256, with the fine ones' 64 and 128 -> 256 -> 2

    The affinity of a pair is 1 minus the strongest boundary on the line between both.
    """

    map_stride = STRIDE
    displacement_mean: Tensor

    def __init__(self, backbone: BackboneConfig, affinity: AffinityConfig) -> None:
        super().__init__()
        self.walk, self.displacement_factor = affinity.walk, affinity.displacement_factor
        self.offsets = half_plane(affinity.train_radius)
        self.backbone = build_backbone(backbone).requires_grad_(False)
        channels = self.backbone.taps
        self.fine, self.coarse = TAPS[backbone.name]
        taps = (*self.fine, *self.coarse)
        self.edges = nn.ModuleDict({tap: _layer(channels[tap], 32, 4) for tap in taps})
        self.boundary = nn.Conv2d(32 * len(taps), 1, 1)
        sizes = [*_FINE[-len(self.fine) :], *(_WIDE for _ in self.coarse)]
        parts = {tap: _layer(channels[tap], *size) for tap, size in zip(taps, sizes, strict=True)}
        joint = sum(width for width, _ in sizes[: len(self.fine)]) + _WIDE[0]
        self.displacement_taps = nn.ModuleDict(parts)
        self.displacement_coarse = _layer(_WIDE[0] * len(self.coarse), *_WIDE)
        self.displacement_joint = _layer(joint, *_WIDE)
        self.displacement_last = nn.Conv2d(_WIDE[0], 2, 1, bias=False)
        self.register_buffer("displacement_mean", torch.zeros(2))

    def train(self, mode: bool = True) -> Irn:
        """The backbone stays as it is: no dropout, no running statistics [code]."""
        super().train(mode)
        self.backbone.eval()
        return self

    def param_groups(self, train: Any) -> list[dict[str, Any]]:
        """`TrainingModule.param_groups`, with `displacement_factor` times the rate for the displacement branch."""
        faster = {id(parameter) for name, parameter in self.named_parameters() if name.startswith("displacement_")}
        groups = []
        for group in super().param_groups(train):
            for name, factor in (("boundary", 1.0), ("displacement", self.displacement_factor)):
                own = [item for item in group["params"] if (id(item) in faster) == (name == "displacement")]
                if own:
                    rate = group["lr"] * factor
                    groups.append({**group, "name": f"{group['name']}_{name}", "params": own, "lr": rate})
        return groups

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(boundary logits [B, 1, h, w], displacements [B, 2, h, w] in cells, rows first), ceil(H / 4) rows.

        The displacements have no mean taken off; see `displacements`."""
        with torch.no_grad():
            taps = self.backbone(images)
        size = [-(-side // STRIDE) for side in images.shape[2:]]
        edges = [_resized(layer(taps[tap]), size) for tap, layer in self.edges.items()]
        logits = self.boundary(torch.cat(edges, dim=1))
        middle = list(taps[self.coarse[0]].shape[2:])
        moves = {tap: layer(taps[tap]) for tap, layer in self.displacement_taps.items()}
        coarse = self.displacement_coarse(torch.cat([_resized(moves[tap], middle) for tap in self.coarse], dim=1))
        fine = [_resized(moves[tap], size) for tap in self.fine]
        joint = self.displacement_joint(torch.cat([*fine, _resized(coarse, size)], dim=1))
        return logits, self.displacement_last(functional.relu(joint))

    def displacements(self, images: Tensor) -> Tensor:
        """The field [B, 2, h, w] in cells, less its mean over training: where each cell's object has its middle.

        The mean is a running one, as in the release's MeanShift; its last version takes the mean over the inference
        list instead [code]. For instance segmentation; the semantic walk does not need it."""
        return self.branches(images)[1] - self.displacement_mean.view(1, 2, 1, 1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The three terms of `pairs.affinity_losses` and the two of `pairs.displacement_losses`.

        The labels are the one extra of the batch, whatever the phase that it comes from is called."""
        (seeds,) = batch.extras.values()
        logits, displacement = self.branches(batch.images)
        with torch.autocast(logits.device.type, enabled=False):
            displacement = displacement.float()
            mean = global_batch(displacement.mean((2, 3))).mean(0)
            self.displacement_mean.lerp_(mean, _MOMENTUM)
            kinds = pair_kinds(at_cells(seeds, *logits.shape[2:]), self.offsets)
            affinity = 1 - path_maxima(logits[:, 0].float().sigmoid(), self.offsets)
            return {**affinity_losses(affinity, kinds), **displacement_losses(displacement, kinds, self.offsets)}

    def applied(self) -> dict[str, float | int | bool | str]:
        """The reach of the pairs that are trained on."""
        return {"affinity.train_radius": max(right for _, right in self.offsets) + 1}

    def refine(self, image: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
        """Scores without what lies on a boundary walk on cells of 4 x 4 pixels; divided by the largest of all classes.

        [K, H / 4, W / 4]. The boundary is the sigmoid of the mean logit of both flips (`propagate_to_edge` [code])."""
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        logits = self.branches(torch.cat([image, image.flip(3)]))[0].float()
        boundary = ((logits[0] + logits[1].flip(2)) / 2).sigmoid()[:, :rows, :columns]
        affinity = 1 - path_maxima(boundary, half_plane(self.walk.radius))[0]
        start = scores[:, :rows, :columns] * (1 - boundary)
        walked = walked_on(start, affinity, self.walk.beta, self.walk.log2_steps, self.walk.radius)
        highest = walked.amax().clamp_min(torch.finfo(torch.float32).tiny)
        return grown(walked / highest, scores.shape[1:])


def _layer(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    """The ReLU comes after the resizing [code]; see `_resized`."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(groups, outputs))


def _resized(map_: Tensor, size: list[int]) -> Tensor:
    """[B, C, h, w] at another size, then ReLU."""
    if list(map_.shape[2:]) != size:
        map_ = functional.interpolate(map_, size, mode="bilinear", align_corners=False)
    return functional.relu(map_)
