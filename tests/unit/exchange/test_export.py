"""Masks for other codebases: both forms read back, resumed, kept apart, and failures by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import wsss_methods
from wsss_platform.config import DataConfig, MasksConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.data.categories import category_ids
from wsss_platform.data.lists import read_list
from wsss_platform.data.palette import mask_file, write_mask
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_tree
from wsss_platform.errors import InputError
from wsss_platform.exchange.coco import image_ids
from wsss_platform.exchange.folder import export_masks
from wsss_platform.exchange.scores import MaskRow, write_scores
from wsss_platform.plan.experiment import Experiment
from wsss_platform.scores.score import Score
from wsss_platform.scores.sparse import SparseParts
from wsss_platform.store.artefacts import Store


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Experiment, Store, dict[str, np.ndarray]]:
    """An experiment on a tree whose masks stage holds the ground truth, with some pixels undecided."""
    sample = SampleDataset(SampleConfig(train=5, val=2, size=64))
    write_tree(sample, tmp_path / "tree")
    method = wsss_methods.get("cam")
    data = DataConfig(kind="voc12", root=str(tmp_path / "tree"))
    mine = Experiment(method, method.config(masks=MasksConfig(rule="two_threshold")), data)
    store, stage = Store(tmp_path / "store"), mine.stage("masks")
    made = {}
    with store.building("masks", stage.key) as folder:
        assert folder is not None
        (folder / "masks").mkdir()
        for id in mine.dataset.split("train").ids:
            mask = mine.dataset.truth("train").mask(id).copy()
            mask[:3, :5] = 255
            write_mask(mask_file(folder, id), mask)
            made[id] = mask
        store.commit("masks", stage.key, {})
    return mine, store, made


Made = tuple[Experiment, Store, dict[str, np.ndarray]]


def test_voc_is_a_tree_that_this_platform_reads_too(masks: Made, tmp_path: Path) -> None:
    mine, store, made = masks
    out = tmp_path / "out"
    found = export_masks(mine, store, out, "voc")
    assert (found.images, found.scored) == (5, False)
    assert found.undecided == sum(int((mask == 255).sum()) for mask in made.values())
    data = open_data(DataConfig(kind="voc12", root=str(out)))
    split, truth = data.split("train"), data.truth("train")
    assert list(split.ids) == list(made)
    assert split.labels_from == "image_level_labels.json"
    for id, mask in made.items():
        np.testing.assert_array_equal(truth.mask(id), mask)
        np.testing.assert_array_equal(split.read(id).image, mine.dataset.split("train").read(id).image)
        np.testing.assert_array_equal(split.labels(id), mine.dataset.split("train").labels(id))
        with Image.open(out / "SegmentationClass" / f"{id}.png") as stored:
            assert stored.mode == "P"
            assert stored.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
    entries, problems = read_list(out / "ImageSets" / "Segmentation" / "train_pairs.txt", len(split.classes))
    assert not problems
    assert [entry.id for entry in entries] == list(made)
    first = (out / "ImageSets" / "Segmentation" / "train_pairs.txt").read_text().splitlines()[0].split()
    assert all((out / path.lstrip("/")).is_file() for path in first)
    readme = (out / "README.md").read_text()
    assert f"{found.undecided:,} pixels of these masks are undecided" in readme
    assert "ignore label 255" in readme
    assert str(tmp_path) not in readme


def test_coco_regions_are_the_masks(
    masks: Made, tmp_path: Path, decoded: Callable[[str, int, int], np.ndarray]
) -> None:
    mine, store, made = masks
    export_masks(mine, store, tmp_path / "out", "coco")
    said = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())
    assert [entry["name"] for entry in said["categories"]] == list(mine.dataset.classes)
    assert len({entry["id"] for entry in said["annotations"]}) == len(said["annotations"])
    for image in said["images"]:
        mask = made[image["file_name"].removesuffix(".jpg")]
        assert mask.shape == (image["height"], image["width"])
        again = np.zeros_like(mask)
        for entry in said["annotations"]:
            if entry["image_id"] != image["id"]:
                continue
            region = decoded(entry["segmentation"]["counts"], *entry["segmentation"]["size"])
            assert entry["area"] == region.sum()
            left, top, width, height = entry["bbox"]
            assert region[top : top + height, left : left + width].sum() == region.sum()
            assert region[top].any()
            assert region[top + height - 1].any()
            again[region] = entry["category_id"]
        np.testing.assert_array_equal(again, np.where(mask == 255, 0, mask))
        with Image.open(tmp_path / "out" / "pixelmaps" / image["file_name"].replace("jpg", "png")) as stored:
            np.testing.assert_array_equal(np.array(stored), mask)
    assert not list((tmp_path / "out" / "annotations").glob(".*"))


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_a_second_attempt_writes_only_what_is_not_there(masks: Made, tmp_path: Path, layout: str) -> None:
    mine, store, made = masks
    out, images = tmp_path / "out", {"voc": "SegmentationClass", "coco": "pixelmaps"}[layout]
    export_masks(mine, store, out, layout)  # type: ignore[arg-type]
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    lost = out / images / f"{list(made)[2]}.png"
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in (out / images).iterdir()}
    export_masks(mine, store, out, layout)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in (out / images).iterdir() if path != lost} == times
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole


def test_folders_are_never_mixed(masks: Made, tmp_path: Path) -> None:
    mine, store, _ = masks
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty, and no earlier export"):
        export_masks(mine, store, tmp_path / "full", "voc")
    export_masks(mine, store, tmp_path / "out", "voc")
    with pytest.raises(InputError, match="holds the export of other masks"):
        export_masks(mine, store, tmp_path / "out", "coco")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be used"):
        export_masks(mine, store, tmp_path / "file", "voc")


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_what_cannot_be_written_is_named_and_no_list_says_otherwise(masks: Made, tmp_path: Path, layout: str) -> None:
    mine, store, made = masks
    folder = store.open("masks", mine.stage("masks").key).folder
    broken, odd, blocked = list(made)[:3]
    good = mask_file(folder, broken).read_bytes(), mask_file(folder, odd).read_bytes()
    mask_file(folder, broken).write_bytes(b"\x89PNG cut")
    write_mask(mask_file(folder, odd), np.full((4, 4), 200, np.uint8))
    out, images = tmp_path / "out", {"voc": "SegmentationClass", "coco": "pixelmaps"}[layout]
    with pytest.raises(InputError, match="2 of 5 masks could not be exported") as error:
        export_masks(mine, store, out, layout)  # type: ignore[arg-type]
    assert broken in str(error.value)
    assert "value 200 is no class" in str(error.value)
    assert {id for id, _ in json.loads((out / "failures.json").read_text())} == {broken, odd}
    assert (out / images / f"{blocked}.png").is_file()
    assert not list(out.rglob("*.txt"))
    assert not list(out.rglob("annotations/*"))
    mask_file(folder, broken).write_bytes(good[0])
    mask_file(folder, odd).write_bytes(good[1])
    assert export_masks(mine, store, out, layout).images == 5  # type: ignore[arg-type]
    assert not (out / "failures.json").exists()


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_images_without_a_mask_are_in_no_split(masks: Made, tmp_path: Path, layout: str) -> None:
    mine, store, made = masks
    gone = list(made)[1]
    mask_file(store.open("masks", mine.stage("masks").key).folder, gone).unlink()
    found = export_masks(mine, store, tmp_path / "out", layout, frozenset({gone}))  # type: ignore[arg-type]
    assert (found.images, found.lacking) == (4, (gone,))
    lists = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in (".txt", ".json")]
    assert not any(gone in text for text in lists)
    assert f"are in no split: {gone}" in (tmp_path / "out" / "README.md").read_text()


def test_scores_by_image(tmp_path: Path) -> None:
    rows = [MaskRow.of(id, np.array([[0, 2], [255, 2]], np.uint8)) for id in ("a", "b", "c")]
    assert rows[0] == MaskRow("a", 2, 2, 1, (2,))
    parts = np.zeros((2, 3, 3), np.int64)  # hits, ground truth, predicted of background, cat, dog
    parts[0] = [[4, 0, 2], [4, 0, 2], [4, 0, 2]]  # image "b", all right
    parts[1] = [[2, 0, 0], [2, 2, 0], [2, 0, 2]]  # image "a"
    counts, none = SparseParts.of(parts), np.zeros(0)
    score = Score(tmp_path, ("cat", "dog"), ("b", "a"), none, counts, none, none)  # type: ignore[arg-type]
    write_scores(tmp_path / "s.parquet", rows, ("cat", "dog"), score)
    table = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert table[0] == {
        **{"id": "a", "height": 2, "width": 2, "undecided": 1, "classes": ["dog"]},
        **{"mean_iou": pytest.approx(1 / 3), "iou background": 1.0, "iou cat": 0.0, "iou dog": 0.0},
    }
    assert (table[1]["mean_iou"], table[1]["iou cat"]) == (1.0, None)
    assert (table[2]["mean_iou"], table[2]["iou dog"]) == (None, None)  # "c" has no ground truth
    write_scores(tmp_path / "s.parquet", rows, ("cat", "dog"), None)
    assert "mean_iou" not in pq.read_table(tmp_path / "s.parquet").column_names


def test_coco_s_own_numbers() -> None:
    assert category_ids(("cat", "dog")) == (1, 2)
    eighty = ("person", *(f"class {place}" for place in range(78)), "toothbrush")
    found = category_ids(eighty)
    assert (len(found), found[0], found[11], found[-1]) == (80, 1, 13, 90)  # 12 is left out, stop sign is 13
    assert image_ids(["COCO_train2014_000000000009", "000000581921"]) == (9, 581921)
    assert image_ids(["2007_000032", "000000000009"]) == (1, 2)
    assert image_ids(["a_000000000009", "b_000000000009"]) == (1, 2)
