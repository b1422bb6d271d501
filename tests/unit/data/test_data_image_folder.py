"""A folder of images with a label file: its forms, and every error by file and row."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_folders import SMALL, write_images
from wsss_platform.config import DataConfig
from wsss_platform.data.check import inspect, verdict
from wsss_platform.data.convert.annotations import write_label_json
from wsss_platform.data.image_folder import ImageDataset
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_mask
from wsss_platform.errors import InputError

CAT_DOG = {"a": ["cat"], "b": ["dog"], "c": ["cat", "dog"]}


def opened(folder: Path, **fields: Any) -> ImageDataset:
    return ImageDataset(DataConfig(kind="images", root=str(folder), **fields))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small images a, b, c in three formats, without labels."""
    for name in ("a.jpg", "b.PNG", "c.jpeg"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    return tmp_path


def labels(dataset: ImageDataset, name: str = "train") -> dict[str, list[str]]:
    split = dataset.split(name)
    return {id: [split.classes[place] for place in np.flatnonzero(split.labels(id))] for id in split.ids}


def said(folder: Path, name: str = "train") -> list[str]:
    """Every problem, with the folder's own name cut off."""
    return [str(problem).replace(f"{folder}/", "") for problem in inspect(opened(folder), name).problems]


def test_it_is_the_sample_it_was_written_from(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", splits=True)
    dataset, made = opened(folder), SampleDataset(SMALL)
    assert (dataset.name, dataset.classes, dataset.lists()) == ("images", made.classes, {"train": 6, "val": 3})
    for name in ("train", "val"):
        split, truth, expected = dataset.split(name), dataset.truth(name), made.split(name)
        assert split.ids == truth.ids == expected.ids
        assert split.labels_from == "labels.csv"
        for id in split.ids:
            sample = split.read(id)
            np.testing.assert_array_equal(sample.image, expected.read(id).image)
            np.testing.assert_array_equal(sample.labels, expected.labels(id))
            np.testing.assert_array_equal(truth.mask(id), made.truth(name).mask(id))
    reports = [inspect(dataset, name) for name in dataset.lists()]
    assert verdict(reports) == (True, "ready: 9 images with labels, 9 with ground truth; nothing wrong")
    sent = pickle.loads(pickle.dumps(dataset)).split("val")
    assert sent.read(sent.ids[0]).image.shape == made.split("val").read(sent.ids[0]).image.shape


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "id,class\na,cat\nb,dog\nc,cat\nc,dog\n"),
        ("labels.csv", "a,cat\n\nb,dog\nc,dog\nc,cat\n"),
        ("labels.csv", "\ufeffid,class\r\na.jpg,cat\r\nb.PNG,dog\r\nc.jpeg, cat\r\nc,dog\r\n"),
        ("labels.csv", "id,cat,dog\na,1,0\nb,0,1\nc,1,1\n"),
        ("labels.json", json.dumps(CAT_DOG)),
        ("labels.json", json.dumps({"classes": ["cat", "dog"], "labels": CAT_DOG})),
        (
            "labels.json",
            json.dumps({"classes": ["cat", "dog"], "labels": {f"{id}.jpg": names for id, names in CAT_DOG.items()}}),
        ),
    ],
)
def test_forms_of_labels(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    assert opened(folder).classes == ("cat", "dog")
    assert labels(opened(folder)) == CAT_DOG
    assert said(folder) == []
    assert opened(folder).split("train").read("b").image.shape == (6, 8, 3)


def test_an_array_with_its_two_lists(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array([[0, 1.0], [1, 0], [1, 1]]))
    with pytest.raises(InputError, match=r"labels.npy: needs .*ids.txt"):
        opened(folder)
    (folder / "ids.txt").write_text("a\nb\nc\n")
    (folder / "classes.txt").write_text("dog\ncat\n")
    assert labels(opened(folder)) == {"a": ["cat"], "b": ["dog"], "c": ["dog", "cat"]}
    (folder / "ids.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"shape \(3, 2\), but ids.txt names 2 images .* expected \(2, 2\)"):
        opened(folder)


def test_a_pickle_is_refused_by_name_with_what_converts_it(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array({"a": np.ones(20)}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"labels.npy: a pickled file.*data convert-labels .*labels.npy .*labels.json"):
        opened(folder)


def test_classes_txt_says_the_order(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps(CAT_DOG))
    (folder / "classes.txt").write_text("dog\ncat\nbird\n")
    dataset = opened(folder)
    assert dataset.classes == ("dog", "cat", "bird")
    assert dataset.split("train").labels("a").tolist() == [False, True, False]
    (folder / "classes.txt").write_text("dog\ncats\n")
    assert said(folder)[0] == "labels.json:1: image a: unknown class 'cat'; did you mean 'cats'?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,class\na,cat\nb,dog\nd,cat\nc,cat\n", "labels.csv:4: image d has labels, but there is no d.jpg"),
        ("id,class\na,cat\nb,dog\nc,cat\n../up,cat\n", "labels.csv:5: image id '../up' is not a plain name"),
        ("id,class\na,cat\nb,dog\nc,cat\n/etc/x,cat\n", "labels.csv:5: image id '/etc/x' is not a plain name"),
        ("id,class\na,cat\nb,dog\nc,cat\na,cat\n", "labels.csv:5: image a: class 'cat' again"),
        ("id,class\na,cat\nb,\nc,cat\n", "labels.csv:3: image b: its class is empty"),
        ("id,class\na,cat\nb,dog,cat\nc,cat\n", "labels.csv:3: expected id,class, got 'b,dog,cat'"),
        ("id,class\na,cat\nc,cat\n", "labels.csv: image b.PNG is not in the labels"),
        ("id,cat,dog\na,1,0\nb,0,0\nc,1,1\n", "labels.csv:3: image b.PNG has no class in the labels"),
        ("id,cat,dog\na,1,0\nb,0,2\nc,1,1\n", "labels.csv:3: image b: expected 2 values of 0 or 1, got '0,2'"),
        ("id,cat,dog\na,1,0\nb,0\nc,1,1\n", "labels.csv:3: image b: expected 2 values of 0 or 1, got '0'"),
        ("id,cat,dog\na,1,0\nb,0,1\nc,1,1\na,0,1\n", "labels.csv:5: image a comes twice; it is already in "),
    ],
)
def test_a_wrong_row_is_named_and_nothing_else(folder: Path, text: str, expected: str) -> None:
    (folder / "labels.csv").write_text(text)
    found = said(folder)
    assert [one for one in found if one.startswith(expected)], found
    assert all(one.startswith(expected) or "is not in the labels" in one for one in found)
    with pytest.raises(InputError):
        opened(folder).split("train")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("labels.csv", "", "labels.csv: it is empty"),
        ("labels.csv", "id,class\n", "labels.csv: it names no image"),
        ("labels.csv", "id\na\n", "labels.csv:1: it names no class"),
        ("labels.csv", "a;cat\nb;dog\n", "labels.csv:1: expected id,class, got 'a;cat'"),
        ("labels.csv", "id,class\na,\nb,\n", "labels.csv:2: image a: its class is empty"),
        ("labels.csv", "id,cat,dog\na,x,0\n", "labels.csv:2: image a: expected 2 values of 0 or 1, got 'x,0'"),
        ("labels.json", '{"a": "cat"}', "labels.json:1: image a: expected a list of class names, got 'cat'"),
        ("labels.csv", "id,cat,\na,1,0\n", "labels.csv:1: a class has an empty name"),
        ("labels.csv", "id,cat,cat\na,1,0\n", "labels.csv:1: class 'cat' comes twice"),
        ("labels.json", "[", "labels.json: not a label JSON"),
        ("labels.json", "[1]", "labels.json: expected {image id: [class names]}"),
        ("labels.json", '{"a": ["cat"], "a": ["dog"]}', "'a' comes twice"),
        ("labels.npy", "no array", "labels.npy: "),
    ],
)
def test_a_label_file_that_is_none(folder: Path, name: str, text: str, expected: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError) as raised:
        opened(folder)
    assert expected in str(raised.value)


def test_wrong_entries_of_a_json_are_named_with_their_line(folder: Path) -> None:
    (folder / "labels.json").write_text('{"a": ["cat"],\n"b": "dog",\n"c": [],\n"a/b": ["cat"],\n"a.jpg": ["cat"]}')
    found = said(folder)
    assert "labels.json:2: image b: expected a list of class names, got 'dog'" in found
    assert "labels.json:3: image c.jpeg has no class in the labels" in found
    assert any(one.startswith("labels.json:4: image id 'a/b' is not a plain name") for one in found)
    assert any(one.startswith("labels.json:5: image a comes twice") for one in found)
    assert len(found) == 4


def test_an_id_that_comes_twice_in_a_label_json_is_named(folder: Path) -> None:
    rows = {"a": ["cat"], "b": ["dog"], "c": ["cat"], "a.jpg": ["dog"]}
    (folder / "labels.json").write_text(json.dumps({"classes": ["cat", "dog"], "labels": rows}, indent=0))
    found = said(folder)
    assert any("image a comes twice; it is already in" in one for one in found), found
    assert len(found) == 1


def test_files_that_are_no_image_or_the_same_one(folder: Path) -> None:
    (folder / "labels.csv").write_text("a,cat\nb,dog\nc,cat\n")
    (folder / "a.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "b.PNG").write_text("text")
    shutil.copy(folder / "c.jpeg", folder / "c.png")
    shutil.copy(folder / "c.jpeg", folder / "with space.jpg")
    found = said(folder)
    assert any(one.startswith("c.png: the same id as c.jpeg") for one in found)
    assert any(one.startswith("with space.jpg: image id 'with space' is not a plain name") for one in found)
    assert any(one.startswith("a.jpg: cannot be decoded") for one in found)
    assert "b.PNG: not a JPEG or PNG image" in found
    assert len(found) == 4


def test_splits_from_text_files(folder: Path) -> None:
    (folder / "labels.csv").write_text("a,cat\nb,dog\nc,cat\n")
    (folder / "train.txt").write_text("a\nc.jpeg\n")
    (folder / "val.txt").write_text("b\nd\n../up\nb\n")
    assert opened(folder).lists() == {"train": 2, "val": 4}
    assert opened(folder).split("train").ids == ("a", "c")
    found = said(folder, "val")
    assert found[0].startswith("val.txt:3: image id '../up' is not a plain name")
    assert found[1].startswith("val.txt:4: image b is already in line 1")
    assert found[2].startswith("val.txt:2: image d is listed, but there is no d.jpg")
    assert len(found) == 3
    with pytest.raises(InputError, match="did you mean 'val'"):
        opened(folder).split("vall")


def test_ground_truth_of_all_of_some_and_of_none(folder: Path) -> None:
    (folder / "labels.csv").write_text("a,cat\nb,dog\nc,cat\n")
    assert opened(folder).truth("train").fingerprint() == "none"
    with pytest.raises(InputError, match=r"split 'train' has no ground truth; it belongs into masks/a.png"):
        opened(folder).truth("train").mask("a")
    assert verdict([inspect(opened(folder), "train")])[1] == (
        "ready: 3 images with labels, none with ground truth; nothing wrong"
    )
    (folder / "masks").mkdir()
    for id in ("a", "b"):
        write_mask(folder / "masks" / f"{id}.png", np.ones((6, 8), np.uint8))
    assert said(folder) == ["masks/c.png: no such mask, but others of split 'train' have one"]
    write_mask(folder / "masks" / "c.png", np.full((6, 8), 3, np.uint8))
    assert said(folder) == ["masks/c.png: mask values [3] are out of range: 0..2 and 255 are legal"]
    write_mask(folder / "masks" / "c.png", np.ones((5, 8), np.uint8))
    assert "mask of 8 x 5 pixels, but the image" in said(folder)[0]
    shutil.move(folder / "masks", folder / "other")
    assert opened(folder, masks="other").truth("train").ids == ("a", "b", "c")
    with pytest.raises(InputError, match="data.masks: .*did you mean 'other'"):
        opened(folder, masks="othr").truth("train")


def test_identity_is_by_content(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "labels.csv").write_text("a,cat\nb,dog\nc,cat\n")
    split = opened(folder).split("train").fingerprint()
    copied = Path(shutil.copytree(folder, tmp_path_factory.mktemp("copies") / "set"))
    assert opened(copied).split("train").fingerprint() == split
    (copied / "labels.csv").write_text("a,cat\nb,dog\nc,dog\n")
    assert opened(copied).split("train").fingerprint() != split


def test_which_label_file(folder: Path) -> None:
    with pytest.raises(InputError, match="has no label file: labels.csv, labels.json or labels.npy"):
        opened(folder)
    (folder / "labels.csv").write_text("a,cat\nb,dog\nc,cat\n")
    write_label_json(folder / "labels.json", ["cat", "dog"], CAT_DOG, name="pets")
    with pytest.raises(InputError, match="labels.csv and labels.json hold labels; .*--set data.labels="):
        opened(folder)
    assert opened(folder, labels="labels.json").name == "pets"
    (folder / "labels.npy").touch()
    with pytest.raises(InputError, match="labels.csv, labels.json and labels.npy hold labels; keep one"):
        opened(folder)
    with pytest.raises(InputError, match="ends in .csv, .json or .npy"):
        opened(folder, labels="a.jpg")
    with pytest.raises(InputError, match="'masks': a folder of images has labels in a file"):
        opened(folder, labels="masks")
