"""Every shipped search space is planned by the command that its own header names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from wsss_platform.cli import run_command
from wsss_platform.config import read_toml

ROOT = Path(__file__).parents[2]
SPACES = sorted(path for path in (ROOT / "search_spaces").glob("*.toml") if path.stem != "crf")
"""crf.toml is planned on a run's stored maps: tests/unit/search/masks/test_search_of_run.py."""


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_is_planned_by_the_command_in_its_header(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"^#   command:  wsss-platform (tune [^(\n]+)", path.read_text(), re.MULTILINE)
    assert found, "a header line with the command"
    arguments = shlex.split(found[1])
    monkeypatch.chdir(ROOT)
    code = run_command([*arguments, "--dry-run", "--json", "--storage", str(tmp_path / "store")])
    out, error = capsys.readouterr()
    assert code == 0, error
    plan = json.loads(out)
    assert [axis["path"] for axis in plan["axes"]] == list(read_toml(path)["axes"]), "planned with another space"
