"""Reading a search space from its TOML file, and proving that it is legal for a config."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss_platform.config import (
    MethodConfig,
    Section,
    leaves,
    look_up,
    override,
    read_toml,
    validated,
    why_without_effect,
)
from wsss_platform.errors import InputError, unknown
from wsss_platform.search.space import (
    ROLES,
    SHORTEST_REASON,
    SOLVED,
    Axis,
    CategoricalAxis,
    FloatAxis,
    IntAxis,
    Role,
    SearchSpace,
    needed_values,
)


def load_space(path: Path, config: MethodConfig, solved: Mapping[str, str] = SOLVED) -> SearchSpace:
    """Read a search space and prove that it is legal for a config.

    `solved` holds paths that must not be sampled, with the reason; a search on stored maps has others.

    Raises:
        InputError: a file that is missing or malformed, a path that the config does not have (with the
            nearest right one), an axis whose kind does not fit the field, a missing reason, a range that
            the method's own rules refuse at either end, or a setting that must not be sampled.
    """
    return read_space(read_toml(path), config, str(path), solved)


def read_space(
    data: Mapping[str, Any], config: MethodConfig, where: str, solved: Mapping[str, str] = SOLVED
) -> SearchSpace:
    """`load_space` on plain data; `where` begins every message."""
    stray = sorted(set(data) - {"axes", "without"})
    if stray:
        raise InputError(
            f'{where}: {stray[0]!r} is not expected here; a space holds tables [axes."dotted.path"] and [without]',
            field=where,
        )
    tables = data.get("axes")
    if not isinstance(tables, Mapping) or not tables:
        raise InputError(f'{where}: no axes; write at least one table [axes."dotted.path"]', field=where)
    axes: dict[str, Axis] = {}
    for name, table in tables.items():
        axes[str(name)] = _read_axis(str(name), table, config, where, solved, axes)
    return SearchSpace(axes=tuple(axes.values()), without=_read_without(data.get("without", {}), where))


def _read_without(table: Any, where: str) -> dict[Role, str]:
    here = f"{where}: [without]"
    if not isinstance(table, Mapping):
        raise InputError(f'{here}: expected a table of reasons, such as loss_weight = "it has one term"')
    for name, reason in table.items():
        _check_role(name, here)
        if not isinstance(reason, str) or len(reason.strip()) < SHORTEST_REASON:
            raise InputError(f"{here}: {name}: say in words why no axis is one, got {reason!r}")
    return dict(table)


def _check_role(name: Any, here: str) -> None:
    if name not in ROLES:
        raise InputError(f"{here}: {unknown('role', str(name), ROLES)}")


_KINDS: Mapping[str, type[FloatAxis] | type[IntAxis] | type[CategoricalAxis]] = {
    "float": FloatAxis,
    "int": IntAxis,
    "categorical": CategoricalAxis,
}


def _read_axis(
    name: str, table: Any, config: MethodConfig, where: str, solved: Mapping[str, str], above: Mapping[str, Axis]
) -> FloatAxis | IntAxis | CategoricalAxis:
    here = f'{where}: [axes."{name}"]'
    if not isinstance(table, Mapping):
        raise InputError(f"{here}: expected a table with kind, its range and a reason", field=name)
    if "kind" not in table and any(isinstance(value, Mapping) for value in table.values()):
        raise InputError(f'{here}: quote the dotted path, as in [axes."loss.classification"]', field=name)
    _check_path(name, config, here)
    if name in solved:
        raise InputError(f"{here}: {solved[name]}", field=name)
    if not str(table.get("reason", "")).strip():
        raise InputError(
            f'{here}: missing reason; say why this range, such as reason = "the paper\'s value times 1/4..4"',
            field=name,
        )
    kind = str(table.get("kind"))
    if kind not in _KINDS:
        error = unknown("kind", kind, _KINDS, name)
        raise error.in_context(f"{here}: {error}")
    if "role" in table:
        _check_role(table["role"], here)
    try:
        axis = validated(_KINDS[kind], {**table, "path": name}, here)
    except InputError as error:  # of the axis, not of the config
        raise error.in_context(str(error), field=name) from None
    _check_when(axis, above, here)
    config = override(config, needed_values(above, axis), f"{here}: when")
    _check_kind(axis, config, here)
    if reason := why_without_effect(config, name):
        raise InputError(f"{here}: {reason}", field=name)
    for value in axis.probes():
        override(config, {name: value}, f"{here} at {value!r}")
    return axis


def _check_when(axis: Axis, above: Mapping[str, Axis], here: str) -> None:
    for path, value in (axis.when or {}).items():
        if path not in above:
            error = unknown("axis above it", path, above, axis.path)
            raise error.in_context(f"{here}: when: {error}")
        other = above[path]
        if isinstance(other, FloatAxis):
            raise InputError(f"{here}: when: {path} is a real number, which hardly ever has one value", field=axis.path)
        legal = other.choices if isinstance(other, CategoricalAxis) else range(other.low, other.high + 1, other.step)
        if not any(axis.same(value, choice) for choice in legal):
            raise InputError(
                f"{here}: when: {path} never is {value!r}; it is one of {list(legal)[:12]}", field=axis.path
            )


def _check_path(name: str, config: MethodConfig, here: str) -> None:
    try:
        value = look_up(config, name)
    except InputError as error:
        raise error.in_context(f"{here}: {error}") from None
    if isinstance(value, Section):
        inside = ", ".join(path for path, _ in leaves(value, f"{name}."))
        raise InputError(f"{here}: is a section; name one of its fields: {inside}", field=name)


def _check_kind(axis: FloatAxis | IntAxis | CategoricalAxis, config: MethodConfig, here: str) -> None:
    field = field_type(config, axis.path)
    if isinstance(axis, CategoricalAxis):
        value = look_up(config, axis.path)
        legal = [look_up(override(config, {axis.path: choice}, here), axis.path) for choice in axis.choices]
        if value not in legal:
            raise InputError(
                f"{here}: choices must hold the config's own value {value!r}, which is the first trial", field=axis.path
            )
        if len({json.dumps(choice) for choice in legal}) != len(legal):
            raise InputError(f"{here}: two choices mean the same value", field=axis.path)
        return
    fits = {"float": (float,), "int": (int,)}[axis.kind]
    if field not in fits:
        expected = {float: "float", int: "int"}.get(field, "categorical")
        name = getattr(field, "__name__", str(field))
        raise InputError(
            f"{here}: kind {axis.kind!r} does not fit a field of type {name}; use {expected!r}", field=axis.path
        )


def field_type(config: Section, path: str) -> Any:
    """The type a setting is declared with; of `X | None`, X."""
    *parents, last = path.split(".")
    section = look_up(config, ".".join(parents)) if parents else config
    kind = type(section).model_fields[last].annotation
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        kind = members[0] if len(members) == 1 else kind
    return kind
