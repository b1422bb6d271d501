"""The VOC reader: round trip, line formats, label sources, and each error with its file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.data.convert.annotations import VOC_CLASSES
from wsss_platform.data.sample.dataset import CLASSES, SampleDataset
from wsss_platform.data.sample.tree import write_mask, write_tree
from wsss_platform.data.voc import VocDataset
from wsss_platform.errors import InputError

SMALL = SampleConfig(train=7, val=3, size=64)  # as in conftest

Open = Callable[..., VocDataset]


def train_list(tree: Path) -> Path:
    return tree / "ImageSets" / "Segmentation" / "train.txt"


def relabel(tree: Path, change: Callable[[dict[str, list[str]]], object]) -> None:
    path = tree / "image_level_labels.json"
    data = json.loads(path.read_text())
    change(data["labels"])
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("labels", ["auto", "xml", "masks"])
def test_written_tree_reads_back(opened: Open, labels: str) -> None:
    dataset, made = opened(labels=labels), SampleDataset(SMALL)
    assert dataset.classes == made.classes
    assert dict(dataset.lists()) == {"train": 7, "val": 3}
    for name in ("train", "val"):
        split, truth, split_made, truth_made = (
            dataset.split(name),
            dataset.truth(name),
            made.split(name),
            made.truth(name),
        )
        assert split.ids == truth.ids == split_made.ids
        assert split.labels_from == ("masks (ground truth)" if labels == "masks" else "xml")
        for id in split.ids:
            assert np.array_equal(split.labels(id), split_made.labels(id))
            assert np.array_equal(truth.mask(id), truth_made.mask(id))
            image, image_made = split.read(id).image, split_made.read(id).image
            assert split.size(id) == image.shape[:2] == image_made.shape[:2]
            assert np.abs(image.astype(int) - image_made).mean() < 8  # JPEG


def test_open_data_and_pickle(tree: Path) -> None:
    dataset = open_data(DataConfig(kind="voc12", root=str(tree)))
    for thing in (dataset.split("train"), dataset.truth("train")):
        again = pickle.loads(pickle.dumps(thing))
        assert again.ids == thing.ids
        assert again.fingerprint() == thing.fingerprint()


def test_label_json_is_next_when_there_is_no_xml(tree: Path, opened: Open) -> None:
    (tree / "Annotations").rename(tree / "Elsewhere")
    split = opened().split("train")
    assert split.labels_from == "image_level_labels.json"
    assert np.array_equal(split.labels("train_00000"), SampleDataset(SMALL).split("train").labels("train_00000"))


def test_masks_are_last_and_said_so(tree: Path, opened: Open) -> None:
    (tree / "Annotations").rename(tree / "Elsewhere")
    (tree / "image_level_labels.json").unlink()
    split = opened().split("train")
    assert (split.classes, split.labels_from) == (VOC_CLASSES, "masks (ground truth)")
    assert split.labels("train_00000").sum() >= 1


def test_labels_from_a_named_file(tree: Path, tmp_path: Path, opened: Open) -> None:
    named = tmp_path / "mine.json"
    named.write_text(json.dumps({"classes": list(CLASSES), "labels": {f"train_{i:05d}": ["car"] for i in range(7)}}))
    split = opened(labels=str(named)).split("train")
    assert split.labels_from == "mine.json"
    assert split.labels("train_00000").tolist() == [name == "car" for name in CLASSES]
    with pytest.raises(InputError, match=r"mine\.json: no labels of image val_00000"):
        opened(labels=str(named)).split("val")
    with pytest.raises(InputError, match=r"data\.labels: 'xlm' is neither"):
        opened(labels="xlm")


def test_line_formats(tree: Path, opened: Open) -> None:
    train_list(tree).write_text(
        "/JPEGImages/train_00000.jpg /SegmentationClassAug/train_00000.png\r\n"
        "JPEGImages/train_00001.jpg SegmentationClass/train_00001.png\n\n"
        "train_00002\n"
        "train_00003 0 5\n"
        "/JPEGImages/train_00004.jpg\n"
    )
    assert opened().split("train").ids == tuple(f"train_{index:05d}" for index in range(5))


def test_labels_of_a_list_with_indices(tree: Path, opened: Open) -> None:
    train_list(tree).write_text("train_00000 0 5\ntrain_00001 3\n")
    split = opened(labels="list").split("train")
    assert split.labels_from == "list"
    assert [np.flatnonzero(split.labels(id)).tolist() for id in split.ids] == [[0, 5], [3]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../etc/passwd", "is not a plain name"),
        ("/JPEGImages/../train_00001.jpg /SegmentationClass/x.png", "is not a plain name"),
        ("sub/train_00001", "is not a plain name"),
        ("train_00001..", "is not a plain name"),
        ("/JPEGImages/train_00001.jpg /SegmentationClassAug/train_00002.png", "expected '/JPEGImages/train_00001.jpg"),
        ("train_00001 6", r"class index 6 of train_00001 is out of range 0\.\.5"),
        ("train_00001 -1", "class index -1"),
        ("train_00001 boat", "expected class indices"),
        ("train_00000", "already in line 1"),
        ("train_00009", "image train_00009 is listed, but there is no .*train_00009.jpg"),
    ],
)
def test_wrong_line_names_list_and_line(tree: Path, opened: Open, line: str, message: str) -> None:
    train_list(tree).write_text(f"train_00000\n{line}\n")
    with pytest.raises(InputError, match=rf"train\.txt:2: .*{message}"):
        opened().split("train")


def test_all_problems_are_counted(tree: Path, opened: Open) -> None:
    train_list(tree).write_text("train_00000\nno_1\nno_2\n../x\n")
    with pytest.raises(InputError, match="and 2 more"):
        opened().split("train")
    split, problems = opened().examine("train")
    assert split.ids == ("train_00000",)
    assert len(problems) == 3


def test_empty_list_and_list_that_is_no_text(tree: Path, opened: Open) -> None:
    train_list(tree).write_text("\n")
    with pytest.raises(InputError, match=r"train\.txt: the split is empty"):
        opened().split("train")
    train_list(tree).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"train\.txt: not a list"):
        opened().split("train")


def test_missing_list_suggests_one(opened: Open) -> None:
    with pytest.raises(InputError, match="Segmentation: unknown (list|split) 'trian'; did you mean 'train'"):
        opened().split("trian")
    with pytest.raises(InputError, match="did you mean 'val'"):
        opened().truth("vall")


def test_image_without_labels(tree: Path, opened: Open) -> None:
    (tree / "Annotations").rename(tree / "Elsewhere")
    relabel(tree, lambda labels: labels.update(train_00002=[]))
    with pytest.raises(InputError, match=r"train\.txt:3: image train_00002 has no class in its labels"):
        opened().split("train")
    relabel(tree, lambda labels: labels.pop("train_00002"))
    with pytest.raises(InputError, match=r"train\.txt:3: .*image_level_labels\.json: no labels of image train_00002"):
        opened().split("train")


def test_unknown_class_in_label_json(tree: Path, opened: Open) -> None:
    relabel(tree, lambda labels: labels.update(train_00002=["bot"]))
    with pytest.raises(InputError, match=r"image_level_labels\.json:\d+: labels of train_00002: .*did you mean 'boat'"):
        opened()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a label JSON"),
        ("[]", "expected"),
        ('{"classes": ["a"], "labels": {"x": ["a"], "x": []}}', "'x' comes twice"),
        ('{"classes": ["a", "a"], "labels": {}}', "repeat a name"),
        ('{"classes": [], "labels": {}}', "classes are empty"),
        ('{"classes": ["a"],\n"labels": {"../x": ["a"]}}', ":2: labels: image id '../x' is not a plain name"),
        ('{"classes": ["a"],\n\n"labels": {"x": "a"}}', ":3: labels of x: expected a list"),
    ],
)
def test_malformed_label_json(tree: Path, opened: Open, text: str, message: str) -> None:
    (tree / "image_level_labels.json").write_text(text)
    with pytest.raises(InputError, match=rf"image_level_labels\.json.*{message}"):
        opened()


def test_voc_classes_in_another_order_would_not_fit_the_masks(tree: Path, opened: Open) -> None:
    text = json.dumps({"classes": sorted(VOC_CLASSES, reverse=True), "labels": {}})
    (tree / "image_level_labels.json").write_text(text)
    with pytest.raises(InputError, match=r"image_level_labels\.json: classes are VOC's in another order"):
        opened()


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object><name>boot</name></object></annotation>", "unknown class 'boot'; did you mean 'boat'"),
        ("<annotation><object>", "not an XML annotation"),
        ('<!DOCTYPE a [<!ENTITY e "boat">]><annotation><object><name>&e;</name></object></annotation>', "declarations"),
        ("<annotation></annotation>", "has no class"),
    ],
)
def test_wrong_annotation(tree: Path, opened: Open, xml: str, message: str) -> None:
    (tree / "Annotations" / "train_00001.xml").write_text(xml)
    with pytest.raises(InputError, match=rf"train\.txt:2: .*train_00001.*{message}"):
        opened().split("train")


def test_part_names_of_an_annotation_are_no_classes(tree: Path, opened: Open) -> None:
    (tree / "Annotations" / "train_00001.xml").write_text(
        "<annotation><object><name>bird</name><part><name>head</name></part></object>"
        "<object><name>bird</name><difficult>1</difficult></object></annotation>"
    )
    assert opened().split("train").labels("train_00001").tolist() == [name == "bird" for name in CLASSES]


def test_missing_annotation_names_it(tree: Path, opened: Open) -> None:
    (tree / "Annotations" / "train_00001.xml").unlink()
    with pytest.raises(InputError, match=r"train\.txt:2: .*train_00001\.xml: no such file"):
        opened().split("train")


def test_missing_mask_and_mask_folder(tree: Path, opened: Open) -> None:
    (tree / "SegmentationClass" / "train_00001.png").unlink()
    with pytest.raises(InputError, match=r"train_00001\.png: no such mask for list 'train'"):
        opened().truth("train")
    assert len(opened().truth("val").ids) == 3
    with pytest.raises(InputError, match="unknown mask folder 'SegmentationClas'; did you mean 'SegmentationClass'"):
        opened(masks="SegmentationClas").truth("val")


def test_mask_value_out_of_range_names_the_file(tree: Path, opened: Open) -> None:
    write_mask(tree / "SegmentationClass" / "train_00001.png", np.array([[0, 6, 7, 255]], np.uint8))
    with pytest.raises(InputError, match=r"train_00001\.png: mask values \[7\] are out of range"):
        opened().truth("train").mask("train_00001")


def test_augmented_masks_are_taken_when_they_cover_the_list(tree: Path, opened: Open) -> None:
    augmented = tree / "SegmentationClassAug"
    augmented.mkdir()
    for path in (tree / "SegmentationClass").glob("val_*.png"):
        (augmented / path.name).write_bytes(path.read_bytes())
    assert opened().truth("val").folder == augmented
    assert opened().truth("train").folder == tree / "SegmentationClass"
    with pytest.raises(InputError, match=r"SegmentationClassAug/train_00000\.png: no such mask"):
        opened(masks="SegmentationClassAug").truth("train")


def test_fingerprints_follow_content(tree: Path, opened: Open) -> None:
    split, truth = opened().split("train").fingerprint(), opened().truth("train").fingerprint()
    assert opened().split("train").fingerprint() == split != opened().split("val").fingerprint()
    assert opened().truth("train").fingerprint() == truth != opened().truth("val").fingerprint()
    mask = opened().truth("train").mask("train_00003").copy()
    mask[0, 0] = 255 - mask[0, 0]
    write_mask(tree / "SegmentationClass" / "train_00003.png", mask)
    assert opened().truth("train").fingerprint() != truth
    assert opened().split("train").fingerprint() == split
    with (tree / "JPEGImages" / "train_00003.jpg").open("ab") as stream:
        stream.write(b"\0")
    longer = opened().split("train").fingerprint()
    assert longer != split
    (tree / "Annotations" / "train_00003.xml").write_text(
        "<annotation>" + "".join(f"<object><name>{name}</name></object>" for name in CLASSES) + "</annotation>"
    )
    assert opened().split("train").fingerprint() != longer


def test_roots_that_are_nearly_right(tree: Path, tmp_path: Path) -> None:
    def error(root: Path | str) -> str:
        with pytest.raises(InputError) as caught:
            VocDataset(DataConfig(kind="voc12", root=str(root)))
        return str(caught.value)

    assert f"did you mean {tree}?" in error(tree.parent)
    assert f"did you mean {tree}?" in error(tree / "JPEGImages")
    assert "no such folder" in error(tmp_path / "nowhere")
    assert "expected the folder" in error("")
    assert "it has no JPEGImages" in error(Path(__file__).parent)
    (tree / "ImageSets").rename(tree / "Lists")
    assert "it has no ImageSets/Segmentation" in error(tree)


def test_a_tree_is_not_written_over_another(tree: Path) -> None:
    with pytest.raises(InputError, match="not empty"):
        write_tree(SampleDataset(SMALL), tree)
    assert not [path for path in tree.parent.iterdir() if path.name.endswith(".tmp")]
