"""COCO's annotations as a tree: masks against pycocotools, what is refused, and an interrupted conversion."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from pycocotools.coco import COCO

import the_command
import wsss_platform.api as wsss
from wsss_platform.config import DataConfig
from wsss_platform.data import open_data
from wsss_platform.data.convert import coco_tree
from wsss_platform.data.convert.coco import Annotations, annotation_files, paint, read_annotations
from wsss_platform.data.convert.coco_outline import run_lengths
from wsss_platform.data.convert.coco_tree import SOURCE, convert
from wsss_platform.errors import InputError, RunError
from wsss_platform.exchange.rle import compressed, runs
from wsss_platform.plan.experiment import Experiment

HEIGHT, WIDTH = 40, 60
CATEGORIES = [{"id": number, "name": name} for number, name in ((90, "toothbrush"), (1, "person"), (13, "stop sign"))]
"""Out of order and with gaps, as COCO's ids have; mask values are 1 person, 2 stop sign, 3 toothbrush."""
SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]


def annotation(image: int, category: int, outline: Any, area: float, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": 1000 * image + category + int(area),
        "image_id": image,
        "category_id": category,
        "segmentation": outline,
        "area": area,
        "iscrowd": crowd,
    }


def lengths(mask: np.ndarray) -> list[int]:
    return [int(length) for length in runs(mask)]


def document() -> dict[str, Any]:
    """Three images: overlapping instances, a crowd under them, and nothing."""
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[5:35, 5:55] = True
    strip = np.zeros((HEIGHT, WIDTH), bool)
    strip[0:3, 0:60] = True
    return {
        "images": [
            {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "height": HEIGHT, "width": WIDTH}
            for number in (7, 3, 5)
        ],
        "categories": [*CATEGORIES],
        "annotations": [
            annotation(7, 13, [[12.5, 12.5, 20.2, 12.5, 20.2, 18.0]], 21.0),
            annotation(7, 90, SQUARE, 400.0),
            annotation(7, 1, {"size": [HEIGHT, WIDTH], "counts": lengths(crowd)}, 1500.0, crowd=1),
            annotation(3, 1, {"size": [HEIGHT, WIDTH], "counts": compressed(runs(strip))}, 180.0),
            annotation(3, 1, [*SQUARE, [40.0, 31.0, 55.0, 31.0, 48.0, 38.0]], 450.0),
        ],
    }


def layout(folder: Path, found: dict[str, Any] | None = None, name: str = "train") -> Path:
    """COCO's folder with one annotation file and its images."""
    found = found or document()
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}2014").mkdir()
    (folder / "annotations" / f"instances_{name}2014.json").write_text(json.dumps(found))
    random = np.random.default_rng(0)
    for image in found["images"]:
        pixels = random.integers(0, 255, (image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}2014" / Path(str(image["file_name"])).name)
    return folder


def read(root: Path) -> Annotations:
    return read_annotations(root / "annotations" / "instances_train2014.json", root / "train2014")


def expected(root: Path, number: int) -> np.ndarray:
    """By pycocotools' own reader, region by region, with the rule written out again."""
    reader = COCO(root / "annotations" / "instances_train2014.json")
    values = {1: 1, 13: 2, 90: 3}
    found = reader.loadAnns(reader.getAnnIds(imgIds=number))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowds = [entry for entry in found if entry["iscrowd"]]
    for entry in crowds + sorted((one for one in found if not one["iscrowd"]), key=lambda one: -one["area"]):
        mask[reader.annToMask(entry) == 1] = values[entry["category_id"]]
    return mask


def test_the_command_makes_a_tree_that_trains_and_scores(tmp_path: Path) -> None:
    root = layout(tmp_path / "coco")
    tree = tmp_path / "tree"
    said = the_command.document("data", "convert-coco", str(root), str(tree))
    assert (said["root"], said["lists"]) == (str(tree), {"train": 2})
    dataset = open_data(DataConfig(kind="voc12", root=str(tree)))
    assert dataset.classes == ("person", "stop sign", "toothbrush")
    assert dataset.name == "coco2014"
    split, truth = dataset.split("train"), dataset.truth("train")
    assert list(split.ids) == ["COCO_train2014_000000000003", "COCO_train2014_000000000007"], "the third shows nothing"
    for number, id in zip((3, 7), split.ids, strict=True):
        mask = truth.mask(id)
        np.testing.assert_array_equal(mask, expected(root, number))
        assert set(np.unique(mask).tolist()) - {0} == {1 + int(label) for label in np.flatnonzero(split.labels(id))}
        assert split.read(id).image.shape == (HEIGHT, WIDTH, 3)
    assert (tree / "JPEGImages" / "COCO_train2014_000000000003.jpg").is_symlink()
    assert not list(tmp_path.glob(".tree*.partial")), "nothing of it is left beside the tree"
    the_command.process("data", "check", "--data", "voc12", "--root", str(tree))


def test_the_function_is_silent_and_makes_the_same_tree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = layout(tmp_path / "coco")
    written = wsss.convert_coco(root, tmp_path / "tree", split="train", copy=True, progress=False)
    assert capfd.readouterr() == ("", "")
    assert wsss.coco2014(written.root).splits["train"] == written.lists["train"] == 2
    assert not (tmp_path / "tree" / "JPEGImages" / "COCO_train2014_000000000003.jpg").is_symlink()
    with pytest.raises(InputError, match="there is something"):
        wsss.convert_coco(root, tmp_path / "tree", progress=False)


def test_smaller_ones_are_in_front_and_crowds_behind(tmp_path: Path) -> None:
    _, seven = read(layout(tmp_path)).images
    mask = paint(seven)
    assert mask[14, 18] == 2, "the sign in front of the brush"
    assert mask[25, 25] == 3, "the brush in front of the crowd, which is larger"
    assert mask[8, 50] == 1
    assert mask[1, 1] == 0


def test_the_protocol_says_which_data_set(tmp_path: Path) -> None:
    from wsss_methods.cam import METHOD
    from wsss_platform.plan.protocol import protocol

    convert({"train": read(layout(tmp_path / "coco"))}, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)
    config = METHOD.config()
    data = DataConfig(kind="voc12", root=str(tmp_path / "tree"))
    assert protocol(Experiment(METHOD, config, data, 0)).data == "coco2014"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop("categories"), "has no list 'categories'"),
        (lambda it: it.update(annotations=None), "has no list 'annotations'"),
        (lambda it: it.update(annotations=[]), "no image has an annotation"),
        (lambda it: it["annotations"][0].update(image_id=7.9), "'image_id' is 7.9, expected a whole number"),
        (lambda it: it["annotations"][0].update(image_id=True), "'image_id' is True"),
        (
            lambda it: it["annotations"][0].update(area=float("nan")),
            r"annotation 7034 of COCO_train2014_000000000007\.jpg: area nan",
        ),
        (lambda it: it["annotations"][0].update(area=float("inf")), "area inf"),
        (lambda it: it["annotations"][0].update(iscrowd="0"), "iscrowd '0'"),
        (lambda it: it["images"][0].update(id=float("inf")), "'id' is inf, expected a whole number"),
        (lambda it: it["images"][0].pop("file_name"), "has no 'file_name'"),
        (lambda it: it["images"].append(3), "3: it has no 'id'"),
        (lambda it: it["images"][0].update(file_name="../up.jpg"), r"file_name '\.\./up\.jpg'.*no path"),
        (lambda it: it["images"][0].update(file_name="a.png"), r"a\.png.*expected a \.jpg"),
        (lambda it: it["images"][0].update(file_name="COCO_train2014_000000000003.jpg"), "comes twice"),
        (lambda it: it["images"][0].update(height=0), "a size of 60 x 0 pixels"),
        (lambda it: it["images"][0].update(height=10**9), "a size of"),
        (lambda it: it["annotations"][0].update(category_id=12), "annotation 7034: its category_id 12 is not in the"),
        (lambda it: it["annotations"][0].update(image_id=12), "its image_id 12 is not"),
        (lambda it: it["annotations"][0].pop("area"), "has no 'area'"),
        (lambda it: it["categories"].append({"id": 5, "name": "person"}), "each id and name once"),
        (lambda it: it.update(images="x"), "not an annotation file of COCO's instances"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: Any, message: str) -> None:
    found = document()
    change(found)
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=message) as raised:
        read_annotations(path, tmp_path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ([], "expected polygons of at least three points"),
        ([[1.0, 2.0, 3.0, 4.0]], "expected polygons"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, "6"]], "expected polygons"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 1e12]], "expected polygons"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]], "expected polygons"),
        ({"size": [40, 61], "counts": [40 * 61]}, r"region of size \[40, 61\], expected \[40, 60\]"),
        ({"size": [40, 60], "counts": [40 * 60 + 1]}, "do not add up to its 40 x 60"),
        ({"size": [40, 60], "counts": [-1, 2401]}, "do not add up"),
        ({"size": [40, 60], "counts": {"a": 1}}, "neither a list nor a text"),
        ({"size": [40, 60], "counts": "oooooo~~~~"}, "run lengths that cannot be read"),
        ({"size": [40, 60], "counts": "52"}, "do not add up"),
        ({"size": [40, 60], "counts": "5P"}, "ends within a number"),
        ({"size": [40, 60], "counts": "PPPPPPPPPPPPP0"}, "run lengths that cannot be read"),
        ({"size": [40, 60], "counts": "5\u0000"}, "run lengths that cannot be read"),
        ({"size": [40, 60], "counts": "é"}, "run lengths that cannot be read"),
        ("text", "expected polygons"),
    ],
)
def test_a_wrong_outline_is_named_before_anything_is_painted(tmp_path: Path, outline: Any, message: str) -> None:
    found = document()
    found["annotations"][1]["segmentation"] = outline
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=message) as raised:
        read_annotations(path, tmp_path)
    assert str(raised.value).startswith(f"{path}: annotation 7490 of COCO_train2014_000000000007.jpg: ")


def test_an_interrupted_conversion_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(layout(tmp_path / "coco"))
    convert({"train": found}, tmp_path / "whole", "coco2014", lambda *_: None, processes=1, copy=True)
    monkeypatch.setattr(coco_tree, "_AT_ONCE", 1)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert({"train": found}, tmp_path / "tree", "coco2014", stop, processes=1)
    assert not (tmp_path / "tree").exists()
    (partial,) = tmp_path.glob(".tree.*.partial")
    first = partial / "SegmentationClass" / "COCO_train2014_000000000003.png"
    before = first.stat().st_mtime_ns
    second = first.with_name("COCO_train2014_000000000007.png")
    second.unlink(missing_ok=True)  # two images are too few to be interrupted between
    second.with_name(f".{second.name}.0.tmp").write_bytes(b"cut off by kill -9")
    convert({"train": found}, tmp_path / "tree", "coco2014", lambda *_: None, processes=1, copy=True)
    there = tmp_path / "tree" / "SegmentationClass" / first.name
    assert there.stat().st_mtime_ns == before, "what was painted is kept"
    for path in sorted((tmp_path / "whole").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "tree" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert {path.name for path in (tmp_path / "tree").rglob("*") if path.is_file()} == {
        path.name for path in (tmp_path / "whole").rglob("*") if path.is_file()
    }
    with pytest.raises(InputError, match="there is something"):
        convert({"train": found}, tmp_path / "tree", "coco2014", lambda *_: None)


def test_masks_of_another_annotation_file_are_not_taken(tmp_path: Path) -> None:
    root = layout(tmp_path / "coco")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert({"train": read(root)}, tmp_path / "tree", "coco2014", stop, processes=1)
    (old,) = tmp_path.glob(".tree.*.partial")
    changed = document()
    changed["annotations"][3]["category_id"] = 90
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(changed))
    convert({"train": read(root)}, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)
    id = "COCO_train2014_000000000003"
    mask = np.asarray(Image.open(tmp_path / "tree" / "SegmentationClass" / f"{id}.png"))
    np.testing.assert_array_equal(mask, expected(root, 3))
    assert (np.asarray(Image.open(old / "SegmentationClass" / f"{id}.png")) != mask).any()
    assert json.loads((tmp_path / "tree" / SOURCE).read_text())["train"]["bytes"] > 0


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    found = {"train": read(layout(tmp_path / "coco"))}
    with (
        FileLock(tmp_path / ".tree.lock"),
        pytest.raises(InputError, match="another process"),
    ):
        convert(found, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)


def test_a_killed_painter_is_said_with_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"train": read(layout(tmp_path / "coco"))}
    monkeypatch.setattr(coco_tree, "_paint_all", _dies)
    with pytest.raises(RunError, match=r"COCO_train2014_000000000003 to .*7 was killed .*goes on"):
        convert(found, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)
    monkeypatch.undo()
    convert(found, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)
    assert (tmp_path / "tree" / SOURCE).is_file()


def _dies(images: object, folder: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    root = layout(tmp_path / "coco")
    wrong = root / "train2014" / "COCO_train2014_000000000007.jpg"
    Image.new("RGB", (30, 20)).save(wrong)
    with pytest.raises(InputError, match=f"{wrong}: 30 x 20 pixels, but its annotations are of 60 x 40"):
        convert({"train": read(root)}, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)


def test_one_split_alone(tmp_path: Path) -> None:
    root = layout(tmp_path / "coco")
    (root / "annotations" / "instances_val2014.json").write_text("{}")
    with pytest.raises(InputError, match=r"val2014: no such folder.*--split train leaves val out"):
        annotation_files(root, "2014")
    asked = ["data", "convert-coco", str(root), str(tmp_path / "tree"), "--split", "train", "--json"]
    the_command.process(*asked)
    with pytest.raises(InputError, match="unknown split"):
        annotation_files(root, "2014", "trian")


@pytest.mark.parametrize("seed", range(20))
def test_compressed_run_lengths_come_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((int(random.integers(1, 60)), int(random.integers(1, 60)))) < random.random()
    assert run_lengths(compressed(runs(mask))) == lengths(mask)


def test_a_missing_image_is_named_and_no_tree_appears(tmp_path: Path) -> None:
    root = layout(tmp_path / "coco")
    lost = root / "train2014" / "COCO_train2014_000000000007.jpg"
    lost.unlink()
    with pytest.raises(InputError, match=f"{lost}: no such image"):
        convert({"train": read(root)}, tmp_path / "tree", "coco2014", lambda *_: None, processes=1)
    assert not (tmp_path / "tree").exists()


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"instances_train2014\.json"):
        annotation_files(tmp_path, "2014")
    layout(tmp_path)
    with pytest.raises(InputError, match="unknown year"):
        annotation_files(tmp_path, "2015")
    with pytest.raises(InputError, match=r"neither instances_train2017\.json nor instances_val2017\.json"):
        annotation_files(tmp_path, "2017")
