"""Material: true masks of real photographs where there are any, else of the built-in sample; maps made from them.

The maps stand for a stride-16 network at four scales: per scale the class's share of each cell, blurred,
with noise. So sizes, class counts and smoothness are realistic; the mean IoU of such maps means nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import Truth, open_data
from wsss_platform.maps.geometry import nodes_of, padded_size
from wsss_platform.maps.storage import StoredMap, quantised

SCALES = (0.5, 1.0, 1.5, 2.0)
STRIDE = 16


@dataclass(frozen=True)
class PreparedImage:
    """One image's ground truth and maps."""

    id: str
    truth: NDArray[np.uint8]
    """uint8 [H, W]."""
    classes: NDArray[np.uint8]
    """uint8 [K], at least one."""
    outputs: list[NDArray[np.float32]]
    """Per scale the network's scores float32 [K, h_s, w_s]."""

    def stored(self) -> StoredMap:
        """As this platform stores them: fused at the grid's nodes, uint11."""
        height, width = self.truth.shape
        covered = padded_size(height, width)
        nodes = np.sum([nodes_of(output, covered, (height, width)) for output in self.outputs], axis=0)
        scores = quantised(nodes / self._fused().max((1, 2), keepdims=True), "uint11")
        return StoredMap(self.id, self.classes, scores, height, width)

    def high_res(self) -> NDArray[np.float32]:
        """As IRN stores them: every scale resized to the padded image, summed, cut, divided by the maximum."""
        scores = self._fused()
        scores /= scores.max((1, 2), keepdims=True)
        return scores

    def _fused(self) -> NDArray[np.float32]:
        height, width = self.truth.shape
        rows, columns = padded_size(height, width)
        grids = [[cv2.resize(grid, (columns, rows)) for grid in output] for output in self.outputs]
        fused: NDArray[np.float32] = np.array(grids, np.float32).sum(0)[:, :height, :width]
        return fused


def voc_root() -> Path | None:
    """WSSS_VOC_ROOT, or the tree beside the repository, if there is one."""
    given = os.environ.get("WSSS_VOC_ROOT")
    beside = Path(__file__).parents[2] / "shared" / "data" / "VOCdevkit" / "VOC2012"
    root = Path(given) if given else beside
    return root if (root / "JPEGImages").is_dir() else None


def data() -> DataConfig:
    """The photographs where there are any, else the sample."""
    if (root := voc_root()) is not None:
        return DataConfig(kind="voc12", root=str(root))
    return DataConfig(sample=SampleConfig(size=500, train=96))


def load(count: int) -> tuple[list[PreparedImage], tuple[str, ...], str]:
    """Images of about 375x500 with an object, the names of the classes, and where they come from."""
    truth = open_data(data()).truth("train")
    origin = "VOC2012 photographs" if data().kind == "voc12" else "generated sample, longer side 500"
    found = [image for image in (_image(truth, name) for name in _spread(truth, 4 * count)) if image]
    return found[:count], truth.classes, origin


def _spread(truth: Truth, count: int) -> list[str]:
    step = max(1, len(truth.ids) // count)
    return list(truth.ids[::step])


def _image(truth: Truth, name: str) -> PreparedImage | None:
    mask = truth.mask(name)
    present = np.setdiff1d(np.unique(mask), [0, 255])
    if len(present) == 0 or max(mask.shape) != 500 or min(mask.shape) < 320:
        return None
    high, wide = padded_size(*mask.shape)
    generator = np.random.default_rng([ord(letter) for letter in name])
    outputs = []
    for scale in SCALES:
        size = (round(scale * wide / STRIDE), round(scale * high / STRIDE))
        grids = []
        for value in present:
            padded = np.zeros((high, wide), np.float32)
            padded[: mask.shape[0], : mask.shape[1]] = mask == value
            share = cv2.GaussianBlur(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), (3, 3), 1)
            grids.append(share + 0.15 * generator.random(share.shape, np.float32))
        outputs.append(np.array(grids, np.float32))
    return PreparedImage(name, mask, (present - 1).astype(np.uint8), outputs)
