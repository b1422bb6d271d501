"""One command to any cluster: `submit`, and what became of it."""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.errors import InputError, RunError, unknown

if TYPE_CHECKING:
    from wsss_platform.sites.documents import (
        SiteList,
        SiteReport,
        SubmissionDocument,
        SubmissionList,
        SubmissionPlan,
    )
    from wsss_platform.sites.job import Job
    from wsss_platform.sites.kinds import Check
    from wsss_platform.sites.ledger import Sent
    from wsss_platform.upkeep.documents import Delivery

log = logging.getLogger(__name__)

VERBS = (
    "train", "tune", "compare", "search", "maps", "masks", "score", "import-maps",
    "import-masks", "data", "store", "methods", "leaderboard", "doctor",
)  # fmt: skip
"""What can be sent."""
TYPED = {
    "nodes": "resources.nodes",
    "gpus_per_node": "resources.gpus_per_node",
    "cpus_per_node": "resources.cpus_per_node",
    "memory_per_node": "resources.memory_per_node",
    "time_limit": "resources.time_limit",
    "gpus_per_worker": "resources.gpus_per_worker",
    "partition": "slurm.partition",
    "account": "slurm.account",
}
"""Options of `submit` -> the setting of the site that they stand in for."""


class Submission:
    """A job that was sent to a site. Its id is known on this machine also after a restart."""

    def __init__(self, sent: Sent) -> None:
        """
        Args:
            sent: what was written down of it.
        """
        self.sent = sent

    @property
    def id(self) -> str:
        """What every later call names it by."""
        return self.sent.id

    def status(self) -> SubmissionDocument:
        """How it does: "queued", "running", "finished", "failed", "cancelled" or "unknown", with the site's words."""
        from wsss_platform.sites.documents import SubmissionDocument
        from wsss_platform.sites.kinds import client_of

        found = client_of(self.sent.site.kind).status(self.sent)
        return SubmissionDocument.of(self.sent, found.state, found.said)

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Lines of its output; with `follow` until it ends."""
        from wsss_platform.sites.kinds import client_of

        return client_of(self.sent.site.kind).logs(self.sent, follow)

    def cancel(self) -> None:
        """End it. What it has finished stays in the storage folder."""
        from wsss_platform.sites.kinds import client_of

        client_of(self.sent.site.kind).cancel(self.sent)

    def fetch(self, storage: str | Path = "wsss-storage", everything: bool = False, progress: bool = True) -> Delivery:
        """Copy its records, scores, figures and pages into a storage folder here; nothing of a run is overwritten.

        Args:
            storage: the storage folder here.
            everything: weights, maps and masks, too.
            progress: a spinner on standard error.

        Raises:
            InputError: it has made nothing yet, or its storage folder cannot be reached from here.
            RunError: a copy is damaged.
        """
        from wsss_platform.report.progress import status
        from wsss_platform.store.artefacts import Store
        from wsss_platform.upkeep.delivery import pull_submission
        from wsss_platform.upkeep.mirror import Mirror

        with (
            tempfile.TemporaryDirectory(prefix="wsss-fetch-") as folder,
            status(f"from {self.sent.site_name}", progress),
        ):
            return pull_submission(Store(Path(storage)), self.id, Mirror(self._delivered(Path(folder), everything)))

    def _delivered(self, folder: Path, everything: bool) -> str:
        """Where its delivery lies: what it has pushed itself, else a copy that is made now in `folder`."""
        from wsss_platform.api._store import push_submission
        from wsss_platform.sites.fetching import copied_by_login

        site = self.sent.site
        if site.remote:
            if everything:
                raise InputError(
                    f"--all: jobs of {self.sent.site_name} push records, scores and figures to {site.remote}; weights, "
                    "maps and masks stay in its storage folder",
                    field="--all",
                )
            return site.remote
        if Path(self.sent.folder).is_dir():
            push_submission(self.id, str(folder), site.storage, everything, progress=False)
            return str(folder)
        if site.slurm.login:
            copied_by_login(self.sent, folder, everything)
            return str(folder)
        raise InputError(
            f"site {self.sent.site_name}: its storage folder {site.storage} is not seen from here, and it names no "
            "`remote` that jobs push to",
            field="remote",
        )

    def __repr__(self) -> str:
        return f"<submission {self.id!r} on {self.sent.site_name!r}>"


@dataclass(frozen=True)
class PlannedSubmission:
    """A job that can be sent."""

    job: Job
    checks: tuple[Check, ...]

    def document(self) -> SubmissionPlan:
        """What would be sent. Sends nothing."""
        from wsss_platform.sites.documents import SiteCheck, SubmissionPlan
        from wsss_platform.sites.kinds import client_of

        job, client = self.job, client_of(self.job.site.kind)
        return SubmissionPlan(
            site=job.site_name,
            kind=job.site.kind,
            command=shlex.join(["wsss-platform", *job.command]),
            folder=job.folder,
            commits={tree.name: tree.commit for tree in job.code.trees},
            untracked=tuple(name for tree in job.code.trees for name in tree.untracked),
            sent_files=tuple(job.files),
            size=len(job.archive()),
            files=client.files(job),
            commands=tuple(client.commands(job)),
            checks=tuple(map(SiteCheck.of, self.checks)),
        )

    def send(self) -> Submission:
        """Send it, and write it down.

        Raises:
            InputError: a check found something wrong, or the site refuses the job.
            RunError: the site cannot be reached.
        """
        from wsss_platform.sites.kinds import client_of
        from wsss_platform.sites.ledger import forget, note_sent

        wrong = [f"{check.what}: {check.said}" for check in self.checks if check.state == "wrong"]
        if wrong:
            raise InputError(f"site {self.job.site_name}: {'; '.join(wrong)}; nothing was sent")
        note_sent(self.job, self.job.id)  # first: what is sent has an id, whatever happens to this process
        try:
            handle = client_of(self.job.site.kind).submit(self.job)
        except InputError:
            forget(self.job.id)
            raise
        except RunError as error:
            raise RunError(f"{error}; `wsss-platform submit status {self.job.id}` says whether it was sent") from None
        return Submission(note_sent(self.job, handle))


def plan_submission(
    command: Sequence[str], on: str, typed: Mapping[str, Any] | None = None, *, dirty: bool = False
) -> PlannedSubmission:
    """What `submit` does before it sends anything.

    Args:
        command: verb and arguments, without the program.
        on: name of a site, or its file.
        typed: options by the names of `TYPED`; None: the site's own.
        dirty: send changes of tracked files, too.
    """
    from wsss_platform.sites.code import frozen
    from wsss_platform.sites.finding import find_site
    from wsss_platform.sites.fitting import fitted, with_typed
    from wsss_platform.sites.job import Job, new_id, with_files
    from wsss_platform.sites.kinds import client_of
    from wsss_platform.sites.words import check_words

    name, _, site = find_site(on)
    site = with_typed(site, {TYPED[option]: value for option, value in (typed or {}).items()})
    if not command:
        raise InputError("no command; expected one after --, such as: -- tune fbr --trials 20", field="--")
    if command[0] not in VERBS:
        raise unknown("verb", command[0], VERBS, "--")
    here = Path.cwd()
    check_words(command, here)
    _check_method(command)
    job = Job(new_id(name), name, site, fitted(command, site.resources), frozen(here, dirty))
    said, files = with_files(job.command, here, job.folder)
    job = replace(job, command=said, files=files)
    return PlannedSubmission(job, tuple(client_of(site.kind).check(job)))


def _check_method(command: Sequence[str]) -> None:
    """InputError for a method that there is not, with the nearest."""
    from wsss_platform.api.experiments import find_method

    if (
        command[0] in ("train", "tune")
        and len(command) > 1
        and not command[1].startswith("-")
        and ":" not in command[1]
    ):
        find_method(command[1])


def submit(
    command: str | Sequence[str], on: str, *, dirty: bool = False, **options: int | float | str | None
) -> Submission:
    """Send a command to a cluster.

    Args:
        command: verb and arguments, such as "tune fbr --trials 64" or a list of words.
        on: name of a site of `sites/` (shipped, or in ~/.config/wsss-platform), or the path of a site file.
        dirty: send the changes of tracked files beside the commit; without it they are an error.
        options: nodes, gpus_per_node, cpus_per_node, memory_per_node, time_limit, gpus_per_worker, partition or
            account, in place of the site's.

    Returns:
        The job: `.status()`, `.logs(follow=True)`, `.cancel()`, `.fetch()`.

    Raises:
        InputError: the command, the site or an option is wrong, tracked files have changes, or the site refuses the
            job. Nothing was sent then.
        RunError: the site cannot be reached.
    """
    for name in options:
        if name not in TYPED:
            raise unknown("option of submit", name, TYPED, name)
    words = shlex.split(command) if isinstance(command, str) else list(command)
    return plan_submission(words, on, options, dirty=dirty).send()


def open_submission(id: str) -> Submission:
    """A job that was sent from this machine.

    Args:
        id: of the job, as `submit` printed it.

    Raises:
        InputError: nothing of that id was sent (with the nearest).
    """
    from wsss_platform.sites.ledger import find_sent

    return Submission(find_sent(id))


def submissions() -> SubmissionList:
    """Every job that was sent from this machine, the last one first. No site is asked."""
    from wsss_platform.sites.documents import SubmissionDocument, SubmissionList
    from wsss_platform.sites.ledger import all_sent

    return SubmissionList(submissions=tuple(SubmissionDocument.of(sent) for sent in all_sent()))


def sites() -> SiteList:
    """The sites that are known by name."""
    from wsss_platform.sites.documents import SiteList
    from wsss_platform.sites.finding import known_sites, own_folder

    return SiteList(sites={name: str(path) for name, path in sorted(known_sites().items())}, own=str(own_folder()))


def check_site(on: str) -> SiteReport:
    """Say whether a site can be used and what is missing. Changes nothing there.

    Args:
        on: name of a site, or its file.
    """
    from wsss_platform.sites.documents import SiteCheck, SiteReport
    from wsss_platform.sites.finding import find_site
    from wsss_platform.sites.kinds import client_of

    name, file, site = find_site(on)
    checks = tuple(map(SiteCheck.of, client_of(site.kind).look(site)))
    ready = all(check.state != "wrong" for check in checks)
    return SiteReport(site=name, file=str(file), kind=site.kind, storage=site.storage, checks=checks, ready=ready)
