"""Some images of a study: image, CAM, the mask of every row of its comparison, ground truth."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.data.palette import mask_file, read_mask, voc_palette
from wsss_platform.data.part import spread
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.masks.rules import labels
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report.study_page import FIGURE
from wsss_platform.search.documents import StudyComparison
from wsss_platform.store.artefacts import Store, write_atomic

IMAGES = 4
SIDE = 1.35
"""Inches of a panel."""


def write_figure(
    compared: Mapping[str, Experiment], comparison: StudyComparison, store: Store, folder: Path, images: int = IMAGES
) -> Path:
    """Draw the rows' masks into `comparison.png`.

    Args:
        compared: row -> its experiment, scored on the reported split, with the first random seed.
        comparison: with each row's threshold.
        store: with the rows' maps and masks.
        folder: the study's.
        images: how many.
    """
    rows = {row.row: row.threshold for row in comparison.rows if row.row in compared}
    first = next(iter(compared.values()))
    split = first.dataset.split(first.data.score_list)
    truth = first.dataset.truth(first.data.score_list)
    names = spread(split.ids, images)
    titles = ["image", "CAM" if first.method.name == "cam" else "map", *rows, "ground truth"]
    figure = Figure(figsize=(SIDE * len(titles), (SIDE + 0.08) * len(names) + 0.3), dpi=110, layout="constrained")
    axes = figure.subplots(len(names), len(titles), squeeze=False)
    palette = voc_palette()
    for line, name in zip(axes, names, strict=True):
        image = split.read(name).image
        masks = [_mask(compared[row], store, name, threshold) for row, threshold in rows.items()]
        panels = [image, _heat(image, first, store, name), *(palette[mask] for mask in masks)]
        for axis, panel in zip(line, [*panels, palette[truth.mask(name)]], strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomic(folder / FIGURE, buffer.getvalue())
    return folder / FIGURE


def _maps(experiment: Experiment, store: Store) -> MapReader:
    stage = experiment.stage("masks").inputs["maps"]
    return MapReader(store.open(stage.kind, stage.key).folder)


def _mask(experiment: Experiment, store: Store, name: str, threshold: float | None) -> NDArray[np.uint8]:
    """uint8 [H, W]: as made, or its maps at a threshold."""
    if threshold is None:
        stage = experiment.stage("masks")
        return read_mask(mask_file(store.open(stage.kind, stage.key).folder, name))
    stored = _maps(experiment, store)[name]
    found: NDArray[np.uint8] = labels(full_size(stored), stored.classes, MasksConfig(background=threshold))
    return found


def _heat(image: NDArray[np.uint8], experiment: Experiment, store: Store, name: str) -> NDArray[Any]:
    """The strongest map over the grey image: float [H, W, 3] in 0..1."""
    scores = full_size(_maps(experiment, store)[name])
    grey = np.repeat(image.mean(2, keepdims=True) / 255, 3, axis=2)
    if not len(scores):
        return grey
    colours = colormaps["jet"](scores.max(0))[:, :, :3]
    return np.asarray(0.5 * grey + 0.5 * colours)
