"""The stored form that keeps the network's own outputs, one small grid per scale, and how to make full size of them.

Interpolating each view straight to the image, then fusing and normalising there, is what IRN and its followers do
for their full-size maps; the fused grid of `storage` is fitted to them. In float32 nothing is lost: full size is the
same bits as before storing. Ours; what was measured is in docs/decisions/0009-stored-views.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError
from wsss_platform.maps.geometry import padded_size

FLOOR = 1e-5
"""Least divisor when a map is normalised (SEAM): a map that is nowhere above it stays near 0."""
VIEWS_FORMAT = {
    "format": "wsss-platform map views",
    "version": 1,
    "geometry": "each view covers the padded image (16) or the image, as its recipe says; bilinear half-pixel "
    "centres to that size, cut",
    "scores": "views one after another, each C order [classes, rows, columns], little endian; "
    "score = stored x scale + offset per class",
}
"""What the metadata of every file of views says under the key "wsss_platform"."""
VIEWS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("rows", pa.list_(pa.int32())),
        ("columns", pa.list_(pa.int32())),
        ("precision", pa.string()),
        ("recipe", pa.string()),
        ("classes", pa.binary()),
        ("offset", pa.binary()),
        ("scale", pa.binary()),
        ("scores", pa.binary()),
    ],
    metadata={"wsss_platform": json.dumps(VIEWS_FORMAT)},
)
_TYPES: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype("u1"),
    "uint11": np.dtype("<u2"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}
_PRECISIONS = {kind.name: precision for precision, kind in _TYPES.items()}
_TOP = {"uint8": 255, "uint11": 2040}  # the level of a class's highest score


@dataclass(frozen=True)
class Recipe:
    """How views become one map; the fields of config section `maps` of these names."""

    fuse: Literal["sum", "mean", "max"]
    normalise: Literal["max", "minmax", "none"]
    normalise_views: bool = False
    """Normalise each view before fusing instead of the fused map."""
    relu: bool = False
    """Negative values of the fused map become 0 (activate "fused")."""
    padded: bool = True
    """The views cover the padded image; else the image alone."""


@dataclass(frozen=True)
class StoredViews:
    """The network's outputs for one image: only the classes present, one grid per view.

    Raises:
        InputError: when the parts do not fit each other; the message names the image.
    """

    id: str
    """Image id."""
    classes: NDArray[np.uint8]
    """uint8 [K], 0-based foreground classes in ascending order."""
    views: tuple[NDArray[Any], ...]
    """uint8, uint16 (0..2040: precision "uint11"), float16 or float32 [K, h, w] each; empty when K = 0."""
    offset: NDArray[np.float32]
    """float32 [K]."""
    scale: NDArray[np.float32]
    """float32 [K]: a score is stored x scale + offset."""
    height: int
    """Of the image in pixels."""
    width: int
    """Of the image in pixels."""
    recipe: Recipe
    """How to make full size of the views."""

    def __post_init__(self) -> None:
        check_id(self.id, "map")
        if self.height < 1 or self.width < 1:
            raise InputError(f"map of {self.id}: image size {self.height}x{self.width} is not positive", field=self.id)
        number = len(self.classes)
        fits = all(view.ndim == 3 and len(view) == number and 0 not in view.shape[1:] for view in self.views)
        if not fits or bool(self.views) != bool(number) or not len(self.offset) == len(self.scale) == number:
            raise InputError(
                f"map of {self.id}: views of shapes {[view.shape for view in self.views]} for {number} classes, "
                f"{len(self.offset)} offsets and {len(self.scale)} scales",
                field=self.id,
            )
        types = {view.dtype.name for view in self.views}
        if len(types) > 1 or not types <= set(_PRECISIONS) or self.classes.dtype != np.uint8:
            raise InputError(
                f"map of {self.id}: views of types {sorted(types)} and classes {self.classes.dtype}, "
                f"expected one of {', '.join(_PRECISIONS)} and uint8 classes",
                field=self.id,
            )
        if np.any(np.diff(self.classes.astype(np.int16)) <= 0):
            raise InputError(f"map of {self.id}: classes {self.classes.tolist()} are not ascending", field=self.id)

    @property
    def precision(self) -> str:
        """ "uint8", "uint11", "float16" or "float32"; of an image without classes "uint8"."""
        return _PRECISIONS[self.views[0].dtype.name] if self.views else "uint8"

    def full_size(self) -> NDArray[np.float32]:
        """The maps at the image's size: float32 [K, H, W], scores 0..1."""
        full = np.empty((len(self.classes), self.height, self.width), np.float32)
        high, wide = padded_size(self.height, self.width) if self.recipe.padded else (self.height, self.width)
        large = np.empty((high, wide), np.float32)
        for k, fused in enumerate(full):
            for number, view in enumerate(self.views):
                grid = view[k].astype(np.float32) * self.scale[k] + self.offset[k]
                cv2.resize(grid, (wide, high), dst=large, interpolation=cv2.INTER_LINEAR)
                inside = large[: self.height, : self.width]
                if self.recipe.normalise_views:
                    inside = _normalised(inside, self.recipe.normalise)
                if number == 0:
                    fused[:] = inside
                elif self.recipe.fuse == "max":
                    np.maximum(fused, inside, out=fused)
                else:
                    fused += inside
            if self.recipe.fuse == "mean":
                fused /= np.float32(len(self.views))
            if self.recipe.relu:
                np.maximum(fused, 0, out=fused)
            if not self.recipe.normalise_views:
                fused[:] = _normalised(fused, self.recipe.normalise)
        return full.clip(0, 1, out=full)


def _normalised(scores: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """One class's map stretched over the image."""
    if how == "none":
        return scores
    low = scores.min() if how == "minmax" else np.float32(0)
    stretched: NDArray[np.float32] = (scores - low) / max(scores.max() - low, np.float32(FLOOR))
    return stretched


def stored_views(
    id: str,
    classes: NDArray[np.uint8],
    views: list[NDArray[np.float32]],
    precision: Literal["uint8", "uint11", "float16", "float32"],
    size: tuple[int, int],
    recipe: Recipe,
) -> StoredViews:
    """Views float32 [K, h, w] in a stored type: "float32" as they are, the others over each class's own range."""
    offset, scale = np.zeros(len(classes), np.float32), np.ones(len(classes), np.float32)
    kept: list[NDArray[Any]] = list(views)
    if precision != "float32" and len(classes):
        high = np.max([view.max((1, 2)) for view in views], axis=0)
        low = np.min([view.min((1, 2)) for view in views], axis=0)
        tiny = np.finfo(np.float32).tiny * _TOP.get(precision, 255)
        if precision in _TOP:
            offset, scale = low, np.maximum(high - low, tiny) / np.float32(_TOP[precision])
            kind = _TYPES[precision]
            kept = [np.rint((view - low[:, None, None]) / scale[:, None, None]).astype(kind) for view in views]
        else:
            scale = np.maximum(np.maximum(high, -low), tiny)
            kept = [(view / scale[:, None, None]).astype(np.float16) for view in views]
    return StoredViews(id, classes, tuple(kept), offset, scale, *size, recipe)


def views_row(item: StoredViews) -> dict[str, Any]:
    """A row of VIEWS_SCHEMA."""
    kind = _TYPES[item.precision]
    return {
        "id": item.id,
        "height": item.height,
        "width": item.width,
        "rows": [view.shape[1] for view in item.views],
        "columns": [view.shape[2] for view in item.views],
        "precision": item.precision,
        "recipe": json.dumps(asdict(item.recipe)),
        "classes": item.classes.tobytes(),
        "offset": item.offset.astype("<f4").tobytes(),
        "scale": item.scale.astype("<f4").tobytes(),
        "scores": b"".join(view.astype(kind, copy=False).tobytes() for view in item.views),
    }


def views_of_row(row: dict[str, Any]) -> StoredViews:
    """The row's image.

    Raises:
        KeyError, TypeError, ValueError: the row is damaged.
    """
    classes = np.frombuffer(row["classes"], np.uint8)
    scores = np.frombuffer(row["scores"], _TYPES[row["precision"]])
    shapes = [(len(classes), h, w) for h, w in zip(row["rows"], row["columns"], strict=True)]
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    if ends[-1] != len(scores):
        raise ValueError(f"{len(scores)} scores for views of {shapes}")
    views = tuple(scores[a:b].reshape(shape) for a, b, shape in zip(ends, ends[1:], shapes, strict=False))
    offset, scale = (np.frombuffer(row[name], np.dtype("<f4")) for name in ("offset", "scale"))
    recipe = Recipe(**json.loads(row["recipe"]))
    return StoredViews(row["id"], classes, views, offset, scale, row["height"], row["width"], recipe)
