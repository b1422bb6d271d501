"""Every table that a command prints, at 80 columns: no line is longer, and every cell is there in full.

The documents are filled with long but realistic values by the types of their fields.
"""

from __future__ import annotations

import dataclasses
import io
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from rich.console import Console

from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_platform.api.methods import method_fields, method_list
from wsss_platform.data.documents import DataCheck, DataLists
from wsss_platform.nets.documents import ImportedWeights
from wsss_platform.plan.documents import ComparisonPlan, RunPlan
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.documents import ComparisonDocument, Doctor
from wsss_platform.report.leaderboard import Group, Row
from wsss_platform.report.table import Table, columns
from wsss_platform.report.tables import (
    comparison,
    data,
    doctor,
    leaderboard,
    methods,
    run,
    search,
    store,
    study,
    weights,
)
from wsss_platform.report.terminal import rendered
from wsss_platform.run.documents import RuleResult, RunDifference
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.scores.documents import Summary
from wsss_platform.search.documents import SearchDocument, StudyReport, StudyRow
from wsss_platform.search.space_file import load_space
from wsss_platform.upkeep.documents import StoreClearance, StoreList

ROOT = Path(__file__).parents[3]
WORDS: Mapping[str, str] = {
    "run": "fbr_cam-voc12-train_aug-val-9f31c2ab77de",
    "key": "9f31c2ab77de" * 5 + "9f31",
    "label": "ours=fbr_cam,loss.negative_regions=0.25",
    "stage": "train:classify-and-refine",
    "list": "train_aug:held-out-16",
    "split": "train_aug:held-out-16",
    "list_name": "train_aug:held-out-16",
    "file": "VOCdevkit/VOC2012/SegmentationClassAug/2007_000032.png",
    "folder": "wsss-storage/comparisons/fbr_cam-voc12-train_aug-val-9f31c2ab77de",
    "at": "background",
    "selection": "train ground truth",
    "date": "2026-11-29",
    "hash": "5806e77cd80f",
    "model": "CLIP ViT-B/16",
}
"""Field -> a value as long as those of photographs are."""
EFFECTS = ("objects found", "plain parts found", "context taken", "background taken", "border found")
CLASSES = ("background", "pottedplant", "diningtable", "tvmonitor")


def filled(kind: Any, name: str = "") -> Any:
    """A value of a type, as long as realistic ones are."""
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return filled(next(each for each in given if each is not type(None)), name)
    if origin is typing.Literal:
        return given[-1]
    if origin is typing.Annotated:
        return filled(given[0], name)
    if origin is tuple:
        return tuple(filled(each, name) for each in given if each is not Ellipsis) * (3 if Ellipsis in given else 1)
    if origin in (list, Sequence):
        return [filled(given[0], name)] * 2
    if origin in (dict, Mapping):
        names = (
            EFFECTS if name == "effects" else CLASSES if "class" in name else ("loss.negative_regions", "maps.scales")
        )
        return {key: filled(given[1], name) for key in names}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_validate({key: filled(one.annotation, key) for key, one in kind.model_fields.items()})
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{one.name: filled(hints[one.name], one.name) for one in dataclasses.fields(kind)})
    plain = {bool: True, int: 10582, float: 0.123456789, Any: "constant"}
    return plain[kind] if kind in plain else WORDS.get(name, f"{name}-of-train_aug-2026-11")


def printed(table: Table, width: int = 80) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(rendered(table))
    return stream.getvalue().splitlines()


def letters(text: str) -> str:
    """Without blanks and lines, which folding changes."""
    return "".join(sign for sign in text if not sign.isspace() and sign not in "│┃┏┓┗┛━┳┻╇┡┩└┘┴┬├┤┼─╷╵┢╈╉╀")


def check(table: Table) -> None:
    lines = printed(table)
    assert max(map(len, lines)) <= 80, "\n".join(lines)
    assert "…" not in "\n".join(lines), "\n".join(lines)
    shown = sorted(letters("".join(lines)))
    cells = [
        table.title,
        *(one.name for one in table.columns),
        *(cell for row in (*table.rows, *table.totals) for cell in row),
    ]
    wanted = sorted(letters("".join(cells)))
    assert shown == wanted, "\n".join(lines)


def rows_of_the_leaderboard() -> list[Table]:
    row, protocol = filled(Row), filled(Protocol)
    return leaderboard.leaderboard_tables([Group(key="9f31c2ab77de", protocol=protocol, rows=(row, row))])


def axes() -> Table:
    space = load_space(ROOT / "search_spaces" / "rcm_mam.toml", RcmMamConfig())
    return study.axes_table(space.axes)


def comparison_of_rows() -> Table:
    row = StudyRow(
        row="default settings", method=WORDS["run"], trial=10, miou=31.25, difference=-12.34, seconds=12345.6
    )
    row = row.model_copy(update={"low": -16.78, "high": -10.12})
    rows = [row.model_copy(update={"row": name}) for name in ("baseline", "host", "default settings", "best trial")]
    return study.comparison_table(rows, filled(StudyReport))


def trials() -> list[Table]:
    row = dataclasses.replace(filled(TrialRow), values={"accuracy": 0.61234, "seconds": 12345.6, "memory": 3.25})
    row = dataclasses.replace(row, reason="its driver died 3 times before it had finished one more epoch")
    return [study.trials_table(WORDS["run"], [row, row], "masks"), comparison_of_rows()]


TABLES: Mapping[str, Callable[[], Any]] = {
    "plan": lambda: run.run_plan(filled(RunPlan)),
    "score": lambda: run.score_table(WORDS["run"], filled(Summary)),
    "rule": lambda: run.rule_result(filled(RuleResult)),
    "difference": lambda: run.difference_result(filled(RunDifference)),
    "comparison plan": lambda: comparison.comparison_plan(filled(ComparisonPlan)),
    "comparison": lambda: comparison.comparison_tables(filled(ComparisonDocument)),
    "leaderboard": rows_of_the_leaderboard,
    "trials": trials,
    "axes": axes,
    "search": lambda: search.search_result(filled(SearchDocument), WORDS["run"]),
    "splits": lambda: data.lists_table("voc12", filled(DataLists)),
    "check": lambda: data.check_result(filled(DataCheck)),
    "store list": lambda: store.list_result(filled(StoreList)),
    "store gc": lambda: store.clearance_result(filled(StoreClearance)),
    "doctor": lambda: doctor.doctor_result(filled(Doctor)),
    "methods": lambda: methods.method_table(method_list()),
    "settings": lambda: methods.field_table(method_fields("rcm_mam")),
    "weights": lambda: weights.weights_lines(filled(ImportedWeights)),
}


def tables(made: Any) -> Iterator[Table]:
    for one in made if isinstance(made, list) else [made]:
        if isinstance(one, Table):
            yield one


@pytest.mark.parametrize("name", TABLES)
def test_it_fits_80_columns(name: str) -> None:
    found = list(tables(TABLES[name]()))
    assert found or name == "weights"
    for table in found:
        check(table)


def test_a_table_that_fits_keeps_its_frame() -> None:
    lines = printed(Table("", columns("a", "b"), (("1", "2"),)))
    assert any("┃" in line for line in lines)


def test_a_long_cell_is_folded_and_not_cut() -> None:
    lines = printed(Table("", columns("name", right=("number",)), (("x" * 200, "12.34"),)), width=40)
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 200
    assert "12.34" in "".join(lines), "numbers are not broken for the sake of words"
