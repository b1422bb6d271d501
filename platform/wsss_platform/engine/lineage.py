"""The lineage of a population's member: which segments its weights went through, whose they were, how they scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.search.space import Value
from wsss_platform.store import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wsss_platform.engine.study import TrialRow

SCHEDULE = "schedule.json"
"""In members/<number>/ of a study's folder."""


@dataclass(frozen=True)
class Grown:
    """A segment that was trained."""

    until: int
    """Finished epochs at which it ended."""
    values: Mapping[str, Value]
    """In force in it, by dotted path."""
    member: int
    """Who trained it."""
    score: float | None
    """Best mean IoU 0..1 of the sweep on the few pictures of the judgement; None of the last, which is not judged."""


@dataclass(frozen=True)
class Lineage:
    """What a member is, at the end of a segment."""

    epoch: int = 0
    """Finished epochs."""
    grown: tuple[Grown, ...] = ()
    failed: str | None = None
    """Why its training failed; it then waits for a better one to copy."""

    def with_next(self, segment: Grown) -> Lineage:
        """One segment further."""
        return replace(self, epoch=segment.until, grown=(*self.grown, segment))

    def schedule(self, until: Sequence[int] = (), values: Mapping[str, Value] | None = None) -> list[dict[str, Any]]:
        """As `config.schedule` has it; with segments to come, at whose ends `until` are the finished epochs."""
        ahead = [{"until": epoch, "values": dict(values or {})} for epoch in until]
        return [{"until": item.until, "values": dict(item.values)} for item in self.grown] + ahead

    def to_json(self) -> str:
        """The inverse of `from_json`."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Lineage:
        """A lineage that `to_json` wrote."""
        data = json.loads(text)
        return Lineage(data["epoch"], tuple(Grown(**item) for item in data["grown"]), data["failed"])


def ends(done: int, interval: int, epochs: int) -> tuple[int, ...]:
    """Finished epochs at the ends of the segments that are still to come: multiples of the interval, and the last."""
    return tuple(range(done + interval, epochs, interval)) + ((epochs,) if done < epochs else ())


def write_schedule(study: Path, number: int, lineage: Lineage) -> None:
    """members/<number>/schedule.json: the member's lineage so far."""
    folder = study / "members" / f"{number:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SCHEDULE, lineage.to_json())


def schedule_figure(rows: Sequence[TrialRow]) -> Figure:
    """Values over epochs, one panel for each axis and one line for each member's lineage; the last panel its scores.

    Raises:
        ValueError: no member has a schedule.
    """
    from matplotlib.figure import Figure

    members = [(row, row.changes["schedule"]) for row in rows if row.changes.get("schedule")]
    if not members:
        raise ValueError("no member has a schedule")
    paths = list(members[0][1][0]["values"])
    figure = Figure(figsize=(9, 1.9 * (len(paths) + 1)), layout="constrained")
    panels = figure.subplots(len(paths) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for row, schedule in members:
        marks = [0, *(item["until"] for item in schedule)]
        label = f"member {row.number}"
        for panel, path in zip(panels, paths, strict=False):
            values = [item["values"][path] for item in schedule]
            if not all(isinstance(value, (int, float)) for value in values):
                values = [json.dumps(value) for value in values]
            panel.step(marks, [values[0], *values], where="pre", label=label)
        judged = sorted((int(epoch), value) for epoch, value in row.rungs.items())
        panels[-1].plot([epoch for epoch, _ in judged], [100 * value for _, value in judged], marker="o", label=label)
    for panel, name in zip(panels, [*paths, "judged, percent"], strict=True):
        panel.set_ylabel(name, fontsize=8)
    panels[-1].set_xlabel("finished epochs")
    panels[-1].locator_params(axis="x", integer=True)
    panels[0].legend(fontsize=7, ncols=4)
    return figure
