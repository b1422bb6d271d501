"""Ctrl-C in a real `wsss-platform tune`: once it finishes what it is at, twice it stops; the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from another_process import LONGEST_WAIT, gone, until
from study_requests import study_searcher
from tiny_method import METHOD, TinyConfig
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import METRICS
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.space_file import load_space
from wsss_platform.store.artefacts import Store
from wsss_platform.train.record import read_epochs
from wsss_platform.tune.study import StudyFolder

pytestmark = [pytest.mark.ray, pytest.mark.drill]

SPACE = """
[axes."loss.contrast"]
kind = "float"
low = 0.01
high = 1.0
log = true
reason = "to test with"
"""
SMALL = ("data.sample.train=12", "data.sample.val=2", "data.sample.size=64", "train.epochs=6", "train.batch=6")
SMALL = (*SMALL, "train.crop=48", "train.learning_rate=1e-3", "maps.scales=[1.0]", "trouble.seconds=0.25")


def command(storage: Path) -> list[str]:
    """Two trials of six epochs, one at a time; an epoch lasts half a second."""
    space = storage.parent / "space.toml"
    space.write_text(SPACE)
    settings = [word for value in SMALL for word in ("--set", value)]
    options = ["--space", str(space), "--storage", str(storage), "--name", "study", "--trials", "2"]
    alone = ["--scheduler", "none", "--concurrent", "1", "--wandb", "disabled", "--json"]
    return [
        *(sys.executable, "-c", "from wsss_platform.cli import main; main()"),
        *("tune", "tiny_method:METHOD", *settings, *options, *alone),
    ]


@contextmanager
def started(storage: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a terminal's foreground: all its processes in one group, which hears Ctrl-C."""
    process = subprocess.Popen(
        command(storage),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def epochs(storage: Path) -> dict[str, list[Any]]:
    """Of each training, finished or not: its recorded epochs, with their seconds."""
    records = (storage / "stages" / "train").glob(f"*/{METRICS}")
    return {path.parent.name.removesuffix(".partial"): read_epochs(path) for path in records}


def rows(storage: Path) -> list[TrialRow]:
    lines = (storage / "studies" / "study" / "trials.jsonl").read_text().splitlines()
    return [TrialRow(**json.loads(line)) for line in lines]


def interrupted(storage: Path, epoch: int, times: int) -> str:
    """Start the command, and press Ctrl-C so often when trial 0 has got so far; what it says."""
    with started(storage) as process:
        until(
            lambda: process.poll() is not None or any(len(ends) >= epoch for ends in epochs(storage).values()),
            f"epoch {epoch}",
        )
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
        _, said = process.communicate(timeout=LONGEST_WAIT)
        assert process.returncode == 130, said
        gone(process.pid)
    return said


def in_peace(folder: Path) -> list[tuple[Any, float]]:
    """What each trial changes and its objective when nothing happens, found without Ray."""
    settings = {name: json.loads(text) for name, _, text in (value.partition("=") for value in SMALL)}
    config = override(TinyConfig(), {name: at for name, at in settings.items() if not name.startswith("data")}, "test")
    data = DataConfig(sample=SampleConfig(train=12, val=2, size=64))
    folder.mkdir()
    (folder / "space.toml").write_text(SPACE)
    space = load_space(folder / "space.toml", config)
    searcher = study_searcher(StudyFolder(folder / "study", {"what": 1}), space, config, sampler_seed=0)
    found: list[tuple[Any, float]] = []
    for name in ("first", "second"):
        changes = json.loads(searcher.suggest(name)["changes"])
        experiment = Experiment(METHOD, override(config, changes, "test"), data)
        score = run(experiment, Store(folder), LocalRunner(threads=1)).score
        assert score is not None
        found.append((changes, score["sweep"]["best_mean_iou"]))
        searcher.on_trial_complete(name, {"event": "finished", "objective": found[-1][1]})
    return found


def test_once_twice_and_on(tmp_path: Path) -> None:
    """Once: the epoch is kept. Twice: at once. The same command goes on, and the table is that of a study in peace."""
    storage = tmp_path / "storage"
    said = interrupted(storage, epoch=1, times=1)
    assert "finishing: no trial starts any more" in said
    assert "0 of 2 trials are finished" in said
    ((key, kept),) = epochs(storage).items()
    assert 1 <= len(kept) < 6

    said = interrupted(storage, epoch=len(kept) + 1, times=2)
    assert "Traceback" not in said
    ((again, later),) = epochs(storage).items()
    assert again == key
    assert later[: len(kept)] == kept  # with their seconds: no epoch was trained again
    assert len(later) < 6
    assert [row.state for row in rows(storage)] == ["running"]
    assert not list(storage.rglob(".*.tmp"))

    done = subprocess.run(command(storage), capture_output=True, text=True, timeout=2 * LONGEST_WAIT, check=False)
    assert done.returncode == 0, done.stderr
    assert [row.state for row in rows(storage)] == ["complete", "complete"]
    assert epochs(storage)[key][: len(later) - 1] == later[:-1]  # stopped at once: one epoch may be lost
    assert [len(ends) for ends in epochs(storage).values()] == [6, 6]
    assert [(row.changes, row.objective) for row in rows(storage)] == in_peace(tmp_path / "peace")
