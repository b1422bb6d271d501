"""What the speed of a stage depends on, so that earlier stages predict how long a new one takes."""

from __future__ import annotations

from typing import Any

from wsss_platform.config import ImportedConfig, ImportedMasksConfig
from wsss_platform.plan.experiment import Experiment, Stage


def like(experiment: Experiment, stage: Stage) -> dict[str, Any]:
    """What the speed of a stage depends on besides its method and name; stored in its manifest."""
    config = experiment.config
    if isinstance(config, ImportedMasksConfig):
        return {}
    if stage.kind == "masks":
        masks = experiment.masks_config(stage.phase)
        crf = {"crf_backend": masks.crf_backend, "crf_iterations": masks.crf_iterations}
        return {"crf": masks.crf, **(crf if masks.crf != "none" else {})}
    if stage.kind == "score" or isinstance(config, ImportedConfig):
        return {}
    if stage.kind == "train":
        return {"backbone": config.backbone.name, "crop": experiment.train_config(stage.phase).crop}
    if stage.phase.refines:
        return {"backbone": config.backbone.name, "refines": stage.phase.refines}
    maps = experiment.maps_config(stage.phase)
    views = {"scales": list(maps.scales), "sizes": list(maps.sizes), "flip": maps.flip}
    return {"backbone": config.backbone.name, **views}
