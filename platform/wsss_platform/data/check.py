"""Decode a whole split and say everything that is wrong with it: `wsss-platform data check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config.words import counted
from wsss_platform.data.files import FileSplit, FolderDataset
from wsss_platform.data.reading import Problem
from wsss_platform.data.split import IGNORE, Dataset, Split, Truth
from wsss_platform.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True)
class ListSummary:
    """What a split holds, from the images that could be decoded."""

    list_name: str
    """The split."""
    classes: tuple[str, ...]
    """Names of the foreground classes."""
    images: int
    """Decoded without a problem."""
    labels_from: str
    """Where image-level labels come from."""
    per_class: tuple[int, ...]
    """Images whose image-level labels name the class, length C."""
    together: tuple[tuple[int, ...], ...]
    """C x C: images whose labels name both classes (the diagonal is `per_class`)."""
    smallest: tuple[int, int]
    """(height, width) of the image with the fewest pixels; (0, 0) of an empty split."""
    largest: tuple[int, int]
    """(height, width) of the image with the most pixels."""
    sizes: int
    """Different sizes."""
    masks: int
    """Images with a mask."""
    ignored: float
    """Share of mask pixels that are 255, 0..1."""
    disagree: int
    """Images whose mask shows other classes than the labels name. No error: VOC's boxes and masks differ in a few."""


@dataclass(frozen=True)
class Report:
    """All problems of a split, and its summary."""

    problems: tuple[Problem, ...]
    summary: ListSummary
    labelled: frozenset[str] = frozenset()
    """Ids of the images without a problem."""
    masked: frozenset[str] = frozenset()
    """Those of them that have a mask."""


def check(dataset: Dataset, list_name: str, on_progress: Progress | None = None) -> list[Problem]:
    """Every problem of a split by file: bad lines, missing, truncated or mismatched images, labels, masks, saliency.

    A split without any mask is checked without them, and saliency only where `data.saliency` names it.

    Raises:
        InputError: there is no such split.
    """
    return list(inspect(dataset, list_name, on_progress).problems)


def inspect(dataset: Dataset, list_name: str, on_progress: Progress | None = None) -> Report:
    """`check` with the summary, in one pass over the images."""
    split, truth, problems = _open(dataset, list_name)
    masked = set(truth.ids) if truth else set()
    labels: list[NDArray[np.bool_]] = []
    sizes: Counter[tuple[int, int]] = Counter()
    ignored = pixels = disagree = masks = 0
    good: set[str] = set()
    for done, id in enumerate(split.ids, start=1):
        try:
            sample = split.read(id)
            height, width = sample.image.shape[:2]
            if isinstance(split, FileSplit) and split.saliency_folder:
                split.saliency(id)
            if truth and id in masked:
                mask = truth.mask(id)
                if mask.shape != (height, width):
                    raise InputError(
                        f"{_file(truth, id)}: mask of {mask.shape[1]} x {mask.shape[0]} pixels,"
                        f" but the image {_file(split, id)} has {width} x {height}",
                        field=_file(truth, id),
                    )
                masks += 1
                pixels += mask.size
                ignored += int((mask == IGNORE).sum())
                shown = np.isin(np.arange(1, len(split.classes) + 1), mask)
                disagree += not np.array_equal(shown, sample.labels)
            labels.append(sample.labels)
            sizes[height, width] += 1
            good.add(id)
        except InputError as error:
            file, _, message = str(error).partition(": ")
            problems.append(Problem(file, message))
        if on_progress:
            on_progress(done, len(split.ids))
    table = np.array(labels, dtype=np.int64).reshape(-1, len(split.classes))
    by_area = sorted(sizes, key=lambda size: size[0] * size[1]) or [(0, 0)]
    summary = ListSummary(
        list_name=list_name,
        classes=split.classes,
        images=len(labels),
        labels_from=split.labels_from,
        per_class=tuple(table.sum(axis=0).tolist()),
        together=tuple(tuple(row) for row in (table.T @ table).tolist()),
        smallest=by_area[0],
        largest=by_area[-1],
        sizes=len(sizes),
        masks=masks,
        ignored=ignored / pixels if pixels else 0.0,
        disagree=disagree,
    )
    return Report(tuple(problems), summary, frozenset(good), frozenset(good & masked))


def verdict(reports: Sequence[Report]) -> tuple[bool, str]:
    """Whether splits can be used, and what is said of them in one line; an image of several splits counts once."""
    images = len(frozenset[str]().union(*(report.labelled for report in reports)))
    masks = len(frozenset[str]().union(*(report.masked for report in reports)))
    said = f"{counted(images, 'image')} with labels, {masks or 'none'} with ground truth"
    problems = len({problem for report in reports for problem in report.problems})
    if not problems:
        return True, f"ready: {said}; nothing wrong"
    return False, f"not ready: {counted(problems, 'problem')}, see above; the rest is {said}"


def _open(dataset: Dataset, list_name: str) -> tuple[Split, Truth | None, list[Problem]]:
    """The good part of a split and what is wrong with the rest before any image is decoded."""
    if not isinstance(dataset, FolderDataset):
        return dataset.split(list_name), dataset.truth(list_name), []
    split, problems = dataset.examine(list_name)
    try:
        truth, missing = dataset.examine_truth(list_name)
    except InputError:  # a tree without masks can be trained on
        return split, None, problems
    if not truth.ids:
        return split, None, problems
    return split, truth, problems + [problem for problem in missing if problem not in problems]


def _file(source: Split | Truth, id: str) -> str:
    path = getattr(source, "path", None)
    return str(path(id)) if path else id
