"""Sites, jobs and small programs for the tests of kinds `ray` and `ray-up`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss_platform.sites.code import Code
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.ledger import Sent
from wsss_platform.sites.site import Site

SECRET = "hunter2-5f0c9a"
NASTY = ("train", "$(touch x)", "a b;c", "`id`", "it's", '"', "two\nEND\nlines", "*", "--set=x=$HOME", "")
"""Arguments that a shell would take apart."""
NOBODY = "http://127.0.0.1:9"
"""An address that nobody answers."""
_PYTHON = r"""
printf '%s\0' "$@" >SEEN/arguments
env -0 >SEEN/variables
umask >SEEN/umask
pwd >SEEN/folder
"""


def site_of(storage: Path, **more: Any) -> Site:
    """A site of kind ray, with other settings in place of its own; its storage folder is there."""
    if storage.parent.is_dir():
        storage.mkdir(exist_ok=True)
    return Site.model_validate({"kind": "ray", "storage": str(storage), "ray": {"address": NOBODY}, **more})


def job_of(site: Site, *command: str) -> Job:
    """A job with a file that goes along, without frozen code."""
    return Job("mine-1130-120000-abcd", "mine", site, command or ("methods",), Code(()), {"own.toml": b"seed = 1\n"})


def sent_of(job: Job) -> Sent:
    """What the ledger has of it."""
    return Sent(
        id=job.id, site_name="mine", site=job.site, handle=job.id, command="methods", commit=None, sent="2026-11-30"
    )


def secret_of(folder: Path) -> dict[str, str]:
    """[secrets] of a site file; the value, SECRET, lies in a file of the folder."""
    (folder / "key").write_text(SECRET, encoding="utf-8")
    return {"WANDB_API_KEY": f"file:{folder}/key"}


def program(path: Path, text: str) -> Path:
    """A shell script that can be called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def writing_venv(folder: Path, seen: Path) -> str:
    """An environment whose Python writes its arguments, variables, umask and current folder into files of `seen`."""
    program(folder / "bin" / "python", _PYTHON.replace("SEEN", str(seen)))
    return str(folder)


def states(checks: Iterator[Check]) -> dict[str, str]:
    """What was looked at -> how it is."""
    return {found.what: found.state for found in checks}


def contents(folder: Path) -> bytes:
    """Of all files below."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
