"""The storage folder: what lies in it, whether it is whole, what may go, and copies of runs elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import Store
from wsss_platform.upkeep.retention import DAYS

if TYPE_CHECKING:
    from wsss_platform.upkeep.documents import Copy, Delivery, StoreClearance, StoreList, StoreVerification
    from wsss_platform.upkeep.inventory import Entry
    from wsss_platform.upkeep.retention import Verdict


def store_list(storage: str | Path = "wsss-storage") -> StoreList:
    """Every stage output with its size, its age, and who refers to it.

    Args:
        storage: the storage folder; one that does not exist is empty.

    Raises:
        InputError: a record that cannot be read.
    """
    from wsss_platform.upkeep.documents import StoreEntry, StoreList
    from wsss_platform.upkeep.retention import judge

    store, now = Store(Path(storage)), time.time()
    verdicts = [verdict for verdict in judge(store) if verdict.entry.state != "lock"]
    return StoreList(storage=str(store.root), entries=tuple(StoreEntry.of(verdict, now) for verdict in verdicts))


def store_verify(storage: str | Path = "wsss-storage", full: bool = False, progress: bool = True) -> StoreVerification:
    """Read every artefact as a run would and name what is damaged.

    Args:
        storage: the storage folder.
        full: decode every mask, not some of each artefact.
        progress: a spinner on standard error.
    """
    from wsss_platform.report.progress import status
    from wsss_platform.upkeep.documents import StoreVerification
    from wsss_platform.upkeep.verification import verify

    seen: list[Entry] = []
    with status("reading", progress) as update:

        def show(entry: Entry) -> None:
            seen.append(entry)
            update(f"reading {entry.name}")

        found = verify(Store(Path(storage)), full=full, on_entry=show)
    return StoreVerification.of(len(seen), found)


def store_clear(
    storage: str | Path = "wsss-storage", days: float = DAYS, keep_best: int | None = None, delete: bool = False
) -> StoreClearance:
    """Say what nobody needs any more, or delete it. What a recorded run needs never goes.

    Args:
        storage: the storage folder.
        days: age at which what is unfinished, or what nobody refers to, may go.
        keep_best: also take the maps and masks of the trials of a study that are not among so many best; None: none.
        delete: do it; otherwise only say what would go.

    Raises:
        InputError: a number out of range, or a record that cannot be read: nothing is deleted then.
    """
    from wsss_platform.upkeep.documents import StoreClearance, StoreEntry
    from wsss_platform.upkeep.retention import carry_out, judge

    if not days >= 0:
        raise InputError(f"days: expected 0 or more, got {days}", field="days")
    if keep_best is not None and keep_best < 1:
        raise InputError(f"keep_best: expected 1 or more, got {keep_best}", field="keep_best")
    store, now = Store(Path(storage)), time.time()
    verdicts = judge(store, days=days, keep_best=keep_best)
    going = [verdict for verdict in verdicts if verdict.goes]
    left: list[Verdict] = []
    if delete:
        going, left = carry_out(store, going)
    return StoreClearance(
        deleted=delete,
        looked_at=len(verdicts),
        bytes=sum(verdict.entry.size for verdict in going),
        entries=tuple(StoreEntry.of(verdict, now) for verdict in going),
        in_use=tuple(verdict.entry.name for verdict in left),
    )


def store_push(run: str, remote: str, storage: str | Path = "wsss-storage", progress: bool = True) -> Copy:
    """Copy a run and what the store has of it to another place, and read it back.

    Args:
        run: its name.
        remote: the place: s3://bucket/folder, gs://..., file:///... or a folder.
        storage: the storage folder.
        progress: a spinner on standard error.

    Raises:
        InputError: no such run, another one of that name there, or no such place.
        RunError: the place cannot be written, or what was read back differs.
    """
    return _copied(run, remote, storage, progress, away=True)


def push_submission(
    submission: str, remote: str, storage: str | Path = "wsss-storage", everything: bool = False, progress: bool = True
) -> Delivery:
    """Copy what a job that was sent to a site has made: records, scores, figures and pages.

    Args:
        submission: its id.
        remote: the place: s3://bucket/folder, gs://..., file:///... or a folder.
        storage: the storage folder.
        everything: weights, maps and masks, too.
        progress: a spinner on standard error.

    Raises:
        InputError: it has made no run, or no such place.
        RunError: the place cannot be written, or what was read back differs.
    """
    from wsss_platform.report.progress import status
    from wsss_platform.upkeep.delivery import push_submission as push
    from wsss_platform.upkeep.mirror import Mirror

    mirror = Mirror(remote)
    with status(f"to {mirror.url}", progress):
        return push(Store(Path(storage)), submission, mirror, everything)


def store_pull(run: str, remote: str, storage: str | Path = "wsss-storage", progress: bool = True) -> Copy:
    """Copy a run from another place into the store, every file checked by its sha256.

    Args:
        run: its name.
        remote: the place: s3://bucket/folder, gs://..., file:///... or a folder.
        storage: the storage folder.
        progress: a spinner on standard error.

    Raises:
        InputError: no such run there, another one of that name in the store, or no such place.
        RunError: the place cannot be read, or a file is not what its sha256 says.
    """
    return _copied(run, remote, storage, progress, away=False)


def _copied(run: str, remote: str, storage: str | Path, progress: bool, *, away: bool) -> Copy:
    from wsss_platform.report.progress import status
    from wsss_platform.upkeep.documents import Copy
    from wsss_platform.upkeep.mirror import Mirror

    mirror, store = Mirror(remote), Store(Path(storage))
    with status(f"{'to' if away else 'from'} {mirror.url}", progress):
        copied = mirror.push(store, run) if away else mirror.pull(store, run)
    return Copy.of(copied, mirror.url, away=away)
