"""What became of a study's trials, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import write_atomic

TABLE = "trials.jsonl"
"""In a study's folder: a row for each trial."""
ENDED = ("complete", "pruned", "fail")
"""States of a trial that is never run again."""


@dataclass(frozen=True)
class TrialRow:
    """One line of a study's table."""

    number: int
    """From 0, which is the default config."""
    state: str
    """"complete", "pruned" (stopped early), "fail", "running" or "waiting"."""
    changes: Mapping[str, Any]
    """Sampled values by dotted path; empty for the default config."""
    objective: float | None
    """What the study maximises; of a pruned trial the value at its last rung."""
    fixed: float | None
    """Mean IoU 0..1 of the masks at the config's own background rule."""
    threshold: float | None
    """Background threshold 0..1 at which the sweep is best."""
    rungs: Mapping[int, float]
    """Finished epochs -> best mean IoU 0..1 on the rung's few images."""
    seconds: float | None
    """Wall time from its start to its end; None before."""
    key: str | None
    """Of the score in the store."""
    reason: str | None
    """Why it failed or was stopped."""
    spread: float | None = None
    """Sample standard deviation of the objective over the trial's seeds; None for one seed."""
    keys: Sequence[str] = ()
    """Of the scores of all its seeds; empty for one seed."""
    values: Mapping[str, float] | None = None
    """Of a trial with several objectives: each by its name (`objectives`)."""
    front: bool | None = None
    """Of a study with several objectives: whether no other trial beats it."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Keys of the scores of all its seeds; empty where it has none."""
        return tuple(self.keys) or (() if self.key is None else (self.key,))

    @property
    def evaluations(self) -> int:
        """How often it was evaluated on ground truth: once per score, at whatever thresholds, and once per rung."""
        return len(self.scores) + len(self.rungs)


def read_rows(study: Path) -> Iterator[TrialRow]:
    """The rows of a study's table; none where there is no table.

    Raises:
        InputError: at a line that is damaged, naming it. Rows before it have come.
    """
    table = study / TABLE
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines() if table.is_file() else (), 1):
        try:
            yield TrialRow(**json.loads(line))
        except (ValueError, TypeError):
            raise InputError(
                f"{table}, line {number}: not a trial; the study's next trial writes it anew", field=table
            ) from None


Lines = dict[int, tuple[TrialRow, str]]
"""Trial -> its row and its line of the table."""


def write_rows(study: Path, rows: Iterable[TrialRow], lines: Lines | None = None) -> None:
    """Write a study's table, whole or not at all.

    Args:
        study: its folder.
        rows: of all trials.
        lines: what was written before, so that only rows that have changed are encoded again. It is updated.
    """
    known, text = {} if lines is None else lines, []
    for row in rows:
        if row.number not in known or known[row.number][0] != row:
            known[row.number] = row, json.dumps(vars(row)) + "\n"
        text.append(known[row.number][1])
    write_atomic(study / TABLE, "".join(text))
