"""The real command in a process of its own, and settings that make a run tiny."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

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


def command(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the real command in its own process."""
    done = subprocess.run(
        [sys.executable, "-c", "from wsss_platform.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "WSSS_WANDB": "disabled", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def document(*arguments: str) -> Any:
    """The one JSON document on standard output."""
    return json.loads(command(*arguments, "--json").stdout)
