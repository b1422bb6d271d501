"""The one table, in its forms."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from wsss_platform.report.table import Alert, Column, Table, columns
from wsss_platform.report.terminal import rendered

TABLE = Table(
    "what [odd] it is",
    columns("name", right=("number",)),
    (("a|b", "1"), ("c:d", "[2]")),
    totals=(("mean", "1.5"), ("interval", "1..2")),
)


def shown(table: Table) -> str:
    stream = io.StringIO()
    Console(file=stream, width=60).print(rendered(table))
    return stream.getvalue()


def test_the_terminal_shows_brackets_and_colons_as_they_are() -> None:
    text = shown(TABLE)
    assert "what [odd] it is" in text
    for word in ("name", "number", "a|b", "c:d", "[2]", "mean", "1..2"):
        assert word in text
    assert text.index("c:d") < text.index("├") < text.index("mean"), "sums are set apart" if text.count("├") else ""


def test_a_line_and_an_alert_are_text() -> None:
    assert rendered("[x]:y:").plain == "[x]:y:"
    assert rendered(Alert("lost")).plain == "lost"


def test_markdown() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "what [odd] it is",
        "",
        "| name | number |",
        "| --- | --: |",
        "| a\\|b | 1 |",
        "| c:d | [2] |",
        "| mean | 1.5 |",
        "| interval | 1..2 |",
    ]


def test_csv() -> None:
    lines = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert lines == [["name", "number"], ["a|b", "1"], ["c:d", "[2]"], ["mean", "1.5"], ["interval", "1..2"]]


def test_plain_data() -> None:
    said = json.loads(json.dumps(TABLE.to_json()))
    assert said["columns"] == [{"name": "name", "align": "left"}, {"name": "number", "align": "right"}]
    assert said["rows"] == [["a|b", "1"], ["c:d", "[2]"]]
    assert said["totals"][0] == ["mean", "1.5"]


def test_a_row_of_another_length_is_a_fault() -> None:
    with pytest.raises(AssertionError):
        Table("", (Column("a"),), (("1", "2"),))
