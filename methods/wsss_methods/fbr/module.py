"""FBR on AMN (FBR-I): the classifier that makes seeds; the host's term and FBR's three."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_methods.fbr.amn import Amn
from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.contrast import Contrast, Terms, grid_of
from wsss_methods.fbr.losses import decorrelation, seed_at
from wsss_methods.fbr.sampling import find_regions
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.cam_classifier import CamClassifier


class SeedModule(CamClassifier):
    """A plain CAM classifier, whose masks AMN trains on."""

    def __init__(self, config: FbrConfig, classes: int) -> None:
        super().__init__(config.backbone, classes)


class FbrModule(Amn):
    """AMN with a foreground and a background space."""

    def __init__(self, config: FbrConfig, classes: int) -> None:
        super().__init__(config, classes)
        self.sampling = config.sampling
        self.contrast = Contrast(
            self.backbone.channels, config.heads.projection, config.sampling, released_intra_live=False
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The four terms; the seed's masks are `batch.extras["seed"]`."""
        features = self.features(batch.images, batch.labels)
        logits = self.classify(features)
        foreground, background = self.contrast.spaces(features)
        with torch.autocast(features.device.type, enabled=False):
            logits = logits.float()
            inside = grid_of(batch.valid, logits.shape[2:])
            regions = find_regions(logits.flatten(2), batch.labels, inside, self.sampling)
            if self.sampling.anchors == "agreeing":
                regions.hard &= regions.pseudo == seed_at(batch.extras["seed"], logits.shape[2:]).flatten(1)
            terms: Terms = self.contrast(regions, foreground.flatten(2), background.flatten(2))
            return {
                "classification": self.classification(logits, batch),
                "decorrelation": decorrelation(foreground, background),
                "intra_foreground": terms.intra_foreground,
                "negative_regions": terms.negative_regions,
            }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and the sizes that the modules really have."""
        return {**self.contrast.applied(), "heads.dropout": self.dropout.p}
