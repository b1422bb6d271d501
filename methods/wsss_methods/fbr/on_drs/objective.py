"""The classifier of DRS with FBR's terms on its last map."""

from __future__ import annotations

from torch import Tensor

from wsss_methods.fbr.contrast import Contrast, plugged_in
from wsss_methods.fbr.on_drs.config import FbrDrsConfig
from wsss_platform.nets.drs_classifier import DrsClassifier
from wsss_platform.objective import Batch


class FbrDrsObjective(DrsClassifier):
    """Its maps, learning rates and suppression are the host's; its state dict is the host's and the contrast's."""

    def __init__(self, config: FbrDrsConfig, classes: int) -> None:
        super().__init__(config.backbone, config.suppression, config.extra_layers, classes, initial=config.initial)
        self.contrast = Contrast(self.channels, config.heads.projection, config.sampling)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The host's `classification` and FBR's three terms."""
        features = self.features(batch.images)
        maps = self.classify(features)
        return {
            "classification": self.classification(maps, batch),
            **plugged_in(self.contrast, features, maps, batch),
        }

    def applied(self) -> dict[str, float | int | bool | str]:
        """The host's, and FBR's sampling values as the modules have them."""
        return {**super().applied(), **self.contrast.applied()}
