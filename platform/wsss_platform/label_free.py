"""The label-free objective: what a search without any pixel truth maximises.

Each proxy compares the masks of two experiments that differ in one thing, so what they need is made by the ordinary
stages and found again by content key:

    flip     the picture alone and its mirror image alone, both at one scale
    scale    the picture alone at two scales (`SCALES`)
    crf      the masks before and after a dense CRF, the config's own or "irn"
    labels   the masks as they are and the image-level labels

Agreement prefers large masks (docs/decisions/0012-selection.md), so it cannot choose the background threshold, which no
search may sample, with truth or without.

Ours; the pairs of views are the usual ones of consistency training (SEAM, Wang et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.masks.palette import mask_file, read_mask
from wsss_platform.metrics.proxies import agreement, agreement_table, found_classes, label_consistency
from wsss_platform.pipeline import Event, run
from wsss_platform.stages import Runner
from wsss_platform.store import Store

SCALES = (1.0, 0.75)
"""Of the pair "scale"; the first is also that of the pair "flip". [ours]"""
CRF = "irn"
"""Parameter set of the pair "crf" where the config has none. [ours]"""


@dataclass(frozen=True)
class Proxies:
    """What was measured, each 0..1, larger is better."""

    flip: float
    scale: float
    crf: float | None
    """None for rule "saliency", which takes no CRF."""
    labels: float

    @property
    def value(self) -> float:
        """The objective: the mean of those that were measured. [ours]"""
        return fmean(value for value in asdict(self).values() if value is not None)


def variants(experiment: Experiment) -> dict[str, Experiment]:
    """The experiments whose masks are compared: "plain", "mirrored", "scaled", "masks" and, where there can be one,
    "no crf" and "crf"."""
    phase = experiment.phases[-1]
    maps, masks = experiment.maps_config(phase), experiment.masks_config(phase)
    size = maps.sizes[len(maps.sizes) // 2] if maps.sizes else 0
    one, other = (
        {"scales": (scale,), "sizes": (max(16, round(scale * size)),) if size else (), "flip": False}
        for scale in SCALES
    )
    changes: dict[str, dict[str, Any]] = {
        "plain": {f"{phase.maps}.{name}": value for name, value in one.items()},
        "mirrored": {f"{phase.maps}.{name}": value for name, value in {**one, "mirror": True}.items()},
        "scaled": {f"{phase.maps}.{name}": value for name, value in other.items()},
        "masks": {},
    }
    if masks.rule != "saliency":
        changes["no crf"] = {f"{phase.masks}.crf": "none"}
        changes["crf"] = {f"{phase.masks}.crf": CRF if masks.crf == "none" else masks.crf}
    made = {
        name: replace(experiment, config=override(experiment.config, change, f"label-free {name}"))
        for name, change in changes.items()
    }
    trained = experiment.stage("train").key
    for name, item in made.items():
        if item.stage("train").key != trained:
            raise InputError(
                f"--selection none: the masks of {name!r} cannot be made without another training, because "
                f"{phase.maps} or {phase.masks} is also what phase {phase.name} trains on"
            )
    return made


def variant_stages(experiment: Experiment) -> dict[str, str]:
    """Maps and masks that only the proxies need, for the record of a trial: "maps:PHASE:VARIANT" -> content key.

    Empty where there can be none (`variants` says why).
    """
    try:
        made = variants(experiment)
    except InputError:  # the trial itself will say it
        return {}
    found, known = {}, {stage.key for stage in experiment.stages}
    for name, item in made.items():
        for stage in item.stages:
            if stage.kind in ("maps", "masks") and stage.key not in known:
                known.add(stage.key)
                found[f"{stage.name}:{name.replace(' ', '-')}"] = stage.key
    return found


def measure(
    experiment: Experiment, store: Store, runner: Runner, on_event: Callable[[Event], None] = lambda event: None
) -> Proxies:
    """Make what is missing for the proxies on the scored list, and measure them. No pixel truth is read.

    Raises:
        InputError: no picture has all its masks, or a method whose trainings depend on its final maps.
        RunError: a training that failed.
    """
    folders: dict[str, Path] = {}
    for name, item in variants(experiment).items():
        stage = item.stage("masks")
        run(item, store, runner, on_event, until=stage)
        folders[name] = store.open("masks", stage.key).folder
    split = experiment.dataset.split(experiment.data.score_list)
    classes = len(split.classes)
    pairs = {"flip": ("plain", "mirrored"), "scale": ("plain", "scaled"), "crf": ("no crf", "crf")}
    pairs = {name: pair for name, pair in pairs.items() if pair[0] in folders}
    tables = {name: np.zeros((classes + 1, classes + 2), np.int64) for name in pairs}
    found, labels = [], []
    for picture in split.ids:
        files = {name: mask_file(folder, picture) for name, folder in folders.items()}
        if not all(file.is_file() for file in files.values()):  # a picture that was allowed to fail
            continue
        masks = {name: read_mask(file) for name, file in files.items()}
        for name, (one, other) in pairs.items():
            tables[name] += agreement_table(masks[one], masks[other], classes, picture)
        found.append(found_classes(masks["masks"], classes))
        labels.append(split.labels(picture))
    if not found:
        raise InputError(f"list {split.name}: no picture has all the masks that the label-free objective compares")
    named = np.any(labels, axis=0)
    agreed = {name: agreement(table, named) for name, table in tables.items()}
    return Proxies(
        flip=agreed["flip"],
        scale=agreed["scale"],
        crf=agreed.get("crf"),
        labels=label_consistency(np.array(found), np.array(labels)),
    )
