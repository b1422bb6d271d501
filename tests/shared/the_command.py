"""The command line in a process of its own, and settings that make a run tiny."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema

from another_process import LONGEST_WAIT
from wsss_platform.report.documents_page import DOCUMENTS

TINY = [
    *("--set", "data.sample.train=6"),
    *("--set", "data.sample.val=3"),
    *("--set", "data.sample.size=64"),
    *("--set", "train.epochs=1"),
    *("--set", "train.crop=64"),
    *("--set", "train.batch=2"),
    *("--set", "maps.scales=[1.0]"),
    *("--set", "backbone.weights=none"),
]
SETTINGS = {"WSSS_WANDB": "disabled", "OMP_NUM_THREADS": "1"}


def process(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: all that it and its libraries print is in the result."""
    done = subprocess.run(
        [sys.executable, "-c", "from wsss_platform.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=2 * LONGEST_WAIT,
        env={**os.environ, **SETTINGS},
        check=False,
    )
    return checked(done, code)


def document(*arguments: str, by: Any = process) -> Any:
    """The one JSON document on standard output, which is what its schema says; `by` runs the command."""
    return valid(json.loads(by(*arguments, "--json").stdout))


def valid(found: Any) -> Any:
    """A printed or stored document, after a look at its schema."""
    assert list(found)[:2] == ["schema", "version"]
    kind = next(one for one in DOCUMENTS if found["schema"] == one.SCHEMA)
    jsonschema.validate(found, kind.json_schema(), jsonschema.Draft202012Validator)
    return found


def checked(done: subprocess.CompletedProcess[str], code: int) -> subprocess.CompletedProcess[str]:
    """The result, if the command exited as it should."""
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
