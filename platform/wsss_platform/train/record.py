"""The record of a training: one JSON line per epoch, each epoch once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from wsss_platform.plan.jobs import EpochEnd
from wsss_platform.store.artefacts import write_atomic


def read_epochs(path: Path) -> list[EpochEnd]:
    """The recorded epochs in order. A repeated epoch counts once (the last wins); a line that is still
    being written, or that a kill cut off, is left out."""
    epochs: dict[int, EpochEnd] = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            end = EpochEnd.of(json.loads(line))
            epochs[end.epoch] = end
    return [epochs[epoch] for epoch in sorted(epochs)]


def append_epoch(path: Path, end: EpochEnd) -> None:
    """Add an epoch in one write."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(end)) + "\n")


def restart_record(path: Path, last: EpochEnd | None) -> None:
    """Make the record end with the epoch of the checkpoint that a restarted training continues from.

    Drops what came after it (it will be repeated), and adds its own line when a kill came between the
    checkpoint and the record.
    """
    kept = [end for end in read_epochs(path) if last and end.epoch < last.epoch] + ([last] if last else [])
    write_atomic(path, "".join(json.dumps(asdict(end)) + "\n" for end in kept))
