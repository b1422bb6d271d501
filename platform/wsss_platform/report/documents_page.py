"""The page of all documents, docs/documents.md: `python -m wsss_platform.report.documents_page >docs/documents.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from wsss_platform.config.document import Document
from wsss_platform.data.documents import ConvertedLabels, DataCheck, DataLists, DataTree
from wsss_platform.method.documents import MethodFields, MethodList
from wsss_platform.nets.documents import ImportedWeights
from wsss_platform.plan.documents import ComparisonPlan, MissingInputs, RunPlan
from wsss_platform.report.documents import ComparisonDocument, Doctor, Images, LeaderboardDocument
from wsss_platform.report.table import Table, columns
from wsss_platform.run.documents import RuleResult, RunDifference, RunResult
from wsss_platform.scores.documents import Summary
from wsss_platform.search.documents import SearchDocument, SearchPlan, StudyDocument, StudyPlan, TrialSearchDocument
from wsss_platform.sites.documents import (
    SiteList,
    SiteReport,
    SubmissionDocument,
    SubmissionList,
    SubmissionPlan,
)
from wsss_platform.upkeep.documents import Copy, Delivery, StoreClearance, StoreList, StoreVerification

DOCUMENTS: tuple[type[Document], ...] = (
    MissingInputs,
    RunPlan,
    RunResult,
    Summary,
    RuleResult,
    RunDifference,
    StudyPlan,
    StudyDocument,
    SearchPlan,
    SearchDocument,
    TrialSearchDocument,
    ComparisonPlan,
    ComparisonDocument,
    LeaderboardDocument,
    Images,
    MethodList,
    MethodFields,
    ImportedWeights,
    DataLists,
    DataCheck,
    ConvertedLabels,
    DataTree,
    StoreList,
    StoreVerification,
    StoreClearance,
    Copy,
    SubmissionPlan,
    SubmissionDocument,
    SubmissionList,
    Delivery,
    SiteList,
    SiteReport,
    Doctor,
)
"""In the order of the page."""
_HEAD = """# Documents

<!-- written by `python -m wsss_platform.report.documents_page >docs/documents.md`; do not edit -->

With `--json` every verb prints one JSON object on standard output. `schema` says which of the following it is and
`version` which version of that; both stand in every document and are left out below. Fields may be added under the same
version; a field that goes or means something else makes another version. A number that is none (not a number, infinite)
is null. All fields are always there. Parts that several documents share are at the end.

An error is one object, too, with the exit code of the command and a line for a person on standard error:

```json
{"error": {"code": "unknown-name", "message": "unknown method 'fbrr'; did you mean 'fbr'?",
           "field": null, "nearest": "fbr"}}
```

| code | exit code | meaning |
| --- | --: | --- |
| `input` | 2 | a setting, option, file or image is wrong; `field` names it |
| `unknown-name` | 2 | a name that does not exist; `nearest` is the nearest right one |
| `usage` | 2 | an option that there is not, or an argument that is missing |
| `run` | 1 | the run failed although the input was legal |
| `internal` | 1 | anything else; WSSS_TRACEBACK=1 shows where |
| `interrupted` | 130 | the user stopped it; the same command continues |

`field` and `nearest` are null where there is none. A verb that has printed its document before it fails
(`store verify`, `data check`, `doctor`) prints no second object.
"""


def page() -> str:
    """The page as Markdown."""
    schemas = [(one, one.json_schema()) for one in DOCUMENTS]
    parts: dict[str, Any] = {}
    sections = [_HEAD]
    for one, schema in schemas:
        for name, part in schema.get("$defs", {}).items():
            assert parts.setdefault(name, part) == part, f"two parts are called {name}"
        sections += [f"## {one.SCHEMA}\n\nVersion {one.VERSION}. {_words(schema)}\n", _fields(schema)]
    sections.append("# Parts\n")
    for name, schema in sorted(parts.items()):
        sections += [f"## {name}\n\n{_words(schema)}\n", _fields(schema)]
    return "\n".join(sections)


def _fields(schema: Mapping[str, Any]) -> str:
    stamps = ("schema", "version") if {"schema", "version"} <= set(schema.get("properties", {})) else ()
    rows = tuple(
        (f"`{name}`", _type(field), _words(field))
        for name, field in schema.get("properties", {}).items()
        if name not in stamps
    )
    return Table("", columns("field", "type", "meaning"), rows).to_markdown()


def _words(schema: Mapping[str, Any]) -> str:
    return " ".join(schema.get("description", "").split())


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a field in words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(one) for one in alternatives))
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: {', '.join(_type(one) for one in schema['prefixItems'])}"
    return "".join(_plain(schema))


def _plain(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type", "any")
    yield {"array": "list", "integer": "whole number", "string": "text", "boolean": "true or false"}.get(kind, kind)
    if kind == "array":
        yield f" of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        yield f" of {_type(schema['additionalProperties'])}"


if __name__ == "__main__":
    sys.stdout.write(page())
