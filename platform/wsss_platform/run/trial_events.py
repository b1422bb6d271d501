"""What a study reports while it runs; plain data for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wsss_platform.plan.jobs import EpochEnd
from wsss_platform.run.pipeline import Event


@dataclass(frozen=True)
class SharedStage:
    """Progress of a stage that all trials share, made once before they start."""

    event: Event


@dataclass(frozen=True)
class TrialStarted:
    """A trial has begun; no changes: it is the default config."""

    number: int
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class TrialEpoch:
    """A trial finished an epoch of a phase."""

    number: int
    phase: str
    epoch: EpochEnd


@dataclass(frozen=True)
class TrialRung:
    """A trial was scored on the rung's few images."""

    number: int
    epoch: int
    """Finished epochs."""
    value: float
    """Best mean IoU 0..1 of the sweep."""


@dataclass(frozen=True)
class TrialFinished:
    """A trial is over."""

    number: int
    state: str
    """"complete", "pruned" or "fail"."""
    objective: float | None
    fixed: float | None
    """Mean IoU 0..1 of the masks at the config's own background rule."""
    seconds: float | None
    reason: str | None
    key: str | None
    """Of its score in the store."""


@dataclass(frozen=True)
class StudyState:
    """The study as a whole, after each trial."""

    finished: int
    total: int | None
    """None: as many as a budget of hours allows."""
    running: int
    best: int | None
    """Number of the best trial."""
    objective: float | None
    """Its objective."""


@dataclass(frozen=True)
class Reporting:
    """The trials are over; the rows of the comparison are being scored."""

    split: str
    """On which they are reported."""
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Warned:
    """Something that a reader of the numbers should know."""

    message: str


StudyEvent = SharedStage | TrialStarted | TrialEpoch | TrialRung | TrialFinished | StudyState | Reporting | Warned
OnStudyEvent = Callable[[StudyEvent], None]
