"""`--data FOLDER` from a check to a score: COCO, and a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import command, document

from data_folders import write_coco, write_images
from wsss_platform.run.records import read_record
from wsss_platform.store.artefacts import Store

SHORT = [
    word
    for setting in ("train.epochs=1", "train.crop=64", "train.batch=2", "maps.scales=[1.0]", "backbone.weights=none")
    for word in ("--set", setting)
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "storage"))


def scored(data: str, *more: str) -> Any:
    return document("train", "cam", "--name", "first", "--until", "score", "--local", "--data", data, *SHORT, *more)


def test_coco_trains_and_scores_where_it_lies(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    listed = command("data", "splits", "--data", str(folder))
    assert f"data: {folder} is a COCO folder" in listed.stderr
    made = scored(str(folder), "--score-list", "val")
    assert made["protocol"]["data"] == "coco2014"
    assert made["protocol"]["labels_from"] == "annotations"
    record = read_record(Store(tmp_path / "storage"), "first")
    assert record.data["kind"] == "coco"
    again = document("score", "first", "--local")  # opens the data that the record names
    assert again["score"] == made["score"]
    command("masks", "first", "--out", str(tmp_path / "masks"), "--format", "voc", "--local")
    assert (tmp_path / "masks" / "JPEGImages").resolve() == folder / "val2014"

    command("data", "convert-coco", str(folder), str(tmp_path / "tree"))
    found = document("train", "cam", "--until", "maps", "--data", str(tmp_path / "tree"), *SHORT, "--dry-run")
    assert found["stages"][0]["cached"], "the training on COCO is that on its tree"


def test_a_folder_of_images_trains_and_scores(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", splits=True)
    made = scored(f"images:{folder}", "--score-list", "val")
    assert made["protocol"]["data"] == "images"
    assert made["protocol"]["labels_from"] == "labels.csv"
    assert made["score"]["images"] == 3
    document("score", "first", "--local")


def test_images_without_ground_truth_train_and_give_masks_but_no_score(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", masks=False)
    common = ["train", "cam", "--data", str(folder), "--name", "first", "--local", *SHORT]
    for asked in ([*common, "--until", "score"], ["tune", "cam", "--data", str(folder), "--trials", "1", "--dry-run"]):
        refused = command(*asked, code=2)
        assert "split 'train' has no ground truth, so it cannot be scored" in " ".join(refused.stderr.split())
    assert not (tmp_path / "storage" / "stages").exists(), "nothing was started"
    made = document(*common, "--until", "masks")
    assert made["failures"] == 0
    command("masks", "first", "--out", str(tmp_path / "masks"), "--format", "voc", "--local")
    assert len(list((tmp_path / "masks" / "SegmentationClass").iterdir())) == 6
    assert "no ground truth" in command("score", "first", "--local", code=2).stderr


def test_a_check_ends_with_a_verdict(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set")
    ready = "ready: 6 images with labels, 6 with ground truth; nothing wrong"
    assert command("data", "check", "--data", str(folder)).stdout.splitlines()[-1] == ready
    found = document("data", "check", "--data", str(folder))
    assert (found["ready"], found["verdict"]) == (True, ready)
    (folder / "images" / "train_00002.png").write_bytes(b"")
    done = command("data", "check", "--data", str(folder), code=2)
    assert "train_00002.png: empty file" in done.stdout
    last = "not ready: 1 problem, see above; the rest is 5 images with labels, 5 with ground truth"
    assert done.stdout.splitlines()[-1] == last
    assert done.stderr.splitlines()[-2:] == [
        "error: the data is not ready, see above",
        "Mend or remove these files, then run the same command again.",
    ]
    assert not document("data", "check", "--data", str(folder), by=lambda *asked: command(*asked, code=2))["ready"]


def test_a_check_names_a_file_once_with_every_split_that_has_it(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", splits=True)
    gone = folder / "images" / "train_00002.png"
    gone.unlink()
    done = command("data", "check", "--data", str(folder), code=2)
    lines = [line for line in done.stdout.splitlines() if "image train_00002 has labels" in line]
    assert len(lines) == 1
    assert lines[0].startswith("train, val: ")


def test_a_recipe_names_a_folder_and_the_command_line_another_one(tmp_path: Path) -> None:
    first, second = write_images(tmp_path / "first"), write_images(tmp_path / "second", splits=True)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'verb = "train"\nmethod = "cam"\n[data]\nroot = "{first}"\n')
    asked = ["train", "--recipe", str(recipe), "--until", "masks", "--dry-run"]
    assert document(*asked)["data"]["root"] == str(first)
    assert document(*asked, "--data", str(second))["data"]["root"] == str(second)
    assert document(*asked, "--data", "sample")["data"]["kind"] == "sample"
    recipe.write_text(f'verb = "train"\nmethod = "cam"\n[data]\nkind = "coco"\nroot = "{tmp_path / "none"}"\n')
    assert document(*asked)["missing"][0]["what"] == f"data: a COCO folder at {tmp_path / 'none'}"


def test_root_still_works_and_help_does_not_show_it(tmp_path: Path) -> None:
    command("data", "write-sample", str(tmp_path / "tree"), "--set", "data.sample.train=4")
    asked = ["data", "splits", "--data", "voc12", "--root", str(tmp_path / "tree")]
    assert document(*asked)["lists"] == document("data", "splits", "--data", str(tmp_path / "tree"))["lists"]
    shown = command("train", "--help").stdout
    assert "--root" not in shown
    assert "--data" in shown
