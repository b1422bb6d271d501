"""What a study's result stands beside: plain CAM of the same backbone, and the method's host.

The baseline is an experiment of the method `cam`. Where the method begins with a plain CAM phase, as FBR's seeds do, it
has that phase's settings, so that both share one training in the store. Elsewhere it has the settings of the method's
first training, and all studies with those settings share it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wsss_platform.config import ImportedConfig, ImportedMasksConfig, look_up, validated
from wsss_platform.method import PLAIN_CAM, Method
from wsss_platform.plan.experiment import Experiment

VIEWS = ("scales", "sizes", "flip")
"""Of a maps section: from which views of an image maps are made, which plain CAM takes over from any method."""


def baseline_of(experiment: Experiment, cam: Method) -> Experiment | None:
    """Plain CAM on the same data with the same seed and backbone.

    Its maps are gated by image-level labels as the method's are; where those need no labels, by the classes that CAM
    itself predicts.

    Args:
        experiment: of the method.
        cam: the method that makes plain CAMs.

    Returns:
        None for imported maps and masks, of which no training is known. The experiment itself where its maps are plain
        CAMs.
    """
    config = experiment.config
    if isinstance(config, ImportedConfig | ImportedMasksConfig):
        return None
    first = experiment.phases[0]
    maps, last = experiment.maps_config(first), experiment.maps_config(experiment.phases[-1])
    found: dict[str, Any] = {"backbone": config.backbone.model_dump(), "train": experiment.train_config(first)}
    if first.plain_cam:
        found |= {"loss": look_up(config, first.loss), "maps": maps}
        file = config.released_file(first.name)
        if file is not None:
            found["released"] = [f"{PLAIN_CAM[2]}={file}"]
    else:
        found["maps"] = {name: getattr(maps, name) for name in VIEWS}
    plain = validated(cam.config, {name: _plain(section) for name, section in found.items()}, "baseline")
    if last.gate != "labels":
        plain = plain.model_copy(update={"maps": look_up(plain, "maps").model_copy(update={"gate": "predicted"})})
    baseline = replace(experiment, method=cam, config=plain)
    return experiment if baseline.stage("maps").key == experiment.stage("maps").key else baseline


def host_of(experiment: Experiment) -> Experiment | None:
    """The network that the method is added to, without the method's own terms; None where the method names none, or
    where the experiment is the host already."""
    changes = experiment.method.host
    host = experiment.with_changes(changes, f"host of {experiment.method.name}") if changes else experiment
    return None if host.config == experiment.config else host


def _plain(section: Any) -> Any:
    return section.model_dump() if hasattr(section, "model_dump") else section
