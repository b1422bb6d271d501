"""Data sets on disk: what is in one, whether every file is whole, and conversions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_platform.api._data import Data, data_of
from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.data.documents import ConvertedLabels, DataCheck, DataLists, DataTree


def data_lists(data: Data) -> DataLists:
    """The splits of a data set and how many images each has.

    Args:
        data: the data set.

    Raises:
        InputError: its tree, a split or the labels are missing or wrong.
    """
    from wsss_platform.data import open_data
    from wsss_platform.data.documents import DataLists

    dataset = open_data(data.config)
    return DataLists(lists=dict(dataset.lists()), classes=tuple(dataset.classes))


def data_check(data: Data, splits: Sequence[str] | None = None, progress: bool = True) -> DataCheck:
    """Decode every image and mask and name each one that is wrong.

    Args:
        data: the data set.
        splits: names of those to check; None: all.
        progress: a bar for each split on standard error.

    Raises:
        InputError: an unknown split, or a data set that cannot be opened.
    """
    from wsss_platform.data import open_data
    from wsss_platform.data.check import inspect, verdict
    from wsss_platform.data.documents import DataCheck, ListProblem
    from wsss_platform.report.progress import counting

    dataset, reports = open_data(data.config), []
    with counting(progress) as bar:
        for name in splits or list(dataset.lists()):
            reports.append(inspect(dataset, name, partial(bar, f"checking {name}")))
    problems = tuple(
        ListProblem(list=report.summary.list_name, file=problem.file, message=problem.message)
        for report in reports
        for problem in report.problems
    )
    ready, told = verdict(reports)
    summaries = tuple(report.summary for report in reports)
    return DataCheck(lists=summaries, problems=problems, ready=ready, verdict=told)


def convert_labels(source: str | Path, target: str | Path) -> ConvertedLabels:
    """Turn a pickled cls_labels.npy into label JSON, with a reader that runs no code from the file.

    Args:
        source: a cls_labels.npy as IRN, PSA or SEAM ship it.
        target: label JSON to write, for the setting `data.labels`.

    Returns:
        Number of images that have labels, and the file.

    Raises:
        InputError: the source asks for anything but numpy arrays, or is malformed. Nothing is written then.
    """
    from wsss_platform.data.documents import ConvertedLabels
    from wsss_platform.data.labels import convert_labels as convert

    return ConvertedLabels(images=convert(Path(source), Path(target)), file=str(target))


def write_sample(data: Data | None, folder: str | Path) -> DataTree:
    """Write a built-in sample as a VOC2012 tree, to view or to open with `wsss.voc12`.

    Args:
        data: `wsss.sample(...)`; None: the default one.
        folder: to create.

    Returns:
        The folder, and the number of images of each split.

    Raises:
        InputError: another data set, or a folder that is not empty or cannot be made.
    """
    from wsss_platform.data.documents import DataTree
    from wsss_platform.data.sample.dataset import SampleDataset
    from wsss_platform.data.sample.tree import write_tree

    config = data_of(data)
    if config.kind != "sample":
        raise InputError(f"data set {config.kind!r}: only the built-in sample is written; expected 'sample'")
    dataset = SampleDataset(config.sample)
    write_tree(dataset, Path(folder))
    return DataTree(root=str(folder), lists=dict(dataset.lists()))


@dataclass(frozen=True)
class ConvertedCoco:
    """A tree that was made of COCO's annotations."""

    tree: DataTree
    without: dict[str, int]
    """Split -> its images that have no annotation and were left out."""


def converted_coco(
    source: str | Path,
    folder: str | Path,
    year: str = "2014",
    split: str | None = None,
    copy: bool = False,
    progress: bool = True,
) -> ConvertedCoco:
    """What `convert_coco` does, and what was left out."""
    from wsss_platform.data.convert.coco import annotation_files, read_annotations
    from wsss_platform.data.convert.coco_tree import check_target, convert
    from wsss_platform.data.documents import DataTree
    from wsss_platform.report.progress import counting

    target = Path(folder)
    found = annotation_files(Path(source), year, split)
    check_target(target)
    with counting(progress) as bar:
        bar("reading annotations", 0, None)
        splits = {name: read_annotations(*files) for name, files in found.items()}
        convert(splits, target, f"coco{year}", partial(bar, "painting masks"), copy=copy)
    counts = {name: len(annotations.images) for name, annotations in splits.items()}
    without = {name: annotations.without for name, annotations in splits.items()}
    return ConvertedCoco(DataTree(root=str(folder), lists=counts), without)


def convert_coco(
    source: str | Path,
    folder: str | Path,
    year: str = "2014",
    split: str | None = None,
    copy: bool = False,
    progress: bool = True,
) -> DataTree:
    """Turn COCO's instances into class masks, labels and splits: a tree for `wsss.coco2014`.

    After an interruption the same call continues.

    Args:
        source: COCO's folder: annotations, and train2014 with the images.
        folder: to create.
        year: release, "2014" or "2017".
        split: "train" or "val" alone; None: both.
        copy: copy the images instead of linking to them.
        progress: bars on standard error.

    Returns:
        The folder, and the number of images of each split; images without annotations are left out.

    Raises:
        InputError: no annotations or images there, a malformed file, or a folder that is not new.
        RunError: a process that paints was killed.
    """
    return converted_coco(source, folder, year, split, copy, progress).tree
