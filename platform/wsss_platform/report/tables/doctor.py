"""What this machine has."""

from __future__ import annotations

from wsss_platform.report.documents import Doctor
from wsss_platform.report.table import Shown, Table, columns


def doctor_result(document: Doctor) -> list[Shown]:
    """A line for each item."""
    rows = tuple(
        (one.name, f"{one.state}, needed" if one.name in document.lacking else one.state, one.found, one.meaning)
        for one in document.items
    )
    table = Table("", columns("item", "state", "found", "meaning"), rows)
    return [table, *(["everything needed is there"] if document.complete else [])]
