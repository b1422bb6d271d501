"""A leaderboard in W&B: its table and figure as a run, its runs that were never tracked, and a report of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wsss_platform.api.recording import TRACKED, log_sweep, note_tracked, score_summary, tracker_of
from wsss_platform.config.supervision import supervision_words
from wsss_platform.report.drawing import pixels
from wsss_platform.report.leaderboard import Group
from wsss_platform.report.leaderboard_figure import intervals
from wsss_platform.report.tables.leaderboard import leaderboard_markdown
from wsss_platform.run.pipeline import SUMMARY, read_summary
from wsss_platform.run.records import RunRecord, read_records
from wsss_platform.run.trial_rows import TABLE, read_rows
from wsss_platform.store.artefacts import Store
from wsss_platform.tracking.reports import ReportGroup, ReportStudy, publish
from wsss_platform.tracking.weights_and_biases import PROJECT, Target, Tracker

log = logging.getLogger(__name__)

COLUMNS = (
    "method",
    "protocol group",
    "supervision",
    "mIoU",
    "low",
    "high",
    "seeds",
    "selection",
    "seconds",
    "recipe",
    "commit",
)
"""Of the table; mIoU and the ends of its interval in percent."""


@dataclass(frozen=True)
class TrackedLeaderboard:
    """Where a leaderboard went."""

    mode: str
    """"online", "offline" or "disabled"."""
    folder: str | None
    """Of the run with the table, as W&B keeps it here."""
    sent: tuple[str, ...]
    """Names of runs that had not been tracked and are now."""
    report: str | None
    """Address of the report; None where it is only kept."""
    kept: str
    """File of the report's content, which the next call that is logged in makes."""


def table(groups: Iterable[Group]) -> list[list[object]]:
    """A line for each row of each protocol, in the order of `COLUMNS`."""
    return [
        [
            row.method,
            group.key,
            supervision_words(group.protocol.supervision),
            100 * row.mean_iou,
            None if row.interval is None else 100 * row.interval[0],
            None if row.interval is None else 100 * row.interval[1],
            len(row.seeds),
            row.selection,
            row.seconds,
            row.command,
            row.commit,
        ]
        for group in groups
        for row in group.rows
    ]


def track(
    groups: Sequence[Group], store: Store, *, mode: str = "auto", entity: str | None = None, project: str | None = None
) -> TrackedLeaderboard:
    """Send it, or keep it for `wandb sync` where nobody is logged in or the service does not answer.

    Args:
        groups: of the leaderboard; at least one.
        store: that its runs are in.
        mode: of tracking.
        entity: user or team; None: the user's default.
        project: on the server; None: "wsss-platform".
    """
    target = Target(project or PROJECT, entity)
    board = Tracker(
        name="leaderboard",
        group="leaderboard",
        config={"protocols": [group.key for group in groups]},
        protocol={},
        folder=store.root,
        mode=mode,
        target=target._replace(kind="leaderboard"),
    )
    board.start()
    board.table("leaderboard", COLUMNS, table(groups))
    board.image("intervals", pixels(intervals(groups)))
    board.finish()
    online = board.mode == "online" and board.target.entity is not None
    owner = board.target.entity if online else entity
    sent = tuple(_send_runs(groups, store, board.mode, target._replace(entity=owner)))
    shown = [ReportGroup(group.key, leaderboard_markdown([group])) for group in groups]
    made = publish(shown, list(_studies(store)), store.root / "wandb", target.project, owner, online=online)
    for warning in board.warnings:
        log.warning(warning)
    if online and made.reason:
        log.warning("W&B: the report is kept in %s: %s", made.file, made.reason)
    folder = None if board.run_folder is None else str(board.run_folder)
    return TrackedLeaderboard(board.mode, folder, sent, made.url, str(made.file))


def _send_runs(groups: Iterable[Group], store: Store, mode: str, target: Target) -> Iterator[str]:
    """Runs of the rows that W&B does not have in this place: as they were recorded, with their sweeps."""
    names = {name for group in groups for row in group.rows for name in row.runs}
    kept = []
    for record in read_records(store).records:
        if record.name not in names:
            continue
        noted = _noted(store, record.name)
        if noted is not None and _is_there(noted, target):
            if mode == "online" and noted["mode"] == "offline":
                kept.append(noted["folder"])
            continue
        tracker = tracker_of(record, store, mode, id=_id_of(record), target=target)
        tracker.start()
        summary = _summary_of(record, store)
        if summary is not None:
            log_sweep(tracker, summary)
        seconds = {f"seconds/{stage}": value for stage, value in record.seconds.items()}
        tracker.finish(seconds | (score_summary(summary) if summary else {}))
        note_tracked(store, record.name, tracker, scored=summary is not None)
        for warning in tracker.warnings:
            log.warning(warning)
        if tracker.mode == "offline":  # do not wait for the service again
            mode = "offline"
        if tracker.run_folder is not None:
            yield record.name
    if kept:
        log.info("W&B: %d runs are kept offline; to send them: wandb sync %s", len(kept), " ".join(kept))


def _noted(store: Store, name: str) -> dict[str, Any] | None:
    """Where W&B has a run; None where it does not, or not with its score."""
    file = store.run_folder(name) / TRACKED
    noted: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return noted if noted and noted["scored"] else None


def _is_there(noted: dict[str, Any], target: Target) -> bool:
    """Whether a run is, or will be after `wandb sync`, in this project of this user or team."""
    return noted["project"] == target.project and (target.entity is None or noted["entity"] in (None, target.entity))


def _id_of(record: RunRecord) -> str:
    """The same for the same run, so that one that was cut off is continued."""
    return hashlib.sha256(f"{record.name} {record.started} {record.config_key}".encode()).hexdigest()[:12]


def _summary_of(record: RunRecord, store: Store) -> dict[str, object] | None:
    """What its score says, where it is still stored."""
    keys = [key for name, key in record.stages.items() if name.startswith("score:")]
    if not keys or not store.finished("score", keys[-1]):
        return None
    artefact = store.open("score", keys[-1])
    return read_summary(artefact) if (artefact.folder / SUMMARY).is_file() else None


def _studies(store: Store) -> Iterator[ReportStudy]:
    """The studies of a storage folder whose trials were tracked, with what they searched."""
    for file in sorted((store.root / "studies").glob(f"*/{TABLE}")):
        axes = dict.fromkeys(path for row in read_rows(file.parent) for path in row.changes)
        tracked = (store.root / "runs").glob(f"{file.parent.name}-0*/{TRACKED}")
        if axes and any(tracked):
            yield ReportStudy(file.parent.name, tuple(axes))
