"""RTC: the network, its two views and all terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.rtc import contrast, losses
from wsss_methods.rtc.config import RtcConfig
from wsss_methods.rtc.net import ClassHead, SegmentationHead, TwoCorrelations
from wsss_methods.rtc.refinement import pseudo_labels
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.pcm import resized
from wsss_platform.nets.heads.seam import evidence, min_pooling


@dataclass
class Look:
    """What the network says of one view, float32."""

    taps: dict[str, Tensor]
    """Of the backbone."""
    embedding: Tensor
    """[B, D, h, w]."""
    maps: Tensor
    """[B, 1 + C, H, W], background first, at the view's own size, at which all of them are pooled and stretched."""
    low: Tensor
    """The refined maps [B, 1 + C, h, w]."""
    refined: Tensor
    """The same at the view's own size."""


class RtcModule(TrainingModule):
    """One network with class maps, pixel correlations and a segmentation head; its maps are the last one's."""

    map_stride = 4
    backbone: Backbone

    def __init__(self, config: RtcConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        heads = config.heads
        self.head = ClassHead(self.backbone.channels, heads.embedding, classes, heads.dropout, heads.initial)
        self.correlations = TwoCorrelations(self.backbone)
        self.segmentation = SegmentationHead(self.backbone, heads.widths, classes, heads.reach)

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, h, w] at stride 4, 0..1: the segmentation head's softmax, each class times the sigmoid of its image
        score (contrast_infer.py). Labels are not used; `maps.activation` is "none"."""
        taps = self.backbone(images)
        shares = self.segmentation(taps).float().softmax(1)[:, 1:]
        scores: Tensor = shares * self._image_scores(taps, images)[:, :, None, None]
        return scores

    def image_scores(self, images: Tensor) -> Tensor:
        """[B, C]: the sigmoid of the averages of the class maps, 0..1."""
        return self._image_scores(self.backbone(images), images)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """All terms. Prototypes are those of the whole batch of all workers."""
        images, labels = batch.images, batch.labels
        side = self.config.views.small
        small = functional.interpolate(images, (side, side), mode="bilinear", align_corners=True)
        first, second = self._look(images), self._look(small)
        segments = self._segments(first, progress)
        with torch.autocast(images.device.type, enabled=False):
            size = second.maps.shape[2:]
            one, other = (losses.compared(look.maps, labels, size) for look in (first, second))
            refined = [losses.compared(look.refined, labels, size) for look in (first, second)]
            crossed = losses.cross_refinement(losses.with_background(one), losses.with_background(other), *refined)
            margin = functional.multilabel_soft_margin_loss
            pooled = [margin(look.maps.mean((2, 3))[:, 1:], labels) for look in (first, second)]
            lowest = [min_pooling(look.refined, labels) for look in (first, second)]
            return {
                "classification": torch.stack(pooled).mean(),
                "min_pooling": torch.stack(lowest).mean(),
                "equivariance": losses.equivariance(one, other),
                "cross_refinement": crossed,
                **self._contrasted(first, second, one, other, labels),
                "segmentation": self._segmentation(segments, first, batch),
            }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampled values, as the modules and sections in use have them."""
        contrasting, segmenting = self.config.contrast, self.config.segmentation
        return {
            "heads.dropout": self.head.dropout.p,
            "heads.embedding": self.head.project.out_channels,
            "heads.initial": self.head.initial,
            "heads.reach": self.segmentation.reach,
            "views.small": self.config.views.small,
            "contrast.background": contrasting.background,
            "contrast.temperature": contrasting.temperature,
            "contrast.fraction": contrasting.fraction,
            "contrast.members": contrasting.members,
            "structure.fraction": self.config.structure.fraction,
            "segmentation.start": segmenting.start,
            "segmentation.iterations": segmenting.iterations,
            "segmentation.confident_foreground": segmenting.confident_foreground,
            "segmentation.confident_background": segmenting.confident_background,
        }

    def _look(self, images: Tensor) -> Look:
        taps = self.backbone(images)
        embedding, maps = (each.float() for each in self.head(taps["final"]))
        low = self.correlations(evidence(maps), images, taps)
        size = images.shape[2:]
        return Look(taps, embedding, resized(maps, size), low, resized(low, size))

    def _image_scores(self, taps: dict[str, Tensor], images: Tensor) -> Tensor:
        maps = resized(self.head(taps["final"])[1].float(), images.shape[2:])
        return maps.mean((2, 3))[:, 1:].sigmoid()

    def _contrasted(self, first: Look, second: Look, one: Tensor, other: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms on the second view's grid; prototypes take their features from the OTHER view."""
        config = self.config.contrast
        grid = second.embedding.shape[2:]
        z1, z2 = resized(first.embedding, grid).flatten(2), second.embedding.flatten(2)
        seen1, seen2 = (
            contrast.find_evidence(resized(look.low.detach(), grid).flatten(2), labels, config.background)
            for look in (first, second)
        )
        of1 = contrast.find_prototypes(seen1, z2, labels, config)
        of2 = contrast.find_prototypes(seen2, z1, labels, config)
        shares = {
            (view, made): contrast.log_shares(z, prototypes, config.temperature)
            for view, z in ((1, z1), (2, z2))
            for made, prototypes in ((1, of1), (2, of2))
        }

        def both(first_by: Tensor, second_by: Tensor, *, swapped: bool) -> Tensor:
            made = ((2, of2), (1, of1)) if swapped else ((1, of1), (2, of2))
            terms = [
                contrast.contrast(shares[view, number], by, prototypes)
                for view, by, (number, prototypes) in zip((1, 2), (first_by, second_by), made, strict=True)
            ]
            return torch.stack(terms).mean()

        back1 = contrast.read_back(seen1, z2.detach(), of1).reshape(second.low.shape)
        back2 = contrast.read_back(seen2, z1.detach(), of2).reshape(second.low.shape)
        fraction = self.config.structure.fraction
        return {
            "intra": both(seen1.labels, seen2.labels, swapped=False),
            "cross_label": both(seen2.labels, seen1.labels, swapped=False),
            "cross_prototype": both(seen1.labels, seen2.labels, swapped=True),
            "structure": losses.structure(back1, one, labels, fraction)
            + losses.structure(back2, other, labels, fraction),
            "class_relation": self._class_relation(of1, of2, z1, z2, labels),
        }

    def _class_relation(
        self, of1: contrast.Prototypes, of2: contrast.Prototypes, z1: Tensor, z2: Tensor, labels: Tensor
    ) -> Tensor:
        """Switched off by a weight of 0, as released; then nothing is gathered from other workers for it."""
        if self.config.loss.class_relation == 0:
            return z1.new_zeros(())
        return contrast.class_relation(of1, of2, z1, z2, labels)

    def _segments(self, first: Look, progress: float) -> Tensor | None:
        """The segmentation head's scores of the first view; None before `segmentation.start`."""
        started = progress * self.config.train.epochs >= self.config.segmentation.start - 1e-6
        return self.segmentation(first.taps).float() if started else None

    def _segmentation(self, scores: Tensor | None, first: Look, batch: Batch) -> Tensor:
        if scores is not None:
            target = pseudo_labels(first.low, batch.images, batch.labels, batch.valid, self.config.segmentation)
            return losses.balanced_cross_entropy(scores, target, batch.labels)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not distributed or torch.distributed.get_world_size() == 1:
            return batch.images.new_zeros(())
        # Workers must agree on a gradient for every parameter, and so have one of zero.
        return 0 * torch.stack([parameter.sum() for parameter in self.segmentation.parameters()]).sum()
