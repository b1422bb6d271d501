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
    sampling_ratio = "it trains on whole images; nothing is sampled"

Imports neither ray nor torch nor optuna.
"""

from __future__ import annotations

import json
import math
import typing
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from wsss_platform.config import (
    Section,
)

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]
"""What one axis gives a setting; tuples are lists in TOML."""

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
    """Dotted path of the setting."""
    reason: str = Field(min_length=SHORTEST_REASON)
    """Why this range: the paper's value, a memory limit, what was seen before."""
    when: dict[str, Value] | None = None
    """Path of an axis above -> the value at which this axis exists, all of them; None: always."""
    role: Role | None = Field(None, exclude=True)
    """Said of an axis whose path does not say it; no part of a study's identity, so it is not dumped."""

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
        return needed_values({item.path: item for item in self.axes}, axis)


def needed_values(known: Mapping[str, Axis], axis: Axis) -> dict[str, Any]:
    """The values of other axes beside which an axis exists, theirs included."""
    found: dict[str, Any] = {}
    for path, value in (axis.when or {}).items():
        found |= {**needed_values(known, known[path]), path: value}
    return found


def choice_label(choice: Value) -> Scalar:
    """A choice as a scalar that a study can store; lists become their JSON text."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice
