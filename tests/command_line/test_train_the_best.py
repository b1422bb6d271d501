"""The command that a study prints at its end trains the best config as the study did."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from in_process import document

import wsss_platform.api as wsss
from wsss_platform.api._data import data_named
from wsss_platform.api._tune import plan_study
from wsss_platform.config import to_toml
from wsss_platform.config.options import build
from wsss_platform.report.tables.study import study_result
from wsss_platform.search.documents import StudyDocument
from wsss_platform.tune.options import StudyOptions
from wsss_platform.tune.request import StudyRequest


def write_tree(folder: Path) -> Path:
    """A VOC tree whose masks and saliency maps lie where they do not by default."""
    wsss.write_sample(wsss.sample(train=8, val=4, size=48), folder)
    (folder / "SegmentationClass").rename(folder / "my masks")
    (folder / "Saliency").rename(folder / "2024")
    return folder


def the_command(asked: StudyRequest, best: Path) -> list[str]:
    """Its words, as a shell takes them."""
    said = dict.fromkeys(("report", "inner", "best", "figure"))
    empty = dict.fromkeys(("objectives", "front", "comparison", "trials"), ())
    words = {"study": "s", "folder": "f", "objective": "masks", "selection": asked.selection, "evaluations": 1}
    found = StudyDocument.model_validate({**said, **empty, **words, "best_config": str(best)})
    lines = [str(line) for line in study_result(found, "cam", asked.asked, asked.store.root)]
    (line,) = [line for line in lines if line.startswith("train the best: ")]
    return shlex.split(line.removeprefix("train the best: "))


@pytest.mark.parametrize("selection", ["half", "held-out:1", "train"])
@pytest.mark.parametrize("score", ["train", "val"])
def test_it_is_read_back_as_the_study(tmp_path: Path, selection: str, score: str) -> None:
    tree = write_tree(tmp_path / "my tree")
    lying = {"data.masks": "my masks", "data.saliency": "2024", "data.labels": "masks"}
    options = build(StudyOptions, {"selection": selection, "workers": 2, "storage": tmp_path / "my store"}, "option")
    data = data_named(str(tree), score=score, settings=lying)
    asked = plan_study("cam", data, {"train.epochs": 3}, seed=5, options=options).request
    best = tmp_path / "best.toml"
    best.write_text(to_toml(asked.experiment.config))
    program, *words = the_command(asked, best)
    assert program == "wsss-platform"
    plan = document(*words, "--dry-run")
    assert (plan["seed"], plan["resources"]["workers"]) == (5, 2)
    assert plan["resources"]["storage"] == str(tmp_path / "my store")
    assert plan["config"] == asked.experiment.config.model_dump(mode="json")
    expected = asked.experiment.data.model_copy(update={"score_list": score})
    assert plan["data"] == expected.model_dump(mode="json")
    assert expected.saliency == str(tree / "2024")


def test_the_sample_is_read_back_too(tmp_path: Path) -> None:
    data = wsss.sample(train=8, val=4, size=48, score="val")
    asked = plan_study("cam", data, options=build(StudyOptions, {"storage": tmp_path}, "option")).request
    best = tmp_path / "best.toml"
    best.write_text(to_toml(asked.experiment.config))
    plan = document(*the_command(asked, best)[1:], "--dry-run")
    assert plan["data"] == asked.asked.data.model_dump(mode="json")
    assert plan["data"]["score_list"] == "val"
    assert (plan["seed"], plan["config"]) == (0, asked.experiment.config.model_dump(mode="json"))
