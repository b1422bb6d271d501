"""The images of a comparison: bars per class and effect, and the photographs where methods differ most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from wsss_platform.data.palette import voc_palette
from wsss_platform.report.comparison import ScoredVariant
from wsss_platform.report.documents import ComparedVariant
from wsss_platform.scores.confusion import mean_iou_of_parts

COLOURS = ("#6b6b6b", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's, grey first: the baseline."""
PANELS = 6
"""Images in a row of a figure."""


def bars(variants: Sequence[ComparedVariant], field: Literal["classes", "effects"], title: str) -> Figure:
    """A group of bars per class or effect, one bar per variant, in percent."""
    found: list[Mapping[str, float | None]] = [one.classes if field == "classes" else one.effects for one in variants]
    names = list(found[0])
    figure = Figure(figsize=(7.2, 1.2 + 0.12 * len(names) * (len(variants) + 1)), dpi=120, layout="constrained")
    axis = figure.add_subplot()
    height = 0.84 / len(variants)
    for number, (variant, shares) in enumerate(zip(variants, found, strict=True)):
        places = [row - 0.42 + height * (number + 0.5) for row in range(len(names))]
        values = [100 * (shares[name] or 0.0) for name in names]
        axis.barh(places, values, height=height * 0.92, color=COLOURS[number % len(COLOURS)], label=variant.label)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="percent")
    axis.set_title(title, fontsize=10.5, fontweight="bold", loc="left")
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8.5)
    return figure


def differing(variants: Sequence[ScoredVariant], count: int) -> Iterator[tuple[str, Figure]]:
    """The images on which the variants' IoU spreads most (first seed): image, ground truth and each variant's mask."""
    first = variants[0].variant.experiments[0]
    split, truth = first.dataset.split(first.data.score_list), first.dataset.truth(first.data.score_list)
    values = []
    for scored in variants:
        place = {name: row for row, name in enumerate(scored.ids)}
        values.append(mean_iou_of_parts(scored.parts[0])[[place[name] for name in variants[0].ids]])
    each = np.stack(values)  # [V, N]
    spread = np.nan_to_num(each.max(0) - each.min(0), nan=-1.0)
    for row in np.argsort(-spread, kind="stable")[:count]:
        name = variants[0].ids[row]
        panels = [("image", split.read(name).image), ("truth", voc_palette()[truth.mask(name)])]
        for scored, value in zip(variants, each[:, row], strict=True):
            panels.append((f"{scored.variant.label} {100 * value:.1f}", voc_palette()[scored.mask(name)]))
        columns = min(PANELS, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(2.2 * columns, 2.6 * rows), dpi=120, layout="constrained")
        for number, (title, panel) in enumerate(panels, 1):
            axis = figure.add_subplot(rows, columns, number)
            axis.imshow(panel, interpolation="nearest")
            axis.set_title(title, fontsize=9, loc="left")
            axis.set_axis_off()
        yield name, figure
