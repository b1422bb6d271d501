"""Search spaces: a TOML file -> axes that are legal for a method's config, or an error before anything starts.

    [axes."loss.negative_regions"]
    kind = "float"
    low = 1e-3
    high = 0.2
    log = true
    reason = "the paper's 0.05, with room to both sides"

An axis may exist only beside certain values of axes above it; elsewhere it is neither sampled nor changed:

    [axes."masks.crf_iterations"]
    when = { "masks.crf" = "irn" }
    ...

A method's own space has axes of each role (`ROLES`), or says why it has none; `search.roles` checks that:

    [without]
    sampling_ratio = "it trains on whole pictures; nothing is sampled"

Imports neither ray nor torch nor optuna.
"""

from __future__ import annotations

import json
import math
import types
import typing
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

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

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]
"""What one axis gives a config field; tuples are lists in TOML."""

Role = Literal["threshold", "loss_weight", "sampling_ratio"]
ROLES: tuple[Role, ...] = typing.get_args(Role)
"""What the numbers of a method are that a search must not leave out."""

SOLVED = {
    "masks.background": "it is solved exactly by the threshold sweep of every trial, so sampling it would only waste "
    "trials; delete this axis",
}
"""Paths that no search may sample, with the reason."""


SHORTEST_REASON = 8
"""Characters."""


class _Axis(Section):
    path: str
    """Dotted path of the config field."""
    reason: str = Field(min_length=SHORTEST_REASON)
    """Why this range: the paper's value, a memory limit, what was seen before."""
    when: dict[str, Value] | None = None
    """Path of an axis above -> the value at which this axis exists, all of them; None: always."""
    role: Role | None = Field(None, exclude=True)
    """Said of an axis whose path does not tell; no part of a study's identity, so it is not dumped."""

    def exists(self, values: Mapping[str, Any]) -> bool:
        """Whether it exists beside these values of the axes above it; an axis that does not exist has none."""
        wanted = self.when or {}
        return all(path in values and self.same(values[path], value) for path, value in wanted.items())

    @staticmethod
    def same(one: Any, other: Any) -> bool:
        """Whether two values are one; lists are tuples, and True is not 1."""
        one, other = (tuple(value) if isinstance(value, list) else value for value in (one, other))
        return type(one) is type(other) and bool(one == other)

    @property
    def count(self) -> float:
        """How many values it has; infinite for a real number."""
        return math.inf

    @abstractmethod
    def probes(self) -> tuple[Any, ...]:
        """The values at which the config is built before a study starts."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, without: tuple[Any, ...] = ()) -> Any:
        """One of its values, drawn with one number of the generator; none of the choices `without`."""

    @abstractmethod
    def parameter(self, value: Any) -> Scalar:
        """A value of the config as a study stores it; a number outside of the range as the nearest inside."""

    def value(self, parameter: Any) -> Any:
        """`parameter` undone."""
        return parameter


class _Range(_Axis):
    """Numbers in low..high."""

    low: float
    high: float
    log: bool = False
    """Sampled uniformly in the logarithm."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low}..{self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log axis needs low above 0, got {self.low}")
        return self

    @abstractmethod
    def nearest(self, value: float) -> float:
        """The value of this axis that is nearest to a number."""

    def probes(self) -> tuple[float, ...]:
        """Both ends."""
        return self.low, self.high

    def draw(self, generator: np.random.Generator, without: tuple[Any, ...] = ()) -> float:
        """A value to four digits."""
        share = float(generator.random())
        if self.log:
            value = float(np.exp(np.log(self.low) + share * (np.log(self.high) - np.log(self.low))))
        else:
            value = self.low + share * (self.high - self.low)
        return self.nearest(float(f"{value:.4g}"))

    def parameter(self, value: float) -> float:
        """The number itself, or the nearest one."""
        return self.nearest(value)


class FloatAxis(_Range):
    """A real number in low..high."""

    kind: Literal["float"]
    """A real number."""
    low: float = Field(allow_inf_nan=False)
    """The smallest."""
    high: float = Field(allow_inf_nan=False)
    """The largest."""

    def nearest(self, value: float) -> float:
        """The value of this axis that is nearest to a number."""
        return min(max(float(value), self.low), self.high)


class IntAxis(_Range):
    """A whole number in low..high, both included."""

    kind: Literal["int"]
    """A whole number."""
    low: int
    """The smallest."""
    high: int
    """The largest."""
    step: int = Field(1, ge=1)
    """Distance of neighbouring values; high must lie on the grid."""

    @model_validator(mode="after")
    def _check_step(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError("log and a step other than 1 exclude each other")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high {self.high} is not low {self.low} plus a multiple of step {self.step}")
        return self

    @property
    def count(self) -> float:
        """Steps, and one."""
        return (self.high - self.low) // self.step + 1

    def nearest(self, value: float) -> int:
        """The value of this axis that is nearest to a number."""
        steps = round((value - self.low) / self.step)
        return min(max(self.low + steps * self.step, self.low), self.high)


class CategoricalAxis(_Axis):
    """One of a few values; the config's own value must be among them."""

    kind: Literal["categorical"]
    """One of a few values."""
    choices: tuple[Value, ...] = Field(min_length=2)
    """At least two."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        labels = [choice_label(choice) for choice in self.choices]
        if len(set(labels)) != len(labels):
            raise ValueError(f"choices holds a value twice: {labels}")
        return self

    @property
    def count(self) -> float:
        """Of the choices."""
        return len(self.choices)

    def probes(self) -> tuple[Value, ...]:
        """Every choice."""
        return self.choices

    def draw(self, generator: np.random.Generator, without: tuple[Any, ...] = ()) -> Value:
        """A choice."""
        choices = [choice for choice in self.choices if choice not in without]
        return choices[int(generator.integers(len(choices)))]

    def parameter(self, value: Any) -> Scalar:
        """A choice's label."""
        return next(choice_label(choice) for choice in self.choices if choice == value)

    def value(self, parameter: Scalar) -> Value:
        """The choice of a label."""
        return next(choice for choice in self.choices if self.same(choice_label(choice), parameter))


Axis = Annotated[FloatAxis | IntAxis | CategoricalAxis, Field(discriminator="kind")]


class SearchSpace(Section):
    """The axes of a study, in the order of the file."""

    axes: tuple[Axis, ...] = Field(min_length=1)
    without: dict[Role, str] = Field({}, exclude=True)
    """Why there is no axis of a role; like `role` not dumped."""

    def values(self, ask: Callable[[Axis], Any]) -> dict[str, Any]:
        """Path -> value of the axes that exist, each asked for beside the values of those above it."""
        found: dict[str, Any] = {}
        for axis in self.axes:
            if axis.exists(found):
                found[axis.path] = ask(axis)
        return found

    @property
    def conditional(self) -> bool:
        """Whether some axis exists only sometimes."""
        return any(axis.when for axis in self.axes)

    def needs(self, axis: Axis) -> dict[str, Any]:
        """The values of other axes beside which an axis exists, theirs included."""
        return _needs({item.path: item for item in self.axes}, axis)


def _needs(known: Mapping[str, Axis], axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in (axis.when or {}).items():
        found |= {**_needs(known, known[path]), path: value}
    return found


def choice_label(choice: Value) -> Scalar:
    """A choice as a scalar that a study can store; lists become their JSON text."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def load_space(path: Path, config: MethodConfig, solved: Mapping[str, str] = SOLVED) -> SearchSpace:
    """Read a search space and prove that it is legal for a config.

    `solved` holds paths that must not be sampled, with the reason; a search on stored maps has others.

    Raises:
        InputError: a file that is missing or malformed, a path that the config does not have (with the
            nearest right one), an axis whose kind does not fit the field, a missing reason, a range that
            the method's own rules refuse at either end, or a field that must not be sampled.
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
    config = override(config, _needs(above, axis), f"{here}: when")
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
    """The type a config field is declared with; of `X | None`, X."""
    *parents, last = path.split(".")
    section = look_up(config, ".".join(parents)) if parents else config
    kind = type(section).model_fields[last].annotation
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        kind = members[0] if len(members) == 1 else kind
    return kind
