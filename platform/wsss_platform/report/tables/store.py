"""The storage folder: what lies there, whether it is whole, what goes, what was copied."""

from __future__ import annotations

from collections.abc import Sequence

from wsss_platform.config.words import counted
from wsss_platform.report.table import Shown, Table, columns
from wsss_platform.upkeep.documents import Copy, Delivery, StoreClearance, StoreEntry, StoreList, StoreVerification


def list_result(document: StoreList) -> list[Shown]:
    """A line for each entry, and the sum."""
    rows = []
    for one in document.entries:
        kind = one.kind if one.state == "finished" else f"{one.kind} {one.state}"
        reason = f"{one.reason} (gc takes it)" if one.goes else one.reason
        sizes = (size_words(one.bytes), _age(one.age_seconds))
        rows.append((kind, one.key[:12], _maker(one), one.split or "-", *sizes, reason, _few(one.referred_by)))
    names = ("kind", "key", "made by", "split", "size", "age", "kept because", "referred to by")
    total = f"{size_words(sum(one.bytes for one in document.entries))} in {counted(len(document.entries), 'place')}"
    return [Table("", columns(*names), tuple(rows)), f"{total} under {document.storage}"]


def verification_lines(document: StoreVerification) -> list[Shown]:
    """Remarks, what is damaged, and how many."""
    damaged = [f"damaged: {one.reason}" for one in document.damaged]
    return [
        *document.remarks,
        *damaged,
        f"{counted(document.entries, 'entry', 'entries')} read, {counted(len(damaged), 'problem')}",
    ]


def clearance_result(document: StoreClearance) -> list[Shown]:
    """A line for each entry that goes, and the sum."""
    rows = []
    for one in document.entries:
        what = (f"{one.kind} {one.state}", one.key[:12], _maker(one), size_words(one.bytes), _age(one.age_seconds))
        rows.append((*what, one.reason, _few(one.referred_by)))
    names = ("kind", "key", "made by", "size", "age", "because", "belongs to")
    remade = sum(bool(one.referred_by) and one.state == "finished" for one in document.entries)
    does = "deleted" if document.deleted else "would delete"
    words = [f"{does} {len(rows)} of {document.looked_at}, {size_words(document.bytes)}"]
    if remade:
        words.append(f"{remade} of them belong to runs, whose weights stay: `masks RUN` makes them again")
    words += [f"in use by now, kept: {name}" for name in document.in_use]
    return [*([Table("", columns(*names), tuple(rows))] if rows else []), *words]


def delivery_line(document: Delivery, to: str = "") -> str:
    """What a job has made, copied."""
    folders = f", {counted(len(document.folders), 'folder')} of figures and pages" if document.folders else ""
    where = f"to {to}" if to else f"to {document.remote}"
    return (
        f"submission {document.submission}: {counted(len(document.runs), 'run')}{folders}, "
        f"{size_words(document.size)}, {where}"
    )


def copy_lines(document: Copy) -> list[Shown]:
    """What was copied, what was there, what is lacking."""
    where = f"{'to' if document.away else 'from'} {document.remote}"
    source = "in the store" if document.away else "at the mirror"
    return [
        f"run {document.run}: {counted(document.files, 'file')}, {size_words(document.size)}, {where}",
        *(f"{stage}: there already" for stage in document.there),
        *(f"{stage}: not {source} (not made, or dropped)" for stage in document.lacking),
    ]


def size_words(size: int) -> str:
    """Bytes for a person, such as "3.2 MB"."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _maker(entry: StoreEntry) -> str:
    return " ".join(name for name in (entry.method, entry.stage) if name) or "-"


def _few(owners: Sequence[str]) -> str:
    more = f" and {len(owners) - 2} more" if len(owners) > 2 else ""
    return ", ".join(owners[:2]) + more or "-"
