"""`show`: images of a scored run, read from the store and drawn by `drawing`.

The worst and best images are chosen with ground truth, for a person to view; no setting is selected with them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.errors import unknown
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report.drawing import class_figure, panel, pixels, save, sweep_figure
from wsss_platform.run.pipeline import read_score, read_summary
from wsss_platform.scores.confusion import mean_iou_of_parts
from wsss_platform.store.artefacts import Store


class RunImages:
    """Draws the images of one scored experiment."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        """Open what the store has of it.

        Raises:
            InputError: it has not been scored yet.
        """
        stage = experiment.stage("score")
        self._score = read_score(experiment, store, "nothing to show yet: this run")
        self.summary = read_summary(store.open("score", stage.key))
        self._masks = store.open("masks", stage.inputs["masks"].key).folder
        maps = stage.inputs.get("maps")  # imported masks have none
        self._maps = None if maps is None else MapReader(store.open("maps", maps.key).folder)
        self._split = experiment.dataset.split(stage.list_name)
        self._truth = experiment.dataset.truth(stage.list_name)
        masks = experiment.masks_config(stage.phase)
        self._background = masks.background if masks.rule == "constant" else None

    def ranking(self) -> dict[str, float]:
        """Image id -> mean IoU of its mask over the classes in it, 0..1; without images that have no ground truth."""
        values = mean_iou_of_parts(self._score.parts)
        return {name: float(value) for name, value in zip(self._score.ids, values, strict=True) if not np.isnan(value)}

    def draw(self, name: str) -> Figure:
        """The panel of one image; InputError with the nearest id when the split has none of that name."""
        if name not in (self._score.ids if self._maps is None else self._maps):
            raise unknown(f"image of split {self._split.name!r}", name, self._split.ids)
        mask = self._mask(name)
        scores, classes = np.zeros((0, *mask.shape), np.float32), []
        if self._maps is not None:
            stored = self._maps[name]
            scores, classes = full_size(stored), [int(index) for index in stored.classes]
        return panel(
            self._split.read(name).image,
            scores,
            classes,
            mask,
            self._truth.mask(name),
            self._truth.classes,
            title=name,
            background=self._background,
        )

    def _mask(self, name: str) -> NDArray[np.uint8]:
        return read_mask(mask_file(self._masks, name))


def show_run(
    experiment: Experiment, store: Store, folder: Path, *, count: int = 4, ids: Sequence[str] | None = None
) -> list[Path]:
    """Write the images of a scored run; returns the files.

    Args:
        experiment: of the run.
        store: that holds its maps, masks and score.
        folder: is created; `sweep.png`, `classes.png` and one PNG per image go into it.
        count: images of each kind (worst, best, random).
        ids: these images instead.

    Raises:
        InputError: the run has no score, or an id that its split does not have.
    """
    run = RunImages(experiment, store)
    chosen = [(name, name) for name in ids] if ids else list(_chosen(run.ranking(), count))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for label, figure in [*_figures(run), *((label, run.draw(name)) for label, name in chosen)]:
        written.append(folder / f"{label}.png")
        save(figure, written[-1])
    return written


def overview(experiment: Experiment, store: Store, images: int = 8) -> Figure:
    """One figure with a panel for each of some images: the worst, the best and random others, in equal numbers.

    Args:
        experiment: of the run.
        store: that holds its maps, masks and score.
        images: how many, at most.

    Raises:
        InputError: the run has no score.
    """
    run = RunImages(experiment, store)
    names = [name for some in choose(run.ranking(), -(-images // 3)).values() for name in some][:images]
    drawn = [pixels(run.draw(name)) for name in names]
    width, heights = max(each.shape[1] for each in drawn), [each.shape[0] for each in drawn]
    figure = Figure(figsize=(width / 120, sum(heights) / 120), dpi=120)
    bottom = sum(heights)
    for each in drawn:
        bottom -= each.shape[0]
        place = (0.0, bottom / sum(heights), each.shape[1] / width, each.shape[0] / sum(heights))
        axes = figure.add_axes(place)
        axes.imshow(each)
        axes.set_axis_off()
    return figure


def panels(experiment: Experiment, store: Store, count: int = 2) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The curve, the bars, and `count` worst, best and random images as (label, uint8 [H, W, 3] RGB)."""
    run = RunImages(experiment, store)
    for label, figure in _figures(run):
        yield label, pixels(figure)
    for kind, names in choose(run.ranking(), count).items():
        for number, name in enumerate(names, 1):
            yield f"{kind}/{number}", pixels(run.draw(name))


def choose(ranking: Mapping[str, float], count: int, seed: int = 0) -> dict[str, list[str]]:
    """Ids of the `count` worst (worst first), best (best first) and of random others; no id twice.

    Equal scores are ordered by id. A short split is filled in that order.
    """
    ordered = sorted(ranking, key=lambda name: (ranking[name], name))
    worst = ordered[:count]
    best = ordered[len(worst) :][::-1][:count]
    rest = sorted(set(ordered) - {*worst, *best})
    return {"worst": worst, "best": best, "random": sorted(random.Random(seed).sample(rest, min(count, len(rest))))}


def _chosen(ranking: Mapping[str, float], count: int) -> Iterator[tuple[str, str]]:
    for kind, names in choose(ranking, count).items():
        for number, name in enumerate(names, 1):
            yield f"{kind}-{number:02d}-{name}", name


def _figures(run: RunImages) -> Iterable[tuple[str, Figure]]:
    summary: Mapping[str, Any] = run.summary
    curves = [("sweep", sweep_figure(summary))] if summary["sweep"] else []
    return *curves, ("classes", class_figure(summary))
