"""`import-maps` and `masks --out` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss_platform.cli import run_command
from wsss_platform.config import SampleConfig
from wsss_platform.data.sample.dataset import SampleDataset

TINY = ["--set", "data.sample.train=4", "--set", "data.sample.val=2", "--set", "data.sample.size=48"]


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """IRN's form for the sample's list `train`."""
    monkeypatch.setenv("WSSS_WANDB", "disabled")
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "store"))
    folder = tmp_path / "theirs"
    folder.mkdir()
    sample = SampleDataset(SampleConfig(train=4, val=2, size=48))
    split, truth = sample.split("train"), sample.truth("train")
    for id in split.ids:
        keys, mask = np.flatnonzero(split.labels(id)), truth.mask(id)
        maps = np.stack([(mask == key + 1) * np.float32(0.9) for key in keys])
        np.save(folder / f"{id}.npy", {"keys": keys, "high_res": maps}, allow_pickle=True)  # type: ignore[arg-type]
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON document of a command that succeeds."""
    capsys.readouterr()
    assert run_command([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run_command([*arguments]) == 2
    return capsys.readouterr().err.replace("\n", " ")


def test_from_a_folder_to_masks_in_another(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = told(
        capsys, "import-maps", str(theirs), "--name", "his", *TINY, "--local", "--supervision", "image-text-pairs:CLIP"
    )
    assert document["stage"] == "maps:imported"
    assert document["protocol"]["backbone"] == "imported maps (irn)"
    assert document["protocol"]["supervision"] == [{"kind": "image-text-pairs", "model": "CLIP", "hash": ""}]
    assert document["protocol"]["selection"] == "unknown"
    made = told(capsys, "masks", "his", "--local", "--format", "voc", "--out", str(tmp_path / "out"))
    assert made["export"]["images"] == 4
    assert made["protocol"]["selection"] == "unknown"
    assert len(list((tmp_path / "out" / "SegmentationClass").glob("*.png"))) == 4
    other = told(capsys, "masks", "his", "--local", "--set", "masks.background=0.6")
    assert other["run"].startswith("his+")
    again = told(
        capsys,
        "import-maps",
        str(theirs),
        "--as",
        "irn",
        "--name",
        "his",
        *TINY,
        "--local",
        "--dry-run",
        "--supervision",
        "image-text-pairs:CLIP",
    )
    assert again["stages"][0]["cached"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--as", "irm"], "did you mean 'irn'"),
        (["--as", "npz"], "no npz maps of 4 of 4 images: train_00000 train_00001 train_00002 train_00003"),
        (["--list", "trian"], "did you mean 'train'"),
        (["--list", "val"], "no ID.npy, ID.npz or per-class PNG of a listed image, such as val_00000"),
        (["--until", "train"], "unknown stage"),
        (["--gate", "label"], "imported.gate"),
        (["--normalise", "maximum"], "imported.normalise"),
        (["--supervision", "labels + CLIP"], "kind of knowledge (--supervision) 'labels + CLIP'"),
        (["--set", "train.epochs=3"], "train.* does nothing to imported maps"),
    ],
)
def test_wrong_words_name_themselves(
    theirs: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert said in refused(capsys, "import-maps", str(theirs), "--name", "his", *TINY, "--local", *more)


def test_a_folder_that_there_is_not(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ([], ["--as", "irn"], ["--as", "png"]):
        heard = refused(capsys, "import-maps", str(theirs / "none"), "--name", "his", *TINY, *form)
        assert "none: no such folder" in heard


def test_a_run_of_imported_maps_cannot_be_changed_into_another(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "import-maps", str(theirs), "--name", "his", *TINY, "--local")
    assert "use `wsss-platform import-maps`" in refused(capsys, "masks", "his", "--set", "imported.gate=none")
    assert "use `wsss-platform import-maps`" in refused(capsys, "masks", "his", "--score-split", "val")
    assert "unknown method 'imported'" in refused(capsys, "train", "imported")
    assert "needs --out DIR" in refused(capsys, "masks", "his", "--format", "coco")
    assert "did you mean 'voc'" in refused(capsys, "masks", "his", "--format", "vok", "--out", "x")


@pytest.mark.parametrize("said", ["unknown (imported)", "labels + CLIP"])
def test_a_run_that_an_earlier_version_imported_goes_on(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    """Its record has the supervision as one text."""
    told(capsys, "import-maps", str(theirs), "--name", "his", *TINY, "--local")
    record = tmp_path / "store" / "runs" / "his" / "run.json"
    document = json.loads(record.read_text())
    document["config"]["imported"]["supervision"] = document["protocol"]["supervision"] = said
    record.write_text(json.dumps(document))
    made = told(capsys, "masks", "his", "--local")
    assert made["run"] == "his"
