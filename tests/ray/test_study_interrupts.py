"""Ctrl-C in a real `wsss-platform tune`: once it finishes what it is at, twice it stops; the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wsss_platform.engine.study import TrialRow
from wsss_platform.stages import METRICS
from wsss_platform.train.record import read_epochs

pytestmark = pytest.mark.ray

SPACE = """
[axes."loss.contrast"]
kind = "float"
low = 0.01
high = 1.0
log = true
reason = "to test with"
"""
SMALL = ("data.sample.train=12", "data.sample.val=2", "data.sample.size=64", "train.epochs=3", "train.batch=6")
SMALL = (*SMALL, "train.crop=48", "train.learning_rate=1e-3", "maps.scales=[1.0]", "trouble.seconds=0.25")


def command(storage: Path) -> list[str]:
    """Two trials of three epochs, one at a time; an epoch lasts half a second."""
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


def until(ready: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)


def epochs(storage: Path) -> dict[str, list[Any]]:
    """Of each training, finished or not: its recorded epochs, with their seconds."""
    records = (storage / "stages" / "train").glob(f"*/{METRICS}")
    return {path.parent.name.removesuffix(".partial"): read_epochs(path) for path in records}


def reached(storage: Path, trials: int, epoch: int) -> Callable[[], bool]:
    """Whether so many trainings have begun and one of them got so far."""

    def ready() -> bool:
        found = epochs(storage).values()
        unfinished = [ends for ends in found if len(ends) < 3]
        return len(found) >= trials and any(len(ends) >= epoch for ends in unfinished)

    return ready


def ray_processes(group: int) -> list[str]:
    """What still runs of the command's process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    return [args for pgid, state, args in lines if int(pgid) == group and not state.startswith("Z")]


def rows(storage: Path) -> list[TrialRow]:
    lines = (storage / "studies" / "study" / "trials.jsonl").read_text().splitlines()
    return [TrialRow(**json.loads(line)) for line in lines]


def interrupted(storage: Path, trials: int, epoch: int, times: int) -> tuple[str, float]:
    """Start the command, press Ctrl-C so often when it has got so far; what it says, and the seconds to its end."""
    with started(storage) as process:
        until(lambda: process.poll() is not None or reached(storage, trials, epoch)())
        pressed = time.monotonic()
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
        _, said = process.communicate(timeout=60)
        took = time.monotonic() - pressed
        assert process.returncode == 130, said
        until(lambda: not ray_processes(process.pid), 20)
    return said, took


def test_once_twice_and_on(tmp_path: Path) -> None:
    """Once in trial 0: its epoch is kept. Twice in trial 1: at once. The last table is that of a study in peace."""
    storage = tmp_path / "storage"
    said, _ = interrupted(storage, trials=1, epoch=1, times=1)
    assert "finishing: no trial starts any more" in said
    assert "0 of 2 trials are finished" in said
    assert [row.state for row in rows(storage)] == ["running"]
    (kept,) = epochs(storage).values()
    assert 1 <= len(kept) < 3

    said, took = interrupted(storage, trials=2, epoch=1, times=2)
    assert "Traceback" not in said
    assert took < 20
    first, second = epochs(storage).values() if len(next(iter(epochs(storage).values()))) == 3 else reversed(
        list(epochs(storage).values())
    )
    assert first[: len(kept)] == kept  # no epoch was trained again
    assert 1 <= len(second) < 3
    assert [row.state for row in rows(storage)][0] == "complete"
    assert not list(storage.rglob(".*.tmp"))
    before = rows(storage)[0]

    done = subprocess.run(command(storage), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [row.state for row in rows(storage)] == ["complete", "complete"]
    assert rows(storage)[0] == before
    assert len(epochs(storage)) == 2
    peace = tmp_path / "peace"
    done = subprocess.run(command(peace), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [(row.changes, row.objective, row.key) for row in rows(storage)] == [
        (row.changes, row.objective, row.key) for row in rows(peace)
    ]
