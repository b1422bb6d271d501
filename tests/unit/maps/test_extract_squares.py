"""Absolute square sizes and normalisation per view (DRS), against plain references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsss_platform.config import MapsConfig, MethodConfig, override
from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import InputError
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import StoredMap, grid_size
from wsss_platform.maps.views import FLOOR
from wsss_platform.method.module import TrainingModule

C, STRIDE = 3, 8


class Colours(TrainingModule):
    """The class scores are the three colours of each cell, times a number."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.gain = gain
        self.seen: list[tuple[int, ...]] = []

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return self.gain * torch.nn.functional.avg_pool2d(images, STRIDE)


def sample(height: int, width: int, present: tuple[int, ...] = (0, 2), seed: int = 0) -> Sample:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    image = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])
    return Sample("2007_1", image, np.isin(np.arange(C), present))


def extract(item: Sample, module: TrainingModule | None = None, **config: Any) -> StoredMap:
    return Extractor(module or Colours(), MapsConfig(precision="float16", **config), STRIDE)(item)


def shown(pixels: int) -> np.ndarray:
    """What each pixel's centre takes of each node of the grid: [pixels, nodes]."""
    nodes = np.arange(-(-pixels // 4) + 1)
    return np.clip(1 - np.abs((np.arange(pixels) + 0.5)[:, None] / 4 - nodes), 0, None)


def nearest_by_loops(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scores [h, w] that cover the image -> the nodes nearest to their bilinear pixels, edges held."""
    rows, columns = (4 * (nodes - 1) for nodes in grid_size(height, width))
    high, wide = scores.shape
    out = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            y = min(max((row + 0.5) / height * high - 0.5, 0), high - 1)
            x = min(max((column + 0.5) / width * wide - 0.5, 0), wide - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, high - 1), min(left + 1, wide - 1)
            dy, dx = y - top, x - left
            upper = (1 - dx) * scores[top, left] + dx * scores[top, right]
            lower = (1 - dx) * scores[bottom, left] + dx * scores[bottom, right]
            out[row, column] = (1 - dy) * upper + dy * lower
    return np.linalg.pinv(shown(rows)) @ out @ np.linalg.pinv(shown(columns)).T


def by_loops(item: Sample, config: MapsConfig) -> np.ndarray:
    height, width = item.image.shape[:2]

    def highest(nodes: np.ndarray) -> np.ndarray:
        return (shown(height) @ nodes @ shown(width).T).max((-2, -1), keepdims=True)

    whole = torch.from_numpy(normalise(item.image))[None]
    views = []
    for size in config.sizes:
        square = torch.nn.functional.interpolate(whole, (size, size), mode="bilinear", antialias=True)
        for flip in (False, True) if config.flip else (False,):
            scores = torch.nn.functional.avg_pool2d(square.flip(3) if flip else square, STRIDE)
            scores = (scores.flip(3) if flip else scores)[0].relu().numpy()
            on_grid = [nearest_by_loops(scores[c], height, width) for c in np.flatnonzero(item.labels)]
            if config.normalise_views:
                on_grid = [view / np.maximum(highest(view), FLOOR) for view in on_grid]
            views.append(np.stack(on_grid))
    fused = {"max": np.max, "mean": np.mean, "sum": np.sum}[config.fuse](np.stack(views), axis=0)
    if not config.normalise_views and config.normalise == "max":
        fused = fused / np.maximum(highest(fused), FLOOR)
    return np.clip(fused, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(45, 70), (96, 33), (16, 16), (7, 90)])
@pytest.mark.parametrize(
    "fields",
    [
        {"fuse": "max", "normalise_views": True},
        {"fuse": "mean", "normalise_views": True, "flip": True},
        {"fuse": "sum"},
        {"fuse": "max", "normalise": "none", "flip": True},
    ],
)
def test_equals_a_plain_reference(height: int, width: int, fields: dict[str, Any]) -> None:
    config: dict[str, Any] = {"sizes": (32, 48, 64), "flip": False, **fields}
    item = sample(height, width)
    found = extract(item, **config)
    assert found.classes.tolist() == [0, 2]
    np.testing.assert_allclose(found.scores, by_loops(item, MapsConfig(**config)), atol=2e-3)


def test_the_network_sees_the_whole_image_as_a_square() -> None:
    module = Colours()
    extract(sample(45, 70), module, sizes=(32, 50), flip=True, scales=(0.5, 1.0))
    assert module.seen == [(2, 3, 32, 32), (2, 3, 48, 48)]  # of 50, the nearest multiple of the stride


def test_padding_is_no_part_of_the_square() -> None:
    """White is above the mean colour, so padding with the mean colour would show as a weaker edge."""
    white = Sample("2007_1", np.full((33, 49, 3), 255, np.uint8), np.array([True, False, False]))
    assert (extract(white, sizes=(64,), normalise="none").scores == 1).all()
    assert (extract(white, sizes=(64,)).scores > 0.999).all()


def test_each_view_is_stretched_before_the_maximum() -> None:
    """A size whose scores are ten times as large drowns the others, unless each is divided by its own maximum."""

    class Uneven(Colours):
        def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
            gain = 10.0 if images.shape[2] == 32 else 1.0
            return gain * super().class_maps(images, labels)

    item = sample(40, 64)
    even, uneven = (
        extract(item, kind(), sizes=(32, 64), fuse="max", normalise_views=True) for kind in (Colours, Uneven)
    )
    np.testing.assert_allclose(even.scores, uneven.scores, atol=2e-3)
    late = [extract(item, kind(), sizes=(32, 64), fuse="max").scores for kind in (Colours, Uneven)]
    assert np.abs(late[0].astype(np.float32) - late[1].astype(np.float32)).max() > 0.1


def test_regressed_maps_are_clipped_and_not_stretched() -> None:
    """DRS's refined maps: no activation, no division by the maximum, the maximum over sizes."""
    fields: dict[str, Any] = {
        "sizes": (32, 64),
        "flip": False,
        "fuse": "max",
        "activation": "none",
        "normalise": "none",
    }
    weak = extract(sample(40, 64), Colours(0.1), **fields).scores
    assert weak.min() == 0
    assert 0.05 < weak.max() < 0.3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"maps.sizes": [8]}, "16..2048"),
        ({"maps.normalise_views": True, "maps.fuse": "sum"}, "fuse 'max' or 'mean'"),
        ({"maps.normalise_views": True, "maps.fuse": "max", "maps.activate": "fused"}, "activate 'view'"),
        ({"maps.normalise_views": True, "maps.fuse": "max", "maps.normalise": "none"}, "not 'none'"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        override(MethodConfig(), fields)
