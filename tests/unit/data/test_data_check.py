"""`inspect` names every wrong file, not only the first, and sums up the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsss_platform.config import SampleConfig
from wsss_platform.data.check import check, inspect
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_mask
from wsss_platform.data.voc import VocDataset
from wsss_platform.errors import InputError

SMALL = SampleConfig(train=7, val=3, size=64)  # as in conftest


def test_clean_tree(opened: Callable[..., VocDataset]) -> None:
    seen: list[tuple[int, int]] = []
    report = inspect(opened(), "train", lambda done, total: seen.append((done, total)))
    assert report.problems == ()
    assert seen == [(done, 7) for done in range(1, 8)]
    summary, made = report.summary, SampleDataset(SMALL).split("train")
    labels = np.array([made.labels(id) for id in made.ids], int)
    assert (summary.images, summary.masks, summary.disagree, summary.ignored) == (7, 7, 0, 0.0)
    assert summary.per_class == tuple(labels.sum(axis=0))
    assert np.array_equal(summary.together, labels.T @ labels)
    assert max(summary.largest) == 64
    assert np.prod(summary.smallest) <= np.prod(summary.largest)


def test_every_problem_is_named(tree: Path, opened: Callable[..., VocDataset]) -> None:
    image = tree / "JPEGImages" / "train_00000.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    (tree / "JPEGImages" / "train_00001.jpg").unlink()
    write_mask(tree / "SegmentationClass" / "train_00002.png", np.zeros((3, 5), np.uint8))
    (tree / "SegmentationClass" / "train_00003.png").unlink()
    write_mask(tree / "SegmentationClass" / "train_00004.png", np.full((64, 64), 99, np.uint8))
    (tree / "Annotations" / "train_00005.xml").unlink()
    with (tree / "ImageSets" / "Segmentation" / "train.txt").open("a") as stream:
        stream.write("train_00006\n../up\n")
    problems = check(opened(), "train")
    texts = sorted(str(problem) for problem in problems)
    expected = [
        ("train_00000.jpg: ", "cannot be decoded"),
        ("train.txt:2: ", "there is no"),
        ("train_00002.png: ", "mask of 5 x 3 pixels, but the image"),
        ("train_00003.png: ", "no such mask"),
        ("train_00004.png: ", "mask values [99] are out of range"),
        ("train.txt:6: ", "train_00005.xml: no such file"),
        ("train.txt:8: ", "already in line 7"),
        ("train.txt:9: ", "not a plain name"),
    ]
    assert len(texts) == len(expected), texts
    for file, message in expected:
        assert any(file in text and message in text for text in texts), (file, message, texts)
    assert inspect(opened(), "train").summary.images == 2


def test_mask_with_classes_that_the_labels_do_not_name_is_counted(
    tree: Path, opened: Callable[..., VocDataset]
) -> None:
    mask = opened().truth("train").mask("train_00001").copy()
    mask[mask > 0] = 255
    write_mask(tree / "SegmentationClass" / "train_00001.png", mask)
    report = inspect(opened(), "train")
    assert (report.problems, report.summary.disagree) == ((), 1)
    assert report.summary.ignored > 0


def test_tree_without_masks_and_unknown_list(tree: Path, opened: Callable[..., VocDataset]) -> None:
    shutil.rmtree(tree / "SegmentationClass")
    report = inspect(opened(), "train")
    assert (report.problems, report.summary.masks) == ((), 0)
    with pytest.raises(InputError, match="did you mean 'train'"):
        check(opened(), "trai")


def test_sample_has_no_problems() -> None:
    report = inspect(SampleDataset(SMALL), "val")
    assert report.problems == ()
    assert (report.summary.images, report.summary.labels_from) == (3, "generator")
