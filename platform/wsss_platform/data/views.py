"""Training views: random resize, crop, flip and colour jitter, equal for equal (seed, epoch, image index).

Needs torch; no state: any number of loader workers, a resumed run and an uninterrupted one see the same crops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wsss_platform.config import TrainConfig
from wsss_platform.data.sampler import Key
from wsss_platform.data.split import IGNORE, Split
from wsss_platform.errors import InputError
from wsss_platform.method.module import Batch

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean of RGB in 0..1."""
IMAGE_STD = (0.229, 0.224, 0.225)
"""ImageNet standard deviation of RGB in 0..1."""

_GAIN = (1.0 / (255.0 * np.array(IMAGE_STD))).astype(np.float32)
_SHIFT = (np.array(IMAGE_MEAN) / np.array(IMAGE_STD)).astype(np.float32)

Reader = Callable[[str], NDArray[Any]]
"""Image id -> uint8 [H, W] label map or float32 [C, H, W] maps, at the image's size."""


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [H, W, 3] RGB -> float32 [3, H, W], contiguous, ImageNet mean and standard deviation removed."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for band in range(3):  # eight times faster than broadcasting over the last axis
        np.multiply(image[:, :, band], _GAIN[band], out=out[band])
        out[band] -= _SHIFT[band]
    return out


@dataclass(frozen=True)
class View:
    """One crop of one image."""

    id: str
    image: Tensor
    """float32 [3, S, S], normalised; 0 where padded."""
    labels: Tensor
    """float32 [C], of the whole image."""
    valid: Tensor
    """bool [S, S], False where padded."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Label maps int64 [S, S] (255 where padded), maps float32 [C, S, S] and saliency [1, S, S] (0 where padded)."""


@dataclass(frozen=True)
class Draw:
    """The random numbers of one view. All are always drawn, so that switching the jitter on moves no crop."""

    height: int
    """Of the resized image, pixels."""
    width: int
    top: int
    """Of the crop in the resized image; negative where the image is smaller and starts inside the crop."""
    left: int
    flip: bool
    jitter: tuple[float, float, float, float]
    """Brightness, contrast and saturation factors around 1, hue shift as a fraction of the circle."""


def draw(train: TrainConfig, height: int, width: int, random: np.random.Generator) -> Draw:
    """Choose a view of an image of the given size in pixels."""
    size, down, right, mirror, *colours = random.random(8).tolist()
    low, high = train.resize_range
    factor = low + (high - low) * size
    if train.resize == "square":
        height = width = round(factor)
    else:
        factor /= max(height, width) if train.resize == "long_side" else 1
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    jitter = [train.jitter * (2 * colour - 1) for colour in colours]
    return Draw(
        height,
        width,
        _offset(height - train.crop, down),
        _offset(width - train.crop, right),
        bool(train.flip and mirror < 0.5),
        (1 + jitter[0], 1 + jitter[1], 1 + jitter[2], jitter[3] / 3),
    )


def _offset(spare: int, unit: float) -> int:
    """Uniform over the |spare| + 1 positions; unit is in [0, 1)."""
    return int(unit * (abs(spare) + 1)) * (1 if spare >= 0 else -1)


def crop(array: NDArray[Any], view: Draw, side: int, fill: float, interpolation: int) -> NDArray[Any]:
    """Resize, cut and mirror one array [H, W] or [H, W, 3]; `fill` where the image does not reach."""
    if array.shape[:2] != (view.height, view.width):
        array = cv2.resize(array, (view.width, view.height), interpolation=interpolation)
    out = np.full((side, side, *array.shape[2:]), fill, dtype=array.dtype)
    source = array[max(view.top, 0) : view.top + side, max(view.left, 0) : view.left + side]
    top, left = max(-view.top, 0), max(-view.left, 0)
    out[top : top + source.shape[0], left : left + source.shape[1]] = source
    return np.ascontiguousarray(out[:, ::-1]) if view.flip else out


def recolour(
    image: NDArray[np.uint8], valid: NDArray[np.uint8], jitter: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """Brightness, contrast, saturation and hue as in torchvision's ColorJitter, in this order.

    Args:
        image: uint8 [H, W, 3] RGB.
        valid: uint8 [H, W], 0 where padded: contrast turns around the mean of the other pixels.
        jitter: factors around 1 and the hue shift as a fraction of the circle.
    """
    brightness, contrast, saturation, hue = jitter
    if jitter == (1, 1, 1, 0):
        return image
    levels = np.arange(256)
    out = cv2.LUT(image, _byte(levels * brightness))
    mean = cv2.mean(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), valid)[0]
    out = cv2.LUT(out, _byte(levels * contrast + mean * (1 - contrast)))
    grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    out = cv2.addWeighted(out, saturation, grey, 1 - saturation, 0)
    if hue:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV_FULL)
        hsv[:, :, 0] += np.uint8(round(256 * hue) % 256)  # the circle is 256 steps, so it wraps by itself
        out = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return np.asarray(out, np.uint8)


def _byte(values: NDArray[Any]) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table


class TrainViews(Dataset[View]):
    """The training split as views; asked for by (epoch, image index), see `EpochSampler`."""

    def __init__(
        self, split: Split, train: TrainConfig, readers: Mapping[str, Reader] | None = None, seed: int = 0
    ) -> None:
        """
        Args:
            split: the images and their image-level labels.
            train: crop, resize, flip and jitter are read.
            readers: by the name of the earlier phase; what is cropped with the image into `Batch.extras`.
            seed: of the run, not negative.
        """
        self.split, self.train, self.readers, self.seed = split, train, dict(readers or {}), seed
        self._ids = split.ids

    def __len__(self) -> int:
        """Images in the split."""
        return len(self._ids)

    def __getitem__(self, key: Key) -> View:
        """One view.

        Raises:
            InputError: the image cannot be read, or an extra has another size; the message names it.
        """
        epoch, index = key
        sample = self.split.read(self._ids[index])
        height, width = sample.image.shape[:2]
        view = draw(self.train, height, width, np.random.default_rng((self.seed, epoch, index)))
        side = self.train.crop
        smaller = view.height * view.width < height * width
        smooth = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        valid = crop(np.ones((view.height, view.width), np.uint8), view, side, 0, cv2.INTER_NEAREST)
        image = normalise(recolour(crop(sample.image, view, side, 0, smooth), valid, view.jitter))
        image *= valid  # padding is the mean colour whatever the jitter did
        extras = {
            name: self._extra(name, sample.id, reader(sample.id), (height, width), view)
            for name, reader in self.readers.items()
        }
        return View(
            sample.id,
            torch.from_numpy(image),
            torch.from_numpy(sample.labels.astype(np.float32)),
            torch.from_numpy(valid.astype(bool)),
            extras,
        )

    def _extra(self, name: str, id: str, extra: NDArray[Any], size: tuple[int, int], view: Draw) -> Tensor:
        if extra.shape[-2:] != size:
            raise InputError(f"{name} of image {id}: {extra.shape[-2:]} pixels, but the image has {size}")
        side = self.train.crop
        if extra.ndim == 2 and extra.dtype == np.uint8:
            return torch.from_numpy(crop(extra, view, side, IGNORE, cv2.INTER_NEAREST_EXACT).astype(np.int64))
        if extra.ndim == 3 and extra.dtype == np.float32:
            out = np.zeros((len(extra), side, side), np.float32)
            for channel in np.flatnonzero(extra.any(axis=(1, 2))):  # absent classes are all zero
                out[channel] = crop(np.ascontiguousarray(extra[channel]), view, side, 0, cv2.INTER_LINEAR)
            return torch.from_numpy(out)
        raise TypeError(f"{name} of image {id}: expected uint8 [H, W] or float32 [C, H, W], got {extra.dtype}")


def collate(items: Sequence[View]) -> Batch:
    """Views of equal size -> one Batch."""
    return Batch(
        [item.id for item in items],
        torch.stack([item.image for item in items]),
        torch.stack([item.labels for item in items]),
        torch.stack([item.valid for item in items]),
        {name: torch.stack([item.extras[name] for item in items]) for name in items[0].extras},
    )
