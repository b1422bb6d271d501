"""Saliency maps: the simulated detector, the VOC folder with each of its errors, and the way into a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from wsss_platform.config import SampleConfig, TrainConfig
from wsss_platform.data.check import check
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.saliency import detect
from wsss_platform.data.views import TrainViews, collate, draw
from wsss_platform.data.voc import VocDataset
from wsss_platform.errors import InputError
from wsss_platform.train.batches import SaliencyReader

SMALL = SampleConfig(train=7, val=3, size=64)  # as in conftest
Open = Callable[..., VocDataset]


def overlap(difficulty: float) -> float:
    """Mean IoU of what is salient (above 50) with the objects, over images."""
    data = SampleDataset(SampleConfig(train=60, size=64, difficulty=difficulty))
    split, truth = data.split("train"), data.truth("train")
    found = []
    for id in split.ids:
        salient, things = split.saliency(id) > 50, truth.mask(id) > 0
        found.append((salient & things).sum() / (salient | things).sum())
    return float(np.mean(found))


def test_the_detector_errs_more_in_harder_sets() -> None:
    easy, middle, hard = (overlap(difficulty) for difficulty in (0.0, 0.5, 1.0))
    assert easy > 0.85
    assert 0.4 < middle < easy - 0.1
    assert 0.2 < hard < middle - 0.1


def test_without_difficulty_it_finds_every_thing_and_nothing_else() -> None:
    data = SampleDataset(SampleConfig(train=20, size=96, difficulty=0))
    split, truth = data.split("train"), data.truth("train")
    for id in split.ids:
        saliency, things = split.saliency(id), (truth.mask(id) > 0).astype(np.uint8)
        inside = np.asarray(cv2.erode(things, np.ones((7, 7), np.uint8)), bool)
        near = np.asarray(cv2.dilate(things, np.ones((7, 7), np.uint8)), bool)
        assert (saliency[inside] > 150).all()
        assert (saliency[~near] < 10).all()


def test_the_sample_gives_equal_bytes_each_time() -> None:
    data = SampleDataset(SMALL)
    split, again = data.split("train"), SampleDataset(SMALL).split("train")
    for id in split.ids:
        saliency = split.saliency(id)
        assert (saliency.dtype, saliency.shape) == (np.uint8, split.size(id))
        assert np.array_equal(saliency, again.saliency(id))
    scene = split.scene(split.ids[0])
    drawn = [detect(scene, 1.0, np.random.default_rng(seed)) for seed in range(8)]
    assert len({item.tobytes() for item in drawn}) == 8
    prints = {split.fingerprint(), split.saliency_fingerprint(), data.split("val").saliency_fingerprint()}
    assert len(prints) == 3
    assert split.saliency_fingerprint() == again.saliency_fingerprint()
    with pytest.raises(InputError, match="no image 'train_00099'"):
        split.saliency("train_00099")


def test_a_written_tree_gives_the_samples_saliency(opened: Open) -> None:
    split, made = opened(saliency="Saliency").split("train"), SampleDataset(SMALL).split("train")
    for id in split.ids:
        assert np.array_equal(split.saliency(id), made.saliency(id))


def test_the_folder_may_be_absolute(tree: Path, opened: Open, tmp_path: Path) -> None:
    moved = tmp_path / "detector"
    (tree / "Saliency").rename(moved)
    assert opened(saliency=str(moved)).split("val").saliency("val_00000").any()


def test_fingerprints_follow_the_saliency_files_alone(tree: Path, opened: Open) -> None:
    dataset = opened(saliency="Saliency")
    split = dataset.split("train")
    images_before, before = split.fingerprint(), split.saliency_fingerprint()
    assert images_before == opened().split("train").fingerprint()
    assert dataset.split("val").saliency_fingerprint() != before
    saliency = split.saliency("train_00003").copy()
    saliency[0, 0] ^= 255
    Image.fromarray(saliency).save(tree / "Saliency" / "train_00003.png")
    assert split.saliency_fingerprint() != before
    assert split.fingerprint() == images_before


def test_a_list_without_saliency_says_which_field_is_missing(opened: Open) -> None:
    split = opened().split("train")
    for call in (lambda: split.saliency("train_00000"), split.saliency_fingerprint):
        with pytest.raises(InputError, match=r"data\.saliency: .*no folder"):
            call()


def test_a_wrong_folder_names_the_near_one(opened: Open) -> None:
    with pytest.raises(InputError, match="did you mean 'Saliency'"):
        opened(saliency="Salience").split("train")


def test_bad_files_are_named(tree: Path, opened: Open) -> None:
    split = opened(saliency="Saliency").split("train")
    folder = tree / "Saliency"
    good = split.saliency("train_00004")
    (folder / "train_00000.png").unlink()
    Image.fromarray(good).convert("P").save(folder / "train_00001.png")
    Image.fromarray(good).convert("RGB").save(folder / "train_00002.png")
    (folder / "train_00003.png").write_bytes((folder / "train_00003.png").read_bytes()[:60])
    Image.fromarray(good[1:]).save(folder / "train_00004.png")
    said = {0: "no such file", 1: "8-bit grey PNG, got P", 2: "got RGB", 3: "cannot be decoded", 4: "but the image"}
    for index, message in said.items():
        with pytest.raises(InputError, match=message) as caught:
            split.saliency(f"train_{index:05d}")
        assert f"train_{index:05d}.png" in str(caught.value)
    with pytest.raises(InputError, match=r"train_00000\.png"):
        split.saliency_fingerprint()
    problems = {Path(problem.file).name for problem in check(opened(saliency="Saliency"), "train")}
    assert problems == {f"train_{index:05d}.png" for index in said}
    assert check(opened(), "train") == []  # not read where it is not asked for


def test_it_is_cropped_and_flipped_with_the_image() -> None:
    """A detector that gives the image's own brightness: in a view, both must still be the same."""
    made = SampleDataset(SMALL).split("train")

    class Mirror:
        name, classes, ids, labels_from = made.name, made.classes, made.ids, made.labels_from
        labels, fingerprint, saliency_fingerprint = made.labels, made.fingerprint, made.saliency_fingerprint

        def read(self, id: str):  # type: ignore[no-untyped-def]
            sample = made.read(id)
            grey = np.repeat(sample.image[:, :, :1], 3, axis=2)
            return type(sample)(id, grey, sample.labels)

        def saliency(self, id: str) -> np.ndarray:
            return self.read(id).image[:, :, 0].copy()

    split = Mirror()
    train = TrainConfig(crop=80, resize_range=(1.0, 1.0))
    views = TrainViews(split, train, {"saliency": SaliencyReader(split)}, seed=3)
    batch = collate([views[epoch, index] for epoch in range(3) for index in range(4)])
    saliency = batch.extras["saliency"]
    assert (saliency.shape, saliency.dtype) == ((12, 1, 80, 80), torch.float32)
    assert 0 <= float(saliency.min()) < 0.3 < 0.6 < float(saliency.max()) <= 1
    assert not saliency[~batch.valid.unsqueeze(1)].any()
    assert (~batch.valid).any()
    brightness = batch.images[:, :1] * 0.229 + 0.485
    torch.testing.assert_close(saliency[batch.valid.unsqueeze(1)], brightness[batch.valid.unsqueeze(1)])
    flips = [draw(train, 64, 48, np.random.default_rng((3, 0, index))).flip for index in range(12)]
    assert True in flips
    assert False in flips


def test_square_resize_leaves_the_proportions() -> None:
    """DRS: 384 x 384 whatever the image's shape, then a crop of 320."""
    train = TrainConfig(crop=40, resize="square", resize_range=(48, 48))
    for height, width in ((64, 48), (20, 90)):
        view = draw(train, height, width, np.random.default_rng(0))
        assert (view.height, view.width) == (48, 48)
        assert 0 <= view.top <= 8
        assert 0 <= view.left <= 8
    split = SampleDataset(SMALL).split("train")
    assert TrainViews(split, train)[0, 0].valid.all()
    sides = {
        draw(TrainConfig(resize="square", resize_range=(48, 64)), 9, 99, np.random.default_rng(n)) for n in range(9)
    }
    assert {view.height == view.width for view in sides} == {True}
    assert len({view.height for view in sides}) > 3
