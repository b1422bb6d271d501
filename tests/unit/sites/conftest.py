"""Programs of Slurm's names that stand on PATH and write down how they were called, and a job for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from told_slurm import SECRET, Put
from wsss_platform.sites.code import Code
from wsss_platform.sites.job import Job
from wsss_platform.sites.site import Site


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """put(NAME, BASH): a program on PATH that appends its arguments to calls/NAME; where that file lies."""
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    calls.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        (programs / name).write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >>{calls / name}\n{script}\n')
        (programs / name).chmod(0o755)
        return calls / name

    return make


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "storage").mkdir()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    site = Site.model_validate(
        {
            "kind": "slurm",
            "storage": str(tmp_path / "storage"),
            "environment": {"venv": str(tmp_path / "venv")},
            "secrets": {"WANDB_API_KEY": f"file:{secret}"},
        }
    )
    return Job("here-1130-010203-abcd", "here", site, ("methods",), Code(()), {"space.toml": b"x = 1\n"})
