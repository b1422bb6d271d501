"""The images of `show`, drawn from plain arrays: a panel per photograph, the sweep curve, bars per class.

Colours: scores in "inferno" (even in lightness, so it reads in grey and for colour-blind eyes), labels
in the VOC palette of the masks, marks in two colours of Okabe and Ito.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.data.palette import voc_palette
from wsss_platform.scores.confusion import confusion, iou, mean_iou
from wsss_platform.store.artefacts import write_atomic

COLUMNS = 4
"""Images side by side in a panel."""
CURVE, MARK, QUIET = "#0072B2", "#D55E00", "#6b6b6b"
_HEAT = colormaps["inferno"]
_DPI = 120
_WIDTH, _GAP = 2.7, 0.08  # inches
_TEXT = 8.5


def panel(
    image: NDArray[np.uint8],
    scores: NDArray[np.float32],
    classes: Sequence[int],
    mask: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    class_names: Sequence[str],
    *,
    title: str = "",
    background: float | None = None,
) -> Figure:
    """Image, strongest map, mask and ground truth in a row; with several classes a map of each below.

    Args:
        image: uint8 [H, W, 3] RGB.
        scores: float32 [K, H, W] in 0..1, the maps of the classes present.
        classes: their K indices, 0-based foreground.
        mask: uint8 [H, W], the pseudo mask.
        truth: uint8 [H, W], the ground-truth mask.
        class_names: names of all C foreground classes.
        title: of the whole image, such as its id.
        background: the constant background score, drawn as a contour on each map.
    """
    names = ("background", *class_names)
    counts = confusion(truth, mask, len(class_names))
    maps = len(classes) if len(classes) > 1 else 0
    sheet = _Sheet(truth.shape, 1 + -(-maps // COLUMNS), max(len(_present(mask)), len(_present(truth))))

    sheet.place(0, 0, image, "image")
    if len(classes) > 1:
        sheet.place(0, 1, _strongest(image, scores, classes), "strongest class")
    elif classes:
        _map(sheet, (0, 1), image, scores[0], f"map: {class_names[classes[0]]}", background, scale=True)
    else:
        sheet.place(0, 1, image, "no class, no map")
    values = [f"{name} {_percent(value)}" for name, value in zip(names, iou(counts), strict=True)]
    _name(sheet.place(0, 2, _coloured(mask), "mask, with IoU in %"), mask, values)
    _name(sheet.place(0, 3, _coloured(truth), "truth"), truth, names)
    for number in range(maps):
        place = (1 + number // COLUMNS, number % COLUMNS)
        _map(sheet, place, image, scores[number], f"map: {class_names[classes[number]]}", background, scale=number == 0)
    words = f"mean IoU of this image {_percent(float(mean_iou(counts)))} %"
    sheet.title(f"{title}   {words}" if title else words)
    return sheet.figure


class _Sheet:
    """Equal images in rows of `COLUMNS`, placed to the point: each has a title above, the first row names below."""

    def __init__(self, shape: Sequence[int], rows: int, names: int) -> None:
        self._cell = _WIDTH * min(max(shape[0] / shape[1], 0.4), 1.6)
        below = 0.08 + 0.155 * -(-names // 2)
        self._tops = [0.52 + row * (self._cell + 0.3) + (below if row else 0) for row in range(rows)]
        self._height = self._tops[-1] + self._cell + (below if rows == 1 else 0) + 0.08
        self._width = COLUMNS * (_WIDTH + _GAP) + _GAP
        self.figure = Figure(figsize=(self._width, self._height), dpi=_DPI)

    def place(self, row: int, column: int, image: NDArray[Any], title: str) -> Axes:
        """An image in its place."""
        left, bottom = _GAP + column * (_WIDTH + _GAP), self._height - self._tops[row] - self._cell
        where = (left / self._width, bottom / self._height, _WIDTH / self._width, self._cell / self._height)
        axis = self.figure.add_axes(where)
        axis.imshow(image, interpolation="nearest" if image.dtype == np.uint8 else "bilinear")
        axis.set_title(title, fontsize=_TEXT + 0.5, loc="left", pad=3)
        axis.set_axis_off()
        axis.set_anchor("NW")
        return axis

    def title(self, text: str) -> None:
        """Above everything."""
        x, y = _GAP / self._width, 1 - 0.08 / self._height
        self.figure.text(x, y, text, ha="left", va="top", fontsize=10.5, fontweight="bold")


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The image in dim grey, float [H, W, 3] in 0..1, so that colour means score."""
    grey: NDArray[np.float64] = image @ np.array([0.299, 0.587, 0.114]) / 255
    return np.repeat(0.1 + 0.75 * grey[..., None], 3, axis=2)


def _map(
    sheet: _Sheet,
    place: tuple[int, int],
    image: NDArray[np.uint8],
    score: NDArray[np.float32],
    title: str,
    level: float | None,
    *,
    scale: bool,
) -> None:
    """A heat map over the grey image: the stronger, the more opaque; the line is where background begins."""
    clipped = np.clip(score, 0, 1)
    opacity = 0.85 * np.sqrt(clipped)[..., None]
    axis = sheet.place(*place, (1 - opacity) * _grey(image) + opacity * _HEAT(clipped)[..., :3], title)
    if level is not None and clipped.min() < level < clipped.max():
        axis.contour(clipped, levels=[level], colors="white", linewidths=0.9)
    if scale:
        inset = axis.inset_axes((0.05, 0.09, 0.4, 0.035))
        bar = sheet.figure.colorbar(ScalarMappable(cmap=_HEAT), cax=inset, orientation="horizontal", ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=_TEXT - 2, colors="white", length=0, pad=1)


def _strongest(image: NDArray[np.uint8], scores: NDArray[np.float32], classes: Sequence[int]) -> NDArray[np.float64]:
    """Each pixel in the colour of its strongest class, as opaque as that class is strong."""
    colours = voc_palette()[np.asarray(classes, dtype=np.int64) + 1] / 255
    opacity = 0.9 * np.clip(scores.max(0), 0, 1)[..., None]
    mixed: NDArray[np.float64] = (1 - opacity) * _grey(image) + opacity * colours[scores.argmax(0)]
    return mixed


def _coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return voc_palette()[mask]


def _present(mask: NDArray[np.uint8]) -> list[int]:
    return [int(value) for value in np.unique(mask)]


def _name(axis: Axes, mask: NDArray[np.uint8], names: Sequence[str]) -> None:
    """The labels of a mask below it, each beside its colour."""
    palette = voc_palette() / 255
    labels = {value: "not scored" if value == 255 else names[value] for value in _present(mask)}
    handles = [Patch(facecolor=palette[value], edgecolor="0.5", linewidth=0.4, label=labels[value]) for value in labels]
    axis.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, -0.005),
        ncols=2,
        fontsize=_TEXT - 1,
        frameon=False,
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.4,
        columnspacing=0.9,
        labelspacing=0.25,
        borderpad=0.1,
        borderaxespad=0,
    )


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def sweep_figure(summary: Mapping[str, Any], *, title: str = "") -> Figure:
    """Mean IoU of the maps at every background score, with the best and the masks as written marked.

    Args:
        summary: `Score.summary()`: "mean_iou" of the masks and the "sweep".
        title: such as the run's name.
    """
    sweep = summary["sweep"]
    curve = 100 * np.array(sweep["mean_iou"], dtype=np.float64)  # null becomes nan
    masks, best = 100 * summary["mean_iou"], 100 * sweep["best_mean_iou"]
    figure = Figure(figsize=(6.2, 3.6), dpi=_DPI, layout="constrained")
    axis = figure.add_subplot()
    axis.plot(sweep["thresholds"], curve, color=CURVE, linewidth=1.8)
    top = 1.35 * max(best, masks, 1.0)  # room for the words above the curve
    axis.set(xlim=(0, 1), ylim=(0, top), xlabel="background score", ylabel="mean IoU, %")
    x, fixed = sweep["best_threshold"], sweep.get("fixed_threshold")
    _dot(axis, x, best, MARK, f"best of the sweep (oracle): {best:.1f} at {x:.2f}")
    if fixed is None:  # another rule than a constant has no place on the x axis
        axis.axhline(masks, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label=f"masks: {masks:.1f}")
    else:
        _dot(axis, fixed, masks, QUIET, f"masks: {masks:.1f} at {fixed:.2f}")
    axis.legend(loc="upper right", frameon=False, fontsize=_TEXT + 0.5, handlelength=1.2, labelcolor="linecolor")
    _plain(axis, title)
    return figure


def _dot(axis: Axes, x: float, y: float, colour: str, label: str) -> None:
    axis.plot([x], [y], "o", color=colour, markersize=7, markeredgecolor="white", label=label, zorder=3, clip_on=False)


def class_figure(summary: Mapping[str, Any], *, title: str = "") -> Figure:
    """IoU per class of the masks as bars, strongest first, with the best of the sweep as a dot.

    Args:
        summary: `Score.summary()`: "classes" of the masks and, where there are maps, the sweep's "best_classes", each
            name -> {"iou": 0..1 or None}. A class that occurs nowhere is left out.
        title: such as the run's name.
    """
    masks, swept = summary["classes"], summary["sweep"]
    shown = sorted((name for name in masks if masks[name]["iou"] is not None), key=lambda name: masks[name]["iou"])
    figure = Figure(figsize=(6.2, 0.9 + 0.22 * max(len(shown), 3)), dpi=_DPI, layout="constrained")
    axis = figure.add_subplot()
    values = [100 * masks[name]["iou"] for name in shown]
    axis.barh(range(len(shown)), values, height=0.62, color=CURVE)
    best = [swept["best_classes"][name]["iou"] if swept else None for name in shown]
    oracle = [(100 * value, row) for row, value in enumerate(best) if value is not None]
    axis.plot([x for x, _ in oracle], [y for _, y in oracle], "o", color=MARK, markersize=6, markeredgecolor="white")
    axis.set_yticks(range(len(shown)), [f"{name}  {value:.1f}" for name, value in zip(shown, values, strict=True)])
    axis.set(xlim=(0, 100), ylim=(-0.6, len(shown) - 0.4))
    meant = "bar and number: masks" + ("; dot: best of the sweep, oracle" if swept else "")
    axis.set_xlabel(f"IoU, %   ({meant})")
    _plain(axis, title)
    axis.tick_params(axis="y", length=0)
    return figure


def _plain(axis: Axes, title: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=_TEXT)
    axis.xaxis.label.set_fontsize(_TEXT + 0.5)
    axis.yaxis.label.set_fontsize(_TEXT + 0.5)
    axis.set_title(title, fontsize=10.5, fontweight="bold", loc="left")


def png(figure: Figure) -> bytes:
    """The drawn figure as PNG. Same figure, same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The drawn figure, uint8 [H, W, 3] RGB."""
    return np.array(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG; readers see the whole file or none."""
    write_atomic(path, png(figure))
