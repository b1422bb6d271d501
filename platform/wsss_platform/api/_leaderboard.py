"""Local results, grouped by protocol."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._defaults import storage_folder
from wsss_platform.api._frames import data_frame

if TYPE_CHECKING:
    from wsss_platform.report.documents import LeaderboardDocument
    from wsss_platform.report.evaluations import Evaluations
    from wsss_platform.report.leaderboard import Group

log = logging.getLogger(__name__)


class Leaderboard:
    """Scored runs by protocol: rows of different protocols are never ranked together."""

    def __init__(self, groups: tuple[Group, ...], seen: tuple[Evaluations, ...]) -> None:
        """
        Args:
            groups: ranked rows of each protocol.
            seen: how often the storage has evaluated on each ground truth.
        """
        self.groups, self.seen = groups, seen

    def document(self) -> LeaderboardDocument:
        """What the command prints with --json."""
        from wsss_platform.report.documents import LeaderboardDocument

        return LeaderboardDocument.of(self.groups, self.seen)

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
    return Leaderboard(tuple(board.rows(found.records)), evaluations(store))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
