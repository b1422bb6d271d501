"""Whether a RayJob has only fields that KubeRay's resource definition (CRD) has, each of the right type.

The field list is `cluster/kuberay/rayjob_crd_fields.json`, a JSON schema. Only the words of JSON Schema that it uses
are understood here, so that no package is needed for it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from wsss_platform.config.shipped import shipped

Schema = dict[str, Any]
FIELDS = "kuberay/rayjob_crd_fields.json"
"""In the shipped folder `cluster`."""
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@cache
def fields() -> Schema:
    """The field list.

    Raises:
        RunError: the installation lacks it.
    """
    found: Schema = json.loads((shipped("cluster") / FIELDS).read_text(encoding="utf-8"))
    return found


def faults(document: Any) -> list[str]:
    """What is wrong with a RayJob, each with its path and, of an unknown field, the nearest right name."""
    return list(_faults(document, fields(), ""))


def _faults(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = fields()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    where = path.removeprefix(".") or "RayJob"
    if "anyOf" in schema and all(any(_faults(value, each, path)) for each in schema["anyOf"]):
        yield f"{where}: {value!r} is none of what is allowed"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r}; expected {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r}; expected one of {', '.join(schema['enum'])}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r}; expected {schema['type']}"
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{where}: {value!r} has not the form of such a value"
    elif isinstance(value, dict):
        yield from _faults_of_fields(value, schema, path)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{where}: expected at least {schema['minItems']}"
        for place, item in enumerate(value):
            yield from _faults(item, schema.get("items", {}), f"{path}[{place}]")


def _faults_of_fields(value: dict[str, Any], schema: Schema, path: str) -> Iterator[str]:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}".removeprefix(".") + ": missing"
    for name, content in value.items():
        inner = f"{path}.{name}"
        if name in known or other is not False:
            yield from _faults(content, known.get(name, other), inner)
        else:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{inner.removeprefix('.')}: KubeRay has no such field{hint}"


def _is(value: Any, kind: str) -> bool:
    """A bool is no number here, although Python has it so."""
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
