"""Documents: what a verb prints with `--json`, and what lies as JSON on disk. Each names its schema and version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A group of fields inside a document. A field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Document(Part):
    """One JSON object. Fields may be added under the same version; a field that goes or means something else makes
    another version."""

    SCHEMA: ClassVar[str]
    """Such as "wsss-platform/run-plan"."""
    VERSION: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data that begins with schema and version; a number that is none (nan, inf) is None."""
        fields: dict[str, Any] = _finite(self.model_dump(mode="json", by_alias=True))
        return {"schema": self.SCHEMA, "version": self.VERSION, **fields}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of what `to_json` gives."""
        schema = cls.model_json_schema(mode="serialization")
        stamps = {
            "schema": {"const": cls.SCHEMA, "type": "string", "description": "Name of this schema."},
            "version": {"const": cls.VERSION, "type": "integer", "description": "Of this schema."},
        }
        schema["properties"] = stamps | schema.get("properties", {})
        schema["required"] = list(schema["properties"])  # every field is always written
        return schema


def _finite(value: Any) -> Any:
    """Plain data with None in place of nan and inf."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value
