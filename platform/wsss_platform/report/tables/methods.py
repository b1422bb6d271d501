"""Methods and their settings."""

from __future__ import annotations

from wsss_platform.method.documents import MethodFields, MethodList
from wsss_platform.report.table import Table, columns


def method_table(document: MethodList) -> Table:
    """A line for each method."""
    rows = tuple((one.name, one.title, one.paper, ", ".join(one.presets)) for one in document.methods)
    return Table("", columns("method", "what", "paper", "presets"), rows)


def field_table(document: MethodFields) -> Table:
    """A line for each setting of one."""
    rows = tuple((one.field, str(one.default), one.meaning) for one in document.fields)
    return Table(f"{document.method}: {document.title}", columns("setting", "default", "meaning"), rows)
