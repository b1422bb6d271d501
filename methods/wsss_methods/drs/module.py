"""DRS's two networks. The classification network is the platform's `DrsClassifier` as it stands."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

from wsss_methods.drs.config import DrsConfig
from wsss_platform.config import SuppressionConfig
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.drs_classifier import DrsClassifier


class ClassifyModule(DrsClassifier):
    """The classifier with suppressed activations."""

    def __init__(self, config: DrsConfig, classes: int) -> None:
        super().__init__(config.backbone, config.suppression, config.extra_layers, classes, initial=config.initial)


class RefineModule(DrsClassifier):
    """The classifier's layout without suppression, from fresh weights, giving maps instead of classes.

    [code: qjadud1994/DRS, models/vgg_refine.py, scripts/train_refine.py]
    """

    def __init__(self, config: DrsConfig, classes: int) -> None:
        off = SuppressionConfig(control="off")
        super().__init__(config.backbone, off, config.extra_layers, classes, initial="small")

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`regression`; the classifier's maps are `batch.extras["classify"]`, float32 [B, C, H, W] in 0..1.

        Scores are enlarged to the image with half-pixel centres, as the maps are made here; the release aligns
        corners in both places [code]."""
        scores = self.class_maps(batch.images, batch.labels).float()
        scores = functional.interpolate(scores, batch.images.shape[2:], mode="bilinear", align_corners=False)
        return {"regression": regression(scores, largest(batch.extras["classify"]), batch.valid)}


def largest(maps: Tensor) -> Tensor:
    """Maps [B, C, H, W] with only the largest class of each pixel kept, the others 0.

    Of equals all are kept [code: utils/LoadData_refine.py, `att_map == att_map.max(0)`].
    """
    return maps * (maps == maps.amax(1, keepdim=True))


def regression(scores: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """The mean of (scores - target)^2 over images, pixels and ALL classes: absent ones are 0 in the target, so
    they are pulled there [code: nn.MSELoss over B x 20 x 320 x 320].

    Args:
        scores: float32 [B, C, H, W].
        target: float32 [B, C, H, W] in 0..1.
        valid: bool [B, H, W], False where padded; such pixels count as right [ours: the release has none]. The
            divisor is the same for every image, so workers' means make up the mean of the whole batch.

    Returns:
        A scalar, 0 when there is no valid pixel.
    """
    return ((scores - target) * valid.unsqueeze(1)).square().mean()
