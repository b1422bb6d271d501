"""Tables for the terminal, by rich. No cell is cut: one that is too long continues in the next line."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from wsss_platform.report.table import Alert, Shown, Table


@dataclass(frozen=True)
class Fitted:
    """A table in the width that there is: framed where it fits, else without a frame, cells folded."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        framed = _framed(self.table)
        natural = Measurement.get(console, options.update(width=_ANY, max_width=_ANY), framed).maximum
        yield framed if natural <= options.max_width else _folded(self.table, options.max_width)


_ANY = 10_000
"""More columns than a terminal has."""


def rendered(item: Shown) -> Fitted | Text:
    """For rich's console. Brackets and colons are text."""
    if isinstance(item, Table):
        return Fitted(item)
    return Text(item.text, "red") if isinstance(item, Alert) else Text(item)


def _framed(table: Table) -> RichTable:
    found = RichTable(title=_title(table), title_justify="left")
    if table.wide:
        found.box, found.padding = SIMPLE_HEAD, (0, 1, 0, 0)
    for column in table.columns:
        found.add_column(Text(column.name), justify=column.align, overflow="fold")
    return _filled(found, table)


def _folded(table: Table, width: int) -> RichTable:
    """Without a frame; every column as wide as `widths` says."""
    found = RichTable(title=_title(table), title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column, wide in zip(table.columns, widths(table, width - len(table.columns) + 1), strict=True):
        found.add_column(Text(column.name), justify=column.align, overflow="fold", width=wide)
    return _filled(found, table)


def widths(table: Table, room: int) -> list[int]:
    """Widths of columns that share some room, at least 1 each: no more than its longest cell for any, headings and
    numbers unbroken where that is possible, and the rest of the room for the columns of words alike.
    """
    cells = [(column.name, *(row[i] for row in (*table.rows, *table.totals))) for i, column in enumerate(table.columns)]
    most = [max(1, *map(len, each)) for each in cells]
    whole = [each[:1] if column.align == "left" else each for each, column in zip(cells, table.columns, strict=True)]
    least = [max((len(word) for text in each for word in text.split()), default=1) for each in whole]
    if sum(least) > room:
        return _level([1] * len(least), least, room)
    return _level(least, most, room)


def _level(least: list[int], most: list[int], room: int) -> list[int]:
    """Between least and most: all at one height, the highest at which they fit the room."""
    found = least
    for height in range(1, max(most) + 1):
        raised = [min(max(low, height), high) for low, high in zip(least, most, strict=True)]
        if sum(raised) > room:
            break
        found = raised
    return found


def _title(table: Table) -> Text | None:
    return Text(table.title, "table.title", overflow="fold") if table.title else None


def _filled(found: RichTable, table: Table) -> RichTable:
    for row in table.rows:
        found.add_row(*map(Text, row))
    if table.totals:
        found.add_section()
    for place, row in enumerate(table.totals):
        found.add_row(*map(Text, row), style=None if place else "bold")
    return found
