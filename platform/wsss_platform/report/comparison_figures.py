"""The pictures of a comparison: bars per class and effect, and the photographs where methods differ most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from wsss_platform.data.palette import voc_palette
from wsss_platform.report.comparison import ScoredArm
from wsss_platform.report.documents import ComparedArm
from wsss_platform.scores.confusion import mean_iou_of_parts

COLOURS = ("#6b6b6b", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's, grey first: the arm that the others are held against."""
PANELS = 6
"""Pictures in a row of a figure."""


def bars(arms: Sequence[ComparedArm], field: Literal["classes", "effects"], title: str) -> Figure:
    """A group of bars per class or effect, one bar per arm, in percent."""
    found: list[Mapping[str, float | None]] = [arm.classes if field == "classes" else arm.effects for arm in arms]
    names = list(found[0])
    figure = Figure(figsize=(7.2, 1.2 + 0.12 * len(names) * (len(arms) + 1)), dpi=120, layout="constrained")
    axis = figure.add_subplot()
    height = 0.84 / len(arms)
    for number, (arm, shares) in enumerate(zip(arms, found, strict=True)):
        places = [row - 0.42 + height * (number + 0.5) for row in range(len(names))]
        values = [100 * (shares[name] or 0.0) for name in names]
        axis.barh(places, values, height=height * 0.92, color=COLOURS[number % len(COLOURS)], label=arm.label)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="percent")
    axis.set_title(title, fontsize=10.5, fontweight="bold", loc="left")
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8.5)
    return figure


def differing(arms: Sequence[ScoredArm], count: int) -> Iterator[tuple[str, Figure]]:
    """The pictures on which the arms' IoU spreads most (first seed): image, truth and each arm's mask."""
    first = arms[0].arm.experiments[0]
    split, truth = first.dataset.split(first.data.score_list), first.dataset.truth(first.data.score_list)
    values = []
    for arm in arms:
        place = {name: row for row, name in enumerate(arm.ids)}
        values.append(mean_iou_of_parts(arm.parts[0])[[place[name] for name in arms[0].ids]])
    each = np.stack(values)  # [A, N]
    spread = np.nan_to_num(each.max(0) - each.min(0), nan=-1.0)
    for row in np.argsort(-spread, kind="stable")[:count]:
        name = arms[0].ids[row]
        panels = [("image", split.read(name).image), ("truth", voc_palette()[truth.mask(name)])]
        for arm, value in zip(arms, each[:, row], strict=True):
            panels.append((f"{arm.arm.label} {100 * value:.1f}", voc_palette()[arm.mask(name)]))
        columns = min(PANELS, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(2.2 * columns, 2.6 * rows), dpi=120, layout="constrained")
        for number, (title, picture) in enumerate(panels, 1):
            axis = figure.add_subplot(rows, columns, number)
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, fontsize=9, loc="left")
            axis.set_axis_off()
        yield name, figure
