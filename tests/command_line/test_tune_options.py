"""Options of `tune` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss_platform.cli import run_command


def test_the_help_shows_the_new_option_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tune", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--budget" in shown
    assert "--gpu-hours" not in shown
    assert "--hours" not in shown


@pytest.mark.parametrize("option", [["--budget", "6h"], ["--hours", "6"], ["--gpu-hours", "6"]])
def test_a_search_of_stored_maps_has_none(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").touch()
    assert run_command(["tune", "first", *option]) == 2
    assert "a search of its stored maps takes --set masks.* only" in " ".join(capsys.readouterr().err.split())
