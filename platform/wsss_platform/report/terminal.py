"""Tables for the terminal, by rich."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from wsss_platform.report.table import Alert, Shown, Table


def rendered(item: Shown) -> RichTable | Text:
    """For rich's console. Brackets and colons are text."""
    if isinstance(item, Table):
        return _table(item)
    return Text(item.text, "red") if isinstance(item, Alert) else Text(item)


def _table(table: Table) -> RichTable:
    title = Text(table.title, "table.title") if table.title else None
    found = RichTable(title=title, title_justify="left")
    if table.wide:
        found.box, found.padding = SIMPLE_HEAD, (0, 1, 0, 0)
    for column in table.columns:
        overflow = {"overflow": "fold", "min_width": max(map(len, column.name.split()))} if table.wide else {}
        found.add_column(Text(column.name), justify=column.align, **overflow)  # type: ignore[arg-type]
    for row in table.rows:
        found.add_row(*map(Text, row))
    if table.totals:
        found.add_section()
    for place, row in enumerate(table.totals):
        found.add_row(*map(Text, row), style=None if place else "bold")
    return found
