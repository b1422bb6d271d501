"""Documents: stamped, free of nan, described on their page, and what verbs print is what their schemas say."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest

from the_command import valid
from wsss_platform.config.document import Document
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Difference, Gap, Origin
from wsss_platform.report.documents_page import DOCUMENTS, page
from wsss_platform.report.tables.comparison import comparison_markdown, comparison_result
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.documents import StudyDocument

ROOT = Path(__file__).parents[3]


class Example(Document):
    """For the tests."""

    SCHEMA: ClassVar[str] = "test/example"

    number: float | None
    """A number."""
    values: dict[str, Any]


def test_a_document_is_stamped_and_has_no_nan() -> None:
    one = Example(number=math.nan, values={"a": [1.5, math.inf], "b": {"c": -math.inf}})
    assert one.to_json() == {
        "schema": "test/example",
        "version": 1,
        "number": None,
        "values": {"a": [1.5, None], "b": {"c": None}},
    }
    schema = Example.json_schema()
    assert schema["properties"]["schema"]["const"] == "test/example"
    assert schema["properties"]["number"]["description"] == "A number."
    jsonschema.validate(one.to_json(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(one.to_json() | {"version": 2}, schema)


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")
    assert written == page(), "python -m wsss_platform.report.documents_page >docs/documents.md"


def test_every_document_is_on_the_page() -> None:
    sources = (ROOT / "platform").rglob("*.py")
    names = [re.findall(r'SCHEMA: ClassVar\[str\] = "(.+)"', path.read_text(encoding="utf-8")) for path in sources]
    found = [name for each in names for name in each]
    assert len(set(found)) == len(found), "two documents with one schema"
    assert set(found) == {one.SCHEMA for one in DOCUMENTS}
    assert all(f"## {name}\n" in page() for name in found)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.SCHEMA)
def test_schemas_are_schemas(kind: type[Document]) -> None:
    jsonschema.Draft202012Validator.check_schema(kind.json_schema())


def test_a_comparison_keeps_its_gaps(protocol: Protocol) -> None:
    variant = ComparedVariant(
        label="a",
        method="cam",
        seeds=(0,),
        mean_iou=0.5,
        mean_iou_by_seed=(0.5,),
        spread=None,
        thresholds=(0.3,),
        training_seconds=None,
        classes={"background": 0.9, "cat": None},
        effects={"context taken": None},
    )
    gap = {"value": 0.1, "low": 0.0, "high": 0.2, "wins": 0.9}
    none = dict.fromkeys(gap)
    effects = {"context taken": Gap(**none)}
    difference = Difference(label="b", against="a", mean_iou=Gap(**gap), effects=effects)
    one = ComparisonDocument(
        comparison="c",
        folder="f",
        at="best",
        rows=(variant, variant.model_copy(update={"label": "b"})),
        differences=(difference,),
        protocols={"a": protocol, "b": protocol},
        origin=Origin(date="2026-01-02", commit=None, version="1", recipe='verb = "compare"'),
    )
    said = valid(json.loads(json.dumps(one.to_json(), allow_nan=False)))
    assert said["differences"] == [{"label": "b", "against": "a", "mean_iou": gap, "effects": {"context taken": none}}]
    assert comparison_result(one)
    assert "| variant | mean IoU | context taken |" in comparison_markdown(one)
    assert "| b | +10.00 (+0.00..+20.00) | - |" in comparison_markdown(one)


def test_a_study_prints_the_lines_of_its_table() -> None:
    row = TrialRow(0, "complete", {"maps.scales": (0.5, 1.0)}, 0.5, 0.4, 0.3, {2: 0.1}, 7.0, "k", None)
    study = StudyDocument(
        study="s",
        folder="f",
        objective="masks",
        objectives=("accuracy",),
        front=(),
        selection="train ground truth",
        evaluations=2,
        comparison=(),
        report=None,
        inner=None,
        best=row,
        best_config=None,
        figure=None,
        trials=(row,),
    )
    said = valid(json.loads(json.dumps(study.to_json())))
    assert said["trials"] == [json.loads(json.dumps(vars(row)))]
