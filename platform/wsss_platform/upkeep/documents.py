"""What the verbs of `store` print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

from wsss_platform.config.document import Document, Part
from wsss_platform.upkeep.inventory import State
from wsss_platform.upkeep.mirror import Copied
from wsss_platform.upkeep.retention import Verdict
from wsss_platform.upkeep.verification import Finding


class StoreEntry(Part):
    """One thing in the store."""

    kind: str
    """Of the stage, such as "maps"."""
    key: str
    """Content key, 64 hex digits."""
    state: State
    """Finished, or what it is instead: a folder without a readable manifest (damaged), unfinished (partial), a deletion
    that was cut off (trash), a lock of nothing."""
    method: str | None
    """That made it; null where no manifest says."""
    stage: str | None
    """Kind and phase, such as "train:cam"."""
    split: str | None
    """The split that it goes through."""
    bytes: int
    """Of all its files."""
    age_seconds: float
    """Since it was finished, or last written to."""
    referred_by: tuple[str, ...]
    """Runs and studies."""
    goes: bool
    """Whether `gc` takes it."""
    reason: str
    """Why it stays or goes."""

    @classmethod
    def of(cls, verdict: Verdict, now: float) -> Self:
        """An entry as `upkeep.retention.judge` gives it; `now` in seconds since 1970."""
        entry = verdict.entry
        said = {"split": "list", "method": "method", "stage": "stage"}  # field -> name in the manifest
        return cls(
            kind=entry.kind,
            key=entry.key,
            state=entry.state,
            bytes=entry.size,
            age_seconds=round(now - entry.changed, 1),
            referred_by=verdict.owners,
            goes=verdict.goes,
            reason=verdict.reason,
            **{
                field: None if (value := entry.manifest.get(name)) is None else str(value)
                for field, name in said.items()
            },
        )


class StoreList(Document):
    """Every stage output (`store list`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/store-list"
    VERSION: ClassVar[int] = 2

    storage: str
    """The storage folder."""
    entries: tuple[StoreEntry, ...]
    """By kind, oldest first."""


class DamagedEntry(Part):
    """Something in the store that cannot be read as it should."""

    kind: str
    """Of the stage."""
    key: str
    """Content key, 64 hex digits."""
    reason: str
    """Names the file."""


class StoreVerification(Document):
    """Whether the store is whole (`store verify`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/store-verification"

    entries: int
    """Read."""
    damaged: tuple[DamagedEntry, ...]
    """What cannot be read as it should."""
    remarks: tuple[str, ...]
    """What is in order but unfinished or left over."""

    @classmethod
    def of(cls, entries: int, findings: Iterable[Finding]) -> Self:
        """What `upkeep.verification.verify` found in so many entries."""
        found = tuple(findings)
        damaged = [one for one in found if one.damaged]
        return cls(
            entries=entries,
            damaged=tuple(DamagedEntry(kind=f.entry.kind, key=f.entry.key, reason=f.reason) for f in damaged),
            remarks=tuple(one.reason for one in found if not one.damaged),
        )


class StoreClearance(Document):
    """What nobody needs any more (`store gc`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/store-clearance"

    deleted: bool
    """False: it was only said what would go."""
    looked_at: int
    """Entries of the store."""
    bytes: int
    """Of all that goes."""
    entries: tuple[StoreEntry, ...]
    """What goes."""
    in_use: tuple[str, ...]
    """What was to go and is used by now, so it stays."""


class Copy(Document):
    """A run copied to or from another place (`store push`, `store pull`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/copy"

    run: str
    """Its name."""
    away: bool
    """True: pushed; false: pulled."""
    remote: str
    """The other place, without keys."""
    stages: tuple[str, ...]
    """That were copied."""
    there: tuple[str, ...]
    """That were there already."""
    lacking: tuple[str, ...]
    """That the source has not: never made, or dropped."""
    files: int
    """Copied."""
    size: int
    """Bytes copied."""

    @classmethod
    def of(cls, copied: Copied, remote: str, *, away: bool) -> Self:
        """What `upkeep.mirror.Mirror` copied."""
        return cls(away=away, remote=remote, **vars(copied))


class Delivery(Document):
    """What a job that was sent to a site has made, copied (`store push --submission`, `submit fetch`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/delivery"

    submission: str
    """Id of the job."""
    remote: str
    """The other place, without keys."""
    runs: tuple[str, ...]
    """Names of its runs."""
    folders: tuple[str, ...]
    """Of its studies, comparisons and images, relative to the storage folder."""
    size: int
    """Bytes copied."""
