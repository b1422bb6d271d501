"""A run that was allowed to lack images can be read by the verbs that make nothing anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broken_images import BROKEN, IDS, tree
from wsss_platform.cli import run_command
from wsss_platform.run.records import read_record
from wsss_platform.store.artefacts import Store

SPACE = '[axes."masks.crf_bilateral_weight"]\nkind = "float"\nlow = 1.0\nhigh = 9.0\nreason = "for this test"\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("WSSS_WANDB", "disabled")


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert run_command([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_search_compare_and_show_read_what_lacks_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path / "VOC2012")
    given = ["--data", "voc12", "--root", str(tmp_path / "VOC2012"), "--train-split", "train", "--score-split", "all"]
    small = ["train.epochs=1", "train.batch=3", "train.crop=32", "maps.scales=[1.0]", "maps.flip=false"]
    small += ["data.labels=masks", "backbone.weights=none"]
    sets = [word for setting in small for word in ("--set", setting)]
    asked = ["train", "cam", "--name", "first", "--until", "score", "--local", *given, *sets]
    assert run_command(asked) == 2, "two images are broken, none may be"
    made = document(capsys, *asked, "--max-failures", "3")
    assert made["failures"] == len(BROKEN)
    other = document(capsys, "score", "first", "--set", "masks.background=0.4", "--max-failures", "3", "--local")

    compared = document(capsys, "score", "first", "--against", other["run"])
    assert compared["best"]["difference"]["value"] == 0, "the same maps"
    (tmp_path / "space.toml").write_text(SPACE)
    searched = ["tune", "first", "--space", str(tmp_path / "space.toml"), "--images", "12", "--confirm", "22"]
    found = document(capsys, *searched, "--trials", "2", "--set", "masks.crf=irn", "--dry-run")
    assert len(IDS) == 12 + 22
    assert found["confirmed_on"] == 22 - len(BROKEN), "what has no map is not evaluated"

    truth = read_record(Store(tmp_path / "storage"), "first").protocol.truth
    assert found["ground_truth"] == truth
    shown = document(capsys, "show", "first", "--count", "1")
    evaluations = {"split": "all", "ground_truth": truth, "scores": 2, "rungs": 0, "settings": 0}
    assert shown["evaluations"] == {**evaluations, "total": 2}
    boards = document(capsys, "leaderboard")["groups"]
    assert {board["evaluations"]["total"] for board in boards} == {shown["evaluations"]["total"]}
    assert run_command(["leaderboard"]) == 0
    assert "all: evaluated on ground truth 2 times" in capsys.readouterr().out
