"""A table as text in cells: made once, shown in the terminal, in Markdown, as CSV or as plain data."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it."""

    name: str
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns."""

    title: str
    """In a line above; may be empty."""
    columns: tuple[Column, ...]
    rows: tuple[Cells, ...]
    totals: tuple[Cells, ...] = ()
    """Rows below the others that sum them up; the first stands out."""
    wide: bool = False
    """Has so many columns that a narrow terminal must fold the cells."""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in (*self.rows, *self.totals)), self.title

    def to_markdown(self) -> str:
        """The title, an empty line and the table."""
        rules = ["--:" if column.align == "right" else "---" for column in self.columns]
        lines = [_line(column.name for column in self.columns), _line(rules)]
        lines += [_line(row) for row in (*self.rows, *self.totals)]
        title = [_escaped(self.title), ""] if self.title else []
        return "\n".join([*title, *lines]) + "\n"

    def to_csv(self) -> str:
        """A line of headings, then one for each row; without the title."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([*self.rows, *self.totals])
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Plain data: "title", "columns" (each "name" and "align"), "rows" and "totals" (lists of cells)."""
        return {
            "title": self.title,
            "columns": [asdict(column) for column in self.columns],
            "rows": [list(row) for row in self.rows],
            "totals": [list(row) for row in self.totals],
        }


@dataclass(frozen=True)
class Alert:
    """A line that must be seen."""

    text: str


Shown = Table | Alert | str
"""What a person is shown of a result, one below the other."""


def columns(*left: str, right: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of words, then columns of numbers."""
    return (*(Column(name) for name in left), *(Column(name, "right") for name in right))


def aligned(names: Iterable[str], left: Iterable[str]) -> tuple[Column, ...]:
    """Columns in this order, of numbers but for those that are named in `left`."""
    words = set(left)
    return tuple(Column(name, "left" if name in words else "right") for name in names)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
