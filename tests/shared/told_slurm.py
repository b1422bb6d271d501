"""A job for a Slurm that only says what a test told it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from wsss_platform.config import override
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.ledger import Sent

SECRET = "a-value-that-nobody-may-read"
SINFO = "echo 'main*|up|infinite|4'; echo 'gpu|up|30:00|2'; echo 'old|down|1-00:00:00|1'"
Put = Callable[[str, str], Path]


def changed(job: Job, **typed: object) -> Job:
    """The job with settings of its site replaced: slurm__partition="gpu"."""
    site = override(job.site, {name.replace("__", "."): value for name, value in typed.items()})
    return Job(job.id, job.site_name, site, job.command, job.code, job.files)


def sent(job: Job, handle: str = "12") -> Sent:
    return Sent(
        id=job.id, site_name="here", site=job.site, handle=handle, command="methods", commit=None, sent="2026-11-30"
    )


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    return {each.what: each for each in checks}
