"""What became of a study's trials, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialRow:
    """One line of trials.jsonl."""

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
    """Finished epochs -> best mean IoU 0..1 on the rung's few pictures."""
    seconds: float | None
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
