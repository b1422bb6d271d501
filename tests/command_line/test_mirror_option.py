"""`--mirror` as a user meets it: two storage folders, one training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from the_command import TINY
from wsss_platform.cli import run_command
from wsss_platform.store import Store


def test_what_one_storage_made_another_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_WANDB", "disabled")
    monkeypatch.setenv("WSSS_MIRROR", str(tmp_path / "mirror"))
    asked = ["train", "cam", "--name", "first", "--until", "score", "--local", *TINY, "--json"]
    assert run_command([*asked, "--storage", str(tmp_path / "one")]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("copied to the mirror") == 4
    one = json.loads(shown.out)
    assert run_command([*asked, "--storage", str(tmp_path / "two")]) == 0
    shown = capsys.readouterr()
    assert "score:cam: from the mirror" in shown.err
    assert "everything is in the store" in shown.err
    two = json.loads(shown.out)
    assert two["score"] == one["score"]
    assert not (Store(tmp_path / "two").root / "stages" / "train").exists()
    assert run_command(["masks", "first", "--local", "--storage", str(tmp_path / "two")]) == 0
    assert "masks:cam: from the mirror" in capsys.readouterr().err
    assert run_command([*asked, "--mirror", "nosuch://bucket"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_a_comparison_fetches_what_it_looks_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_WANDB", "disabled")
    asked = [
        "compare",
        "cam",
        "--seeds",
        "1",
        "--pictures",
        "0",
        "--local",
        "--mirror",
        str(tmp_path / "mirror"),
        *TINY,
    ]
    found = []
    for place in ("one", "two"):
        assert run_command([*asked, "--json", "--storage", str(tmp_path / place)]) == 0
        shown = capsys.readouterr()
        found.append(json.loads(shown.out)["arms"][0])
    assert "maps:cam: from the mirror" in shown.err
    assert not (Store(tmp_path / "two").root / "stages" / "train").exists()
    assert found[0]["effects"] == found[1]["effects"]
