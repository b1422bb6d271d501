"""Jobs that are sent to sites, and the sites."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from wsss_platform.config.words import counted
from wsss_platform.report.table import Alert, Shown, Table, columns
from wsss_platform.report.tables.store import size_words
from wsss_platform.sites.code import Tree
from wsss_platform.sites.documents import (
    SiteCheck,
    SiteList,
    SiteReport,
    SubmissionDocument,
    SubmissionList,
    SubmissionPlan,
)

_CHANGED = "diff --git "
SHOWN = 12
"""Names that are listed."""


def plan_result(document: SubmissionPlan) -> list[Shown]:
    """The files, the commands, what goes along, the checks."""
    lines: list[Shown] = []
    for path, text in document.files.items():
        lines += [f"--- {path}", text.rstrip("\n")]
    lines += ["--- commands", *document.commands]
    code = ", ".join(f"{name} at {commit[:12]}{commit[40:]}" for name, commit in document.commits.items())
    lines.append(f"--- code: {code or 'what the environment has installed'}, {size_words(document.size)}")
    if document.sent_files:
        lines.append(f"files that go along: {', '.join(document.sent_files)}")
    if document.untracked:
        lines.append(Alert(f"untracked, not sent: {_few(document.untracked)}"))
    return [*lines, _checks(document.checks), "nothing was sent (--dry-run)"]


def along_lines(trees: Sequence[Tree], files: Collection[str]) -> list[Shown]:
    """What goes along with a command, and what does not."""
    lines: list[Shown] = []
    for tree in trees:
        changes = f" with {counted(tree.diff.count(_CHANGED), 'changed file')}" if tree.diff else ""
        lines.append(f"code: {tree.name} at {tree.commit[:12]}{changes}")
        if tree.untracked:
            lines.append(Alert(f"untracked, not sent: {_few(tree.untracked)}"))
    return [*lines, *([f"files that go along: {', '.join(files)}"] if files else [])]


def sent_lines(document: SubmissionDocument) -> list[Shown]:
    """A job that was sent, and what to do next."""
    code = f", code of {document.commit[:12]}{document.commit[40:]}" if document.commit else ""
    return [
        f"{document.id}: {document.command}",
        f"sent to {document.site} ({document.kind}) as {document.handle}{code}",
        f"next: wsss-platform submit logs {document.id} -f",
    ]


def status_lines(document: SubmissionDocument) -> list[Shown]:
    """How a job does."""
    said = f" ({document.said})" if document.said else ""
    after = {"finished": "fetch", "failed": "logs"}.get(document.state or "")
    following = [f"next: wsss-platform submit {after} {document.id}"] if after else []
    return [f"{document.id}: {document.state}{said}", *following]


def list_result(document: SubmissionList) -> list[Shown]:
    """A line for each job."""
    if not document.submissions:
        return ["nothing was sent from this machine"]
    rows = tuple((one.id, one.site, one.sent, one.command) for one in document.submissions)
    return [Table("", columns("id", "site", "sent", "command"), rows)]


def sites_result(document: SiteList) -> list[Shown]:
    """A line for each site."""
    return [Table("", columns("site", "file"), tuple(document.sites.items())), f"your own go into {document.own}"]


def report_result(document: SiteReport) -> list[Shown]:
    """Every check, then the verdict."""
    wrong = sum(check.state == "wrong" for check in document.checks)
    skipped = sum(check.state == "skipped" for check in document.checks)
    end = f"not ready: {counted(wrong, 'problem')}, see above" if wrong else "ready"
    more = f"; {counted(skipped, 'check')} skipped, as they cannot be made from here" if skipped else ""
    title = f"{document.site}: {document.kind}, storage {document.storage}"
    return [Table(title, columns("check", "state", "found"), _rows(document.checks)), end + more]


def _checks(checks: Sequence[SiteCheck]) -> Shown:
    return Table("", columns("check", "state", "found"), _rows(checks)) if checks else "no checks"


def _rows(checks: Sequence[SiteCheck]) -> tuple[tuple[str, ...], ...]:
    return tuple((check.what, check.state, check.said) for check in checks)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
