"""The figure of a search over stored maps: how settings fared from rung to rung, and each axis against the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from wsss_platform.search.masks.halving import Found
from wsss_platform.search.masks.settings import CONFIGURED, NO_CRF

_STYLES = {NO_CRF: ("#000000", "--"), CONFIGURED: ("#0072B2", "-")}


def curves(found: Found, axes: Sequence[str]) -> Figure:
    """Mean IoU in percent over the images of each rung, and over each axis (dotted path) in the first rung."""
    columns = 3
    rows = 1 + -(-len(axes) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.6), dpi=110, layout="constrained")
    cells = figure.add_gridspec(rows, columns)
    _rungs(figure.add_subplot(cells[0, :]), found)
    for number, path in enumerate(axes):
        _axis(figure.add_subplot(cells[1 + number // columns, number % columns]), found, path)
    return figure


def _rungs(plot: Any, found: Found) -> None:
    for name in found.rungs[0].scores:
        seen = [(rung.images, 100 * rung.scores[name]) for rung in found.rungs if name in rung.scores]
        colour, line = _STYLES.get(name, ("#b0b0b0", "-"))
        strong = name in _STYLES
        if name == found.winner.name:
            colour, strong = "#D55E00", True
        label = name + (" (winner)" if name == found.winner.name else "") if strong else None
        plot.plot(*zip(*seen, strict=True), line, color=colour, marker=".", lw=1.8 if strong else 0.7, label=label)
    plot.set(xlabel="images of the rung", ylabel="mean IoU, percent", xscale="log")
    plot.set_xticks([rung.images for rung in found.rungs], [str(rung.images) for rung in found.rungs])
    plot.set_xticks([], minor=True)
    plot.set_title("settings by rung; chosen with ground truth", fontsize=10, loc="left")
    plot.legend(fontsize=8, frameon=False)


def _axis(plot: Any, found: Found, path: str) -> None:
    first = found.rungs[0].scores
    drawn = [(item.changes[path], 100 * first[name]) for name, item in found.settings.items() if path in item.changes]
    if drawn:
        values, scores = zip(*drawn, strict=True)
        numeric = all(isinstance(value, int | float) for value in values)
        plot.plot([value if numeric else str(value) for value in values], scores, ".", color="#808080")
    if path in found.winner.changes:
        value = found.winner.changes[path]
        plot.plot(
            [value if isinstance(value, int | float) else str(value)],
            [100 * first[found.winner.name]],
            "o",
            color="#D55E00",
        )
    plot.set_title(path, fontsize=8.5, loc="left")
    plot.tick_params(labelsize=7)
