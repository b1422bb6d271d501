"""EPS with SEAM's pixel correlation, the network under PPC and FBR-S, and its terms on two views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_methods.fbr.on_eps.config import FbrEpsConfig
from wsss_methods.fbr.on_eps.losses import consistency, saliency_loss, thresholded_average
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.pcm import PixelCorrelation, correlation_taps
from wsss_platform.nets.heads.seam import evidence, min_pooling


@dataclass
class Look:
    """What the network says of one view."""

    features: Tensor
    """The last map [B, D, h, w]."""
    scores: Tensor
    """Image scores of the classes, float32 [B, C]."""
    maps: Tensor
    """float32 [B, 1 + C, h, w], background first."""
    refined: Tensor
    """The same after the pixel correlation."""
    saliency: Tensor
    """0..1, [B, 1, H, W]."""


class EpsHost(TrainingModule):
    """A classifier with a background channel, trained with saliency on a crop and on the crop made small."""

    background_channel = True
    backbone: Backbone

    def __init__(self, config: FbrEpsConfig, classes: int) -> None:
        super().__init__()
        self.host = config.host
        self.released = config.sampling.variant == "as_released"
        self.backbone = build_backbone(config.backbone)
        # The background is the last of its outputs, as in the release, whose weights then fit as they are.
        self.classifier = nn.Conv2d(self.backbone.channels, classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)
        self.taps = correlation_taps(self.backbone)
        self.pcm = PixelCorrelation(*(self.backbone.taps[name] for name in self.taps))

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, 1 + C, h, w], background first; neither refined nor activated, labels are not used."""
        return _background_first(self.classifier(self.backbone(images)["final"]))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The host's own terms."""
        first, second = self.looks(batch)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.host_terms(first, second, batch.labels)

    def looks(self, batch: Batch) -> tuple[Look, Look]:
        """The crop, and the crop made small; saliency is `batch.extras["saliency"]`."""
        images, saliency = batch.images, batch.extras["saliency"]
        side = (self.host.small, self.host.small)
        small, small_saliency = (
            functional.interpolate(item, side, mode="bilinear", align_corners=True) for item in (images, saliency)
        )
        return self._look(images, saliency), self._look(small, small_saliency)

    def host_terms(self, first: Look, second: Look, labels: Tensor) -> dict[str, Tensor]:
        """SEAM's and EPS's terms; `labels` [B, C]."""
        views = (first, second)
        overlap, blend = self.host.overlap, self.host.blend
        classification = [functional.multilabel_soft_margin_loss(view.scores, labels) for view in views]
        saliency = [
            saliency_loss(maps, view.saliency, labels, overlap, blend)
            for view in views
            for maps in (view.maps, view.refined)
        ]
        equivariance, crossed = consistency(
            first.maps, second.maps, first.refined, second.refined, labels, released=self.released
        )
        return {
            "classification": torch.stack(classification).mean(),
            "min_pooling": torch.stack([min_pooling(view.refined, labels) for view in views]).mean(),
            "saliency": torch.stack(saliency).sum() / 2,
            "equivariance": equivariance,
            "cross_refinement": crossed,
        }

    def _look(self, images: Tensor, saliency: Tensor) -> Look:
        taps = self.backbone(images)
        features = taps["final"]
        maps = _background_first(self.classifier(features)).float()
        pooled = self.classifier(thresholded_average(features.float(), self.host.pooling_threshold))
        refined = self.pcm(evidence(maps), images, *(taps[name] for name in self.taps))
        return Look(features, pooled[:, :-1, 0, 0].float(), maps, refined, saliency)


def _background_first(maps: Tensor) -> Tensor:
    """The release's last channel is our first."""
    return maps.roll(1, dims=1)
