"""What a config is made of: frozen sections; load, override by dotted path, dump, fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from wsss_platform.errors import InputError, unknown


class Section(BaseModel):
    """A frozen group of fields; unknown names are refused. A field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def without_effect(self) -> Mapping[str, str]:
        """Fields that do nothing beside the others, each with what is used instead: a text that begins with the name of
        another field of this section."""
        return {}


SectionType = TypeVar("SectionType", bound=Section)


def leaves(config: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a config as (dotted path, value), depth first."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def look_up(config: Section, path: str) -> Any:
    """The section or value at a dotted path; InputError with the nearest right path otherwise."""
    here: Any = config
    for part in path.split("."):
        if not isinstance(here, Section) or part not in type(here).model_fields:
            known = [name for name, _ in leaves(config)]
            sections = {name.rsplit(".", cut)[0] for name in known for cut in range(1, name.count(".") + 1)}
            raise unknown("setting", path, [*known, *sections], path)
        here = getattr(here, part)
    return here


def why_without_effect(config: Section, path: str) -> str | None:
    """What is used instead of the field at a dotted path, where that is so.

    Raises:
        InputError: no such path.
    """
    *parents, last = path.split(".")
    section = look_up(config, ".".join(parents)) if parents else config
    look_up(section, last)
    reason = section.without_effect().get(last)
    return reason and f"{path} has no effect: {'.'.join([*parents, reason])}"


def validated(kind: type[SectionType], data: Mapping[str, Any], where: str) -> SectionType:
    """Build a section from plain data; an InputError names each wrong setting and the nearest right one."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = [_explain(kind, item) for item in error.errors()]
        raise faults[0].in_context(f"{where}: " + "; ".join(str(fault) for fault in faults)) from None


def _explain(kind: type[Section], item: Any) -> InputError:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        default = _default(kind)
        known = [name for name, _ in leaves(default)] if default is not None else list(_declared(kind))
        sections = [name.rsplit(".", 1)[0] for name in known if "." in name]
        return unknown("setting", path, [*known, *sections], path)
    message = str(item["msg"]).removeprefix("Value error, ")
    return InputError(f"{path or kind.__name__}: {message} (got {_short(item['input'])})", field=path or None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _declared(kind: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted paths of the fields of a section that has no default."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _declared(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _default(kind: type[Section]) -> Section | None:
    try:
        return kind()
    except ValidationError:
        return None


def override(config: SectionType, changes: Mapping[str, Any], where: str = "config") -> SectionType:
    """A copy of `config` with dotted paths replaced, validated as a whole.

    Raises:
        InputError: a path that does not exist (with the nearest right one), or an illegal value.
    """
    data = config.model_dump()
    for path, value in changes.items():
        look_up(config, path)
        here = data
        *parents, last = path.split(".")
        for part in parents:
            here = here[part]
        if isinstance(here[last], dict) and isinstance(value, Mapping):
            here[last] = {**here[last], **value}
        else:
            here[last] = value
    return validated(type(config), data, where)


def parse_assignment(text: str) -> tuple[str, Any]:
    """`loss.contrast=0.05` -> ("loss.contrast", 0.05). The value is read as TOML, else taken as text."""
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", path):
        raise InputError(f"--set {text!r}: expected SETTING=VALUE, for instance train.epochs=4", field="--set")
    value = value.strip()
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return path, float(value)
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value


def assignment(path: str, value: Any) -> str:
    """The text that `parse_assignment` reads as this path and value: ("data.year", 2017) -> `data.year=2017`."""
    plain = f"{path}={value}"
    return plain if isinstance(value, str) and parse_assignment(plain)[1] == value else f"{path}={json.dumps(value)}"


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain data; InputError with the file and line when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not a TOML file: {error}", field=path) from None


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables -> dotted paths, so that a partial TOML file overrides only what it names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def to_toml(config: Section) -> str:
    """The whole config as TOML, readable by `read_toml` and `validated`."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks; equal for equal content, whatever the order of dicts.

    An integral float and the integer are different text: validate before you hash.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot hash a {type(value).__name__}")


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of plain data or sections, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
