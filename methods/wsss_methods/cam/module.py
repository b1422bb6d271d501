"""The CAM training module is the platform's CAM classifier, which other methods start from too."""

from __future__ import annotations

from wsss_methods.cam.config import CamConfig
from wsss_platform.nets.heads.cam_classifier import CamClassifier


class CamModule(CamClassifier):
    """Image-level classification; its class scores before pooling are the maps."""

    def __init__(self, config: CamConfig, classes: int) -> None:
        super().__init__(config.backbone, classes)
