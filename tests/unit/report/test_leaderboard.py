"""The leaderboard ranks like with like, and says how little it knows."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from typing import Any

import pytest
from rich.console import Console

from wsss_platform.config.supervision import Knowledge
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.documents import LeaderboardDocument
from wsss_platform.report.leaderboard import rows
from wsss_platform.report.tables.leaderboard import (
    COLUMNS,
    cells,
    leaderboard_csv,
    leaderboard_markdown,
    leaderboard_tables,
    protocol_words,
)
from wsss_platform.report.terminal import rendered


def config(rate: float) -> dict[str, Any]:
    return {"train": {"learning_rate": rate}}


def other(protocol: Protocol, **changes: Any) -> Protocol:
    return protocol.model_copy(update=changes)


@pytest.fixture
def board(record: Any, protocol: Protocol, make_scores: Any) -> list[Any]:
    tuned = other(protocol, selection="train ground truth")
    return [
        record("cam-0", 0.40, seed=0),
        record("cam-1", 0.44, seed=1),
        record("fbr", 0.43, method="fbr", config=config(1.0)),
        record("fbr-crf", 0.60, method="fbr", protocol=other(protocol, crf="irn x10")),
        record("t-0", 0.45, kind="trial", study="s", method="fbr", config=config(1.0), protocol=tuned),
        record("t-1", 0.47, kind="trial", study="s", method="fbr", config=config(2.0), protocol=tuned),
        record("u-0", 0.46, kind="trial", study="u", method="fbr", config=config(2.0), protocol=tuned),
        record("broken", status="failed", reason="nan", scores=None),
        record("only-trained"),
    ]


def test_protocols_are_never_ranked_together(board: list[Any]) -> None:
    groups = rows(board)
    found = {group.protocol.crf + " " + group.protocol.selection: [row.runs for row in group.rows] for group in groups}
    assert found == {
        "none none": [("fbr",), ("cam-0", "cam-1")],
        "irn x10 none": [("fbr-crf",)],
        "none train ground truth": [("t-1",), ("u-0",)],
    }
    assert all(row.rank == place for group in groups for place, row in enumerate(group.rows, 1))


@pytest.mark.parametrize("field", list(Protocol.model_fields))
def test_any_other_protocol_field_makes_another_group(record: Any, protocol: Protocol, field: str) -> None:
    old = getattr(protocol, field)
    changed: dict[str, Any] = {"selection": "val ground truth", "label_gate": False}
    changed["supervision"] = (*protocol.supervision, Knowledge(kind="saliency"))
    new = changed.get(field, old + 1 if isinstance(old, int) else f"{old} x")
    groups = rows([record("a", 0.4), record("b", 0.5, protocol=other(protocol, **{field: new}))])
    assert [len(group.rows) for group in groups] == [1, 1]
    words = {protocol_words(group.protocol) for group in groups}
    assert len(words) == 2, f"{field} is not in the words of the protocol"


def test_seeds_of_one_config_are_one_row_with_their_spread(board: list[Any]) -> None:
    row = next(row for group in rows(board) for row in group.rows if row.runs == ("cam-0", "cam-1"))
    assert row.seeds == (0, 1)
    assert row.mean_iou == pytest.approx(0.42)
    assert row.spread == pytest.approx(0.04 / 2**0.5)  # sample standard deviation of two values
    assert row.best == pytest.approx(0.44)
    assert row.per_class == {"background": pytest.approx(0.42), "cat": pytest.approx(0.42), "dog": None}
    words = dict(zip(COLUMNS, cells(row), strict=True))
    assert words["random seeds"] == "2 (0, 1)"
    assert words["mIoU fixed"] == "42.0 ± 2.8"
    assert words["mIoU best (oracle)"] == "44.0 ± 2.8 @ 0.35"


def test_one_seed_says_one_seed_and_claims_no_spread(record: Any) -> None:
    (group,) = rows([record("a", 0.4123, seed=5)])
    (row,) = group.rows
    assert (row.spread, row.best_spread, row.seeds) == (None, None, (5,))
    words = dict(zip(COLUMNS, cells(row), strict=True))
    assert (words["random seeds"], words["mIoU fixed"], words["time"]) == ("1 (5)", "41.2", "1 min 12 s")


def test_the_same_seed_twice_counts_once_and_the_later_wins(record: Any) -> None:
    first = record("a", 0.40, started="2026-01-01T00:00:00+00:00")
    again = record("b", 0.41, started="2026-01-02T00:00:00+00:00")
    for order in ([first, again], [again, first]):
        ((row,),) = (group.rows for group in rows(order))
        assert (row.runs, row.mean_iou, row.spread) == (("b",), 0.41, None)


def test_a_study_shows_its_best_trial_and_out_of_how_many(board: list[Any]) -> None:
    tuned = next(group for group in rows(board) if group.protocol.selection == "train ground truth")
    assert [row.selection for row in tuned.rows] == [
        "train ground truth, best of 2 trials",
        "train ground truth, best of 1 trial",
    ]
    every = next(group for group in rows(board, all_trials=True) if group.protocol.selection == "train ground truth")
    assert [row.runs for row in every.rows] == [("t-1",), ("u-0",), ("t-0",)]


def test_equal_means_share_a_rank(record: Any) -> None:
    runs = [
        record(name, mean, config=config(place))
        for place, (name, mean) in enumerate([("a", 0.5), ("b", 0.5), ("c", 0.4)])
    ]
    assert [row.rank for row in rows(runs)[0].rows] == [1, 1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_the_board_does_not_depend_on_the_order_of_records(board: list[Any], seed: int) -> None:
    shuffled = random.Random(seed).sample(board, len(board))
    assert rows(shuffled) == rows(board)
    for group in rows(shuffled):
        means = [row.mean_iou for row in group.rows]
        assert means == sorted(means, reverse=True)


def markdown_tables(text: str) -> dict[str, list[list[str]]]:
    """Group key -> lines of cells, as a Markdown reader sees them."""
    tables: dict[str, list[list[str]]] = {}
    for part in re.split(r"^### Protocol ", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        tables[part.split()[0]] = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line] for line in split]
    return tables


def test_markdown_holds_every_cell(board: list[Any], record: Any) -> None:
    groups = rows([*board, record("odd", 0.1, method="a|b\\", config=config(9.0))])
    tables = markdown_tables(leaderboard_markdown(groups))
    assert list(tables) == [group.key for group in groups]
    for group in groups:
        head, rule, *body = tables[group.key]
        assert head == list(COLUMNS)
        assert set(rule) == {"---", "--:"}
        assert body == [list(cells(row)) for row in group.rows]
        assert protocol_words(group.protocol) in leaderboard_markdown(groups)


def test_csv_holds_full_precision_and_the_protocol(board: list[Any]) -> None:
    groups = rows(board)
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(groups))))
    flat = [(group, row) for group in groups for row in group.rows]
    assert len(lines) == len(flat)
    for line, (group, row) in zip(lines, flat, strict=True):
        assert float(line["mean_iou"]) == row.mean_iou
        assert (line["spread"] == "") == (row.spread is None)
        assert line["runs"].split() == list(row.runs)
        assert line["group"] == group.key
        assert {name: line[f"protocol.{name}"] for name in Protocol.model_fields} == {
            name: str(value) for name, value in group.protocol.fields_in_words().items()
        }


def test_json_survives_a_round_trip(board: list[Any]) -> None:
    groups = rows(board)
    document = LeaderboardDocument.of(groups, ())
    said = json.loads(json.dumps(document.to_json(), allow_nan=False))
    fields = {name: said[name] for name in LeaderboardDocument.model_fields}
    assert LeaderboardDocument.model_validate(fields) == document
    read = said["groups"]
    assert [Protocol.model_validate(group["protocol"]).group() for group in read] == [group.key for group in groups]
    assert [row["mean_iou"] for group in read for row in group["rows"]] == [
        row.mean_iou for group in groups for row in group.rows
    ]


def test_the_terminal_shows_one_table_for_each_protocol_with_its_words(board: list[Any]) -> None:
    groups = rows(board)
    stream = io.StringIO()
    console = Console(file=stream, width=400)
    tables = leaderboard_tables(groups)
    assert len(tables) == len(groups)
    for table in tables:
        console.print(rendered(table))
    text = " ".join(stream.getvalue().split())
    for group in groups:
        assert protocol_words(group.protocol) in text
        assert f"[{group.key}]" in text
    assert text.count("1 (0)") == 4
    assert "42.0 ± 2.8" in text


def test_an_empty_board_is_empty_everywhere() -> None:
    assert (rows([]), leaderboard_markdown([]), leaderboard_tables([])) == ([], "", [])
    assert leaderboard_csv([]).count("\n") == 1
