"""Data sets from Python: the sample, folders, checks."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsss_platform.api as wsss
from data_folders import write_images
from wsss_platform.api._datasets import data_check, data_lists
from wsss_platform.api._tune import plan_study
from wsss_platform.config.options import build
from wsss_platform.errors import InputError
from wsss_platform.tune.options import StudyOptions


def test_data_sets_from_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="JPEGImages"):
        wsss.voc12(tmp_path)
    (tmp_path / "annotations").mkdir()
    with pytest.raises(InputError, match="COCO needs annotations/instances_train2014.json"):
        wsss.coco2014(tmp_path)
    with pytest.raises(InputError, match=r"no data set\. It holds annotations/; a VOC tree needs"):
        wsss.open_data(tmp_path)


def test_a_written_sample_opens_as_voc(tmp_path: Path) -> None:
    written = wsss.write_sample(wsss.sample(train=4, val=3, size=48), tmp_path / "tree")
    data = wsss.open_data(written.root, score="val")
    assert data.splits == written.lists
    assert data.splits["val"] == 3
    assert "scores 'val'" in repr(data)
    with pytest.raises(InputError, match="did you mean 'val'"):
        wsss.open_data(tmp_path / "tree", score="vall")
    with pytest.raises(InputError, match="only the built-in sample"):
        wsss.write_sample(data, tmp_path / "other")


def test_files_of_a_data_set_are_checked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wsss.write_sample(wsss.sample(train=4, val=3, size=48), tmp_path / "tree")
    data = wsss.open_data(tmp_path / "tree")
    assert data_lists(data).lists == data.splits
    assert data_lists(data).classes == data.classes
    assert data_check(data, progress=False).problems == ()
    lost = next((tmp_path / "tree" / "JPEGImages").iterdir())
    lost.unlink()
    problems = data_check(data, progress=False).problems
    assert problems
    assert all(lost.stem in problem.message for problem in problems)
    checked = data_check(data, ["val"], progress=False)
    assert [one.list_name for one in checked.lists] == ["val"]
    with pytest.raises(InputError, match="did you mean 'val'"):
        data_check(data, ["vall"], progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_study_needs_ground_truth_of_the_split_that_chooses_and_of_the_reported_one(tmp_path: Path) -> None:
    bare = wsss.open_data(write_images(tmp_path / "bare", masks=False))
    with pytest.raises(InputError, match="split 'train' has no ground truth, so it cannot be scored"):
        plan_study("cam", bare, {"backbone.weights": "none"})
    half = write_images(tmp_path / "half", splits=True)
    for id in (half / "val.txt").read_text().split():
        (half / "masks" / f"{id}.png").unlink()
    options = build(StudyOptions, {"selection": "train"}, "option")
    with pytest.raises(InputError, match="split 'val' has no ground truth, so it cannot be scored"):
        plan_study("cam", wsss.open_data(half, score="val"), {"backbone.weights": "none"}, options=options)
    plan_study("cam", wsss.open_data(half, score="train"), {"backbone.weights": "none"}, options=options)
