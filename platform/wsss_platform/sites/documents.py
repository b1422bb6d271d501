"""Documents of `submit` and `sites`."""

from __future__ import annotations

from typing import ClassVar

from wsss_platform.config.document import Document, Part
from wsss_platform.sites.kinds import Check, CheckState
from wsss_platform.sites.ledger import Sent, State


class SiteCheck(Part):
    """One thing that was checked before anything is sent."""

    what: str
    """Such as "partition"."""
    state: CheckState
    """"ok", "wrong", or "skipped": it cannot be checked from here."""
    said: str
    """What was found, and what to do where it is wrong."""

    @classmethod
    def of(cls, check: Check) -> SiteCheck:
        """The document's part for a check."""
        return cls(what=check.what, state=check.state, said=check.said)


class SubmissionPlan(Document):
    """What `submit --dry-run` would send. Nothing was sent."""

    SCHEMA: ClassVar[str] = "wsss-platform/submission-plan"

    site: str
    """Name of the site."""
    kind: str
    """slurm, kuberay, ray or ray-up."""
    command: str
    """What would run there, shell-quoted."""
    folder: str
    """Of the job, on the site."""
    commits: dict[str, str]
    """Folder in the archive -> commit of the frozen code; with "+" where changes would be sent, too. Empty: what the
    environment has installed."""
    untracked: tuple[str, ...]
    """Files of those work trees that would not be sent."""
    sent_files: tuple[str, ...]
    """Names of files on the command line that would go along."""
    size: int
    """Bytes of the archive."""
    files: dict[str, str]
    """Path on the site, or name of an object -> its text."""
    commands: tuple[str, ...]
    """What would be run or called, in order."""
    checks: tuple[SiteCheck, ...]


class SubmissionDocument(Document):
    """A job that was sent to a site (`submit`, `submit status`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/submission"

    id: str
    """What `submit status`, `logs`, `cancel` and `fetch` take."""
    site: str
    """Name of the site."""
    kind: str
    """slurm, kuberay, ray or ray-up."""
    handle: str
    """What the site calls it."""
    command: str
    """As it was sent, without secrets."""
    commit: str | None
    """Of the frozen code."""
    folder: str
    """On the site."""
    sent: str
    """ISO 8601, UTC."""
    state: State | None
    """How it does; null where the site was not asked."""
    said: str
    """The site's own words, or ""."""

    @classmethod
    def of(cls, sent: Sent, state: State | None = None, said: str = "") -> SubmissionDocument:
        """The document of a job of the ledger."""
        return cls(
            id=sent.id,
            site=sent.site_name,
            kind=sent.site.kind,
            handle=sent.handle,
            command=sent.command,
            commit=sent.commit,
            folder=sent.folder,
            sent=sent.sent,
            state=state,
            said=said,
        )


class SubmissionList(Document):
    """Every job that was sent from this machine (`submit list`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/submission-list"

    submissions: tuple[SubmissionDocument, ...]
    """The last one first."""


class SiteReport(Document):
    """Whether a site can be used (`sites check`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/site-report"

    site: str
    """Its name."""
    file: str
    """The site file."""
    kind: str
    """slurm, kuberay, ray or ray-up."""
    storage: str
    """The storage folder there."""
    checks: tuple[SiteCheck, ...]
    ready: bool
    """False where something is wrong."""


class SiteList(Document):
    """The sites that are known by name (`sites list`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/site-list"

    sites: dict[str, str]
    """Name -> its file."""
    own: str
    """The folder for site files of one's own."""
