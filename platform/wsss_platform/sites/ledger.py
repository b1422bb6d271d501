"""What was sent from this machine, so that an id is known after a restart: one JSON file each.

~/.local/state/wsss-platform/submissions/<id>.json      (or below XDG_STATE_HOME)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from wsss_platform.config.document import Part
from wsss_platform.errors import InputError, unknown
from wsss_platform.run.records import now
from wsss_platform.run.scrub import scrub_command
from wsss_platform.sites.job import Job
from wsss_platform.sites.site import Site
from wsss_platform.store.artefacts import check_name, write_atomic

State = Literal["queued", "running", "finished", "failed", "cancelled", "unknown"]


class Sent(Part):
    """One job that was sent."""

    id: str
    site_name: str
    site: Site
    """As it was then; it holds references to secrets, and no secret."""
    handle: str
    """What the site calls the job: Slurm's job number, a RayJob's name, the id of a Ray job."""
    command: str
    """As it was sent, shell-quoted, without secrets."""
    commit: str | None
    """Of the frozen code; with "+" where changes were sent, too."""
    sent: str
    """ISO 8601, UTC."""

    @property
    def folder(self) -> str:
        """On the site."""
        return f"{self.site.storage}/submissions/{self.id}"


class Status(Part):
    """How a job does."""

    id: str
    state: State
    said: str
    """The site's own words."""


def ledger() -> Path:
    """The folder."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "wsss-platform" / "submissions"


def note_sent(job: Job, handle: str) -> Sent:
    """Write down a job that was sent."""
    sent = Sent(
        id=job.id,
        site_name=job.site_name,
        site=job.site,
        handle=handle,
        command=scrub_command(["wsss-platform", *job.command]),
        commit=job.code.commit,
        sent=now(),
    )
    ledger().mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(ledger() / f"{job.id}.json", sent.model_dump_json(indent=1))
    return sent


def forget(id: str) -> None:
    """Take back what `note_sent` wrote of a job that its site refused."""
    (ledger() / f"{check_name(id, 'id of a submission')}.json").unlink(missing_ok=True)


def find_sent(id: str) -> Sent:
    """The job of an id.

    Raises:
        InputError: nothing of that id was sent from this machine (with the nearest), or its file is damaged.
    """
    path = ledger() / f"{check_name(id, 'id of a submission')}.json"
    if not path.is_file():
        raise unknown("submission", id, (file.stem for file in ledger().glob("*.json")), id)
    try:
        return Sent.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, ValueError):
        raise InputError(f"{path}: damaged; expected what `submit` wrote", field=path) from None


def all_sent() -> Iterator[Sent]:
    """All jobs, the last one first; a damaged file is left out."""
    found = []
    for path in ledger().glob("*.json"):
        try:
            found.append(find_sent(path.stem))
        except InputError:
            continue
    yield from sorted(found, key=lambda sent: (sent.sent, sent.id), reverse=True)
