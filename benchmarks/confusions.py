"""Confusion of masks: counting alone, and from PNG files on disk, against bincount with boolean masking."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from benchmarks.images import PreparedImage
from benchmarks.measure import Row, alternate, peak
from wsss_platform.config import MasksConfig
from wsss_platform.data.palette import read_mask, write_mask
from wsss_platform.masks.make import make_mask
from wsss_platform.scores.confusion import confusion, folded


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Masks of the maps at 0.3 against the ground truth."""
    truths = [image.truth for image in images]
    masks = [make_mask(image.stored(), None, MasksConfig(background=0.3)) for image in images]
    for number, (truth, mask) in enumerate(zip(truths, masks, strict=True)):
        write_mask(folder / f"truth-{number}.png", truth)
        write_mask(folder / f"mask-{number}.png", mask)
        if not np.array_equal(folded(confusion(truth, mask, classes)), fast_hist(truth, mask, classes + 1)):
            raise AssertionError("the two confusions differ")
    numbers = range(len(images))

    def ours_decoded() -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        return [(read_mask(folder / f"truth-{n}.png"), read_mask(folder / f"mask-{n}.png")) for n in numbers]

    def theirs_decoded() -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        return [
            (np.array(Image.open(folder / f"truth-{n}.png")), np.array(Image.open(folder / f"mask-{n}.png")))
            for n in numbers
        ]

    def ours() -> None:
        for truth, mask in zip(truths, masks, strict=True):
            confusion(truth, mask, classes)

    def theirs() -> None:
        for truth, mask in zip(truths, masks, strict=True):
            fast_hist(truth, mask, classes + 1)

    def ours_from_disk() -> None:
        for truth, mask in ours_decoded():
            confusion(truth, mask, classes)

    def theirs_from_disk() -> None:
        for truth, mask in theirs_decoded():
            fast_hist(truth, mask, classes + 1)

    packed = [zlib.compress(np.pad(mask, ((0, 0), (1, 0))).tobytes()) for pair in (truths, masks) for mask in pair]

    def inflated() -> None:
        for item in packed:
            zlib_ng.decompress(item)

    def touched() -> None:
        for truth, mask in zip(truths, masks, strict=True):
            truth.max()
            mask.max()

    own, other, floor = (x / len(images) * 1e3 for x in alternate(ours, theirs, touched, rounds=9))
    yield Row(
        name="confusion of masks in memory vs np.bincount with boolean masking",
        ours=own,
        theirs=other,
        unit="ms",
        limit_share=floor / own,
        limit="one read of both masks",
        ours_peak=peak(ours),
        theirs_peak=peak(theirs),
        note=f"{len(images)} images, equal",
    )
    own, other, floor = (x / len(images) * 1e3 for x in alternate(ours_from_disk, theirs_from_disk, inflated, rounds=7))
    yield Row(
        name="confusion of masks on disk vs np.bincount with boolean masking",
        ours=own,
        theirs=other,
        unit="ms",
        asked=2,
        limit_share=floor / own,
        limit="inflating the pixels of both PNG",
        note=f"{len(images)} images, equal",
    )


def fast_hist(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], sides: int) -> NDArray[np.int64]:
    """The segmentation codebases' `_fast_hist`."""
    counted = (truth >= 0) & (truth < sides)
    joint = sides * truth[counted].astype(int) + prediction[counted]
    return np.bincount(joint, minlength=sides**2).reshape(sides, sides)
