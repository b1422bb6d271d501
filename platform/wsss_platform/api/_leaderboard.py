"""Local results, grouped by protocol."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._defaults import storage_folder, wandb_mode
from wsss_platform.api._frames import data_frame
from wsss_platform.errors import InputError, RunError

if TYPE_CHECKING:
    from wsss_platform.api.tracked_leaderboard import TrackedLeaderboard
    from wsss_platform.report.documents import LeaderboardDocument
    from wsss_platform.report.evaluations import Evaluations
    from wsss_platform.report.leaderboard import Group
    from wsss_platform.run.records import RunRecord
    from wsss_platform.store.artefacts import Store

log = logging.getLogger(__name__)

INTERVAL = "seeds.json"
"""In the folder of a row's first run: the interval over its random seeds, and the scores that it is of."""


class Leaderboard:
    """Scored runs by protocol: rows of different protocols are never ranked together."""

    def __init__(self, groups: tuple[Group, ...], seen: tuple[Evaluations, ...], store: Store) -> None:
        """
        Args:
            groups: ranked rows of each protocol.
            seen: how often the storage has evaluated on each ground truth.
            store: that the runs are in.
        """
        self.groups, self.seen, self._store = groups, seen, store

    def document(self) -> LeaderboardDocument:
        """What the command prints with --json."""
        from wsss_platform.report.documents import LeaderboardDocument

        return LeaderboardDocument.of(self.groups, self.seen)

    def track(
        self, *, entity: str | None = None, project: str | None = None, wandb: str | None = None
    ) -> TrackedLeaderboard:
        """Send it to W&B: a run with its table and a figure of its intervals, and the runs that W&B does not have; when
        logged in also a report with a locked run set for each protocol, which a second call changes.

        Args:
            entity: user or team; None: the user's default.
            project: None: "wsss-platform".
            wandb: "auto" (online when logged in), "online" or "offline"; what is kept offline goes with `wandb sync`.

        Returns:
            The mode, the folder of the run, the names of the runs that were sent, and the report's address.

        Raises:
            InputError: no scored run, or a name of a project or entity that cannot be one.
        """
        from wsss_platform.api.tracked_leaderboard import track
        from wsss_platform.store.artefacts import check_name

        for name, given in (("--entity", entity), ("--project", project)):
            if given is not None:
                check_name(given, name)
        if not len(self):
            raise InputError(f"no scored run in {self._store.root}: there is nothing to track")
        return track(self.groups, self._store, mode=wandb_mode(wandb), entity=entity, project=project)

    def to_markdown(self) -> str:
        """One table for each protocol."""
        from wsss_platform.report.tables.leaderboard import leaderboard_markdown

        return leaderboard_markdown(self.groups)

    def to_csv(self) -> str:
        """One table with a column for the protocol."""
        from wsss_platform.report.tables.leaderboard import leaderboard_csv

        return leaderboard_csv(self.groups)

    def to_pandas(self) -> Any:
        """A pandas DataFrame: a row for each configuration, IoU in percent."""
        rows = [(group, row) for group in self.groups for row in group.rows]
        return data_frame(
            {
                "protocol": [group.key for group, _ in rows],
                "rank": [row.rank for _, row in rows],
                "run": [row.runs[0] for _, row in rows],
                "method": [row.method for _, row in rows],
                "seeds": [len(row.seeds) for _, row in rows],
                "miou": [100 * row.mean_iou for _, row in rows],
                "best": [None if row.best is None else 100 * row.best for _, row in rows],
            }
        )

    def __len__(self) -> int:
        return sum(len(group.rows) for group in self.groups)

    def __repr__(self) -> str:
        return f"<leaderboard: {_counted(len(self), 'row')} in {_counted(len(self.groups), 'group')}>"


def leaderboard(storage: str | Path | None = None) -> Leaderboard:
    """Every scored run of a storage folder, ranked inside its protocol.

    Args:
        storage: the storage folder; None: the variable WSSS_STORAGE, else wsss-storage.

    Returns:
        The groups, with `.to_markdown()`, `.to_csv()` and `.to_pandas()`.
    """
    from wsss_platform.report import leaderboard as board
    from wsss_platform.report.evaluations import evaluations
    from wsss_platform.run.records import read_records
    from wsss_platform.store.artefacts import Store

    store = Store(storage_folder(storage))

    found = read_records(store)
    for name, reason in found.damaged:
        log.warning("left out: run %s: %s", name, reason)
    return Leaderboard(tuple(board.rows(found.records, interval=partial(_interval, store))), evaluations(store), store)


def _interval(store: Store, runs: Sequence[RunRecord]) -> tuple[float, float] | None:
    """Over images and seeds, of several runs' stored counts; computed once and kept in the first run's folder."""
    from wsss_platform.scores.seeds import interval_over_seeds
    from wsss_platform.store.artefacts import write_atomic

    keys = [key for run in runs for name, key in run.stages.items() if name.startswith("score:")]
    file = store.run_folder(runs[0].name) / INTERVAL
    with suppress(OSError, ValueError, KeyError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["scores"] == keys:
            low, high = known["interval"]
            return low, high
    if len(keys) != len(runs) or not all(store.finished("score", key) for key in keys):
        return None
    try:
        found = interval_over_seeds([store.open("score", key).folder for key in keys])
    except (InputError, RunError) as error:
        log.warning("no interval of run %s: %s", runs[0].name, error)
        return None
    if found is not None:
        with suppress(OSError):  # a storage folder that is only read
            write_atomic(file, json.dumps({"scores": keys, "interval": found}))
    return found


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
