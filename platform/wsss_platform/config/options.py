"""Options of verbs: each is defined once, as a field of a frozen dataclass, with plain metadata.

The command line's help, Python's keyword arguments, the tables of recipes, plans and the identity of a study are
derived from these fields. Dataclasses are nested by subject; an option's name is unique within a verb, so that it can
be given flat: `build(StudyOptions, {"trials": 20})`.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import textwrap
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from wsss_platform.errors import InputError, unknown

Panel = Literal["Data", "Method", "Search", "Resources", "Storage", "Output"]
PANELS: tuple[Panel, ...] = typing.get_args(Panel)
"""In the order of `--help`."""
Options = TypeVar("Options")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """What is said of an option besides its name, type and default."""

    help: str
    """One or two sentences, the verb first."""
    panel: Panel
    hidden: bool = False
    """Rare: accepted everywhere, but not shown by `--help`; it has its place in a recipe."""
    identity: bool = False
    """A study with another value is another study."""
    flag: str = ""
    """Of the command line; "" for the name with hyphens."""
    low: float | None = None
    """Least legal number."""
    metavar: str | None = None
    envvar: str | None = None
    secret: bool = False
    """Never written into a plan, record or message."""
    typed: bool = False
    """Of the command line alone: neither in a recipe nor in Python."""
    former: str = ""
    """A flag that it had before; still accepted, and hidden."""


@dataclass(frozen=True)
class Leaf:
    """An option in its place."""

    group: tuple[str, ...]
    """Names of the dataclass fields that lead to it."""
    name: str
    kind: Any
    """Its type."""
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """Such as "--keep-best"."""
        return self.option.flag or "--" + self.name.replace("_", "-")

    @property
    def from_environment(self) -> str | None:
        """What its variable of the environment says; None where there is none, or it is empty."""
        return os.environ.get(self.option.envvar or "") or None


def typed_only(options: type[Any]) -> frozenset[str]:
    """Names of the options that the command line alone has."""
    return frozenset(leaf.name for leaf in leaves_of(options) if leaf.option.typed)


def option(default: Any, help: str, panel: Panel, **more: Any) -> Any:
    """A dataclass field that is an option; `more` are the other fields of `Option`."""
    return field(default=default, metadata={"option": Option(help, panel, **more)})


def group(kind: type[Any]) -> Any:
    """A dataclass field that holds options of a subject, all at their defaults."""
    return field(default_factory=kind)


def leaves_of(options: type[Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every option of a dataclass, nested ones included, in their order."""
    hints = typing.get_type_hints(options)
    for each in dataclasses.fields(options):
        if "option" in each.metadata:
            yield Leaf(path, each.name, hints[each.name], each.default, each.metadata["option"])
        else:
            yield from leaves_of(typing.cast("type[Any]", _group_type(each, hints)), (*path, each.name))


def _group_type(each: dataclasses.Field[Any], hints: Mapping[str, Any]) -> Any:
    """A group's dataclass: what its default is, so that a subclass may stand in for the one that is annotated."""
    return each.default_factory if each.default_factory is not dataclasses.MISSING else hints[each.name]


def build(
    options: type[Options],
    given: Mapping[str, Any],
    where: str = "option",
    *,
    without: Collection[str] = (),
    environment: bool = False,
) -> Options:
    """Options with some values given flat; the rest are defaults.

    Args:
        options: a dataclass of options.
        given: name -> value.
        where: begins the message for an unknown name, such as "option of tune".
        without: names that may not be given here.
        environment: take what is not given from the environment, where an option names a variable.

    Raises:
        InputError: an unknown name (with the nearest right one), or a value of another type or out of range.
    """
    known = {leaf.name: leaf for leaf in leaves_of(options) if leaf.name not in without}
    for name in given:
        if name not in known:
            raise unknown(where, name, known, field=name)
    if environment:
        given = {**{name: value for name, leaf in known.items() if (value := leaf.from_environment)}, **given}
    values = {name: checked(known[name], value) for name, value in given.items()}
    return typing.cast("Options", _filled(options, values))


def taken(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Options from the arguments of a Python function: None is not given, and the environment is heard."""
    return build(options, {name: value for name, value in given.items() if value is not None}, environment=True)


def check(options: type[Any], given: Mapping[str, Any]) -> None:
    """Check values that are given by name, as `build` does; None and names that are no options are passed over."""
    known = {leaf.name: leaf for leaf in leaves_of(options)}
    for name, value in given.items():
        if name in known and value is not None:
            checked(known[name], value)


def checked(leaf: Leaf, value: Any) -> Any:
    """A value of the option's type; InputError naming the option otherwise."""
    got = "" if leaf.option.secret else f", got {value!r}"
    if leaf.kind is str and isinstance(value, list | tuple):  # as a recipe may say it; "2," is a list of one
        value = ",".join(map(str, value)) + ("," if len(value) == 1 else "")
    elif leaf.kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    try:
        found = TypeAdapter(leaf.kind).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{leaf.name} ({leaf.flag}): {problem['msg']}{got}", field=leaf.flag) from None
    low = leaf.option.low
    if low is not None and found is not None and not found >= low:
        raise InputError(f"{leaf.name} ({leaf.flag}): expected at least {low:g}{got}", field=leaf.flag)
    return found


def _filled(options: type[Any], values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(options)
    found = {}
    for each in dataclasses.fields(options):
        if "option" not in each.metadata:
            found[each.name] = _filled(_group_type(each, hints), values)
        elif each.name in values:
            found[each.name] = values[each.name]
    return options(**found)


def documented(options: type[Any], *, without: Collection[str] = ()) -> Callable[[Function], Function]:
    """Decorate a function that takes options as `**options`: its signature and docstring name them all.

    Args:
        options: a dataclass of options.
        without: names that the function has as parameters of its own, or that have no meaning there.
    """
    leaves = [leaf for leaf in leaves_of(options) if leaf.name not in without]

    def decorated(function: Function) -> Function:
        own = inspect.signature(function)
        kept = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        more = [
            inspect.Parameter(leaf.name, inspect.Parameter.KEYWORD_ONLY, default=leaf.default, annotation=leaf.kind)
            for leaf in leaves
        ]
        told = [
            textwrap.fill(f"{leaf.name}: {leaf.option.help}", 116, initial_indent=" " * 8, subsequent_indent=" " * 12)
            for leaf in leaves
        ]
        function.__doc__ = "\n".join([(function.__doc__ or "").rstrip(), *told, "    "])
        signature = inspect.Signature([*kept, *more], return_annotation=own.return_annotation)
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return decorated


def look_up(options: Any, leaf: Leaf) -> Any:
    """An option's value."""
    for name in leaf.group:
        options = getattr(options, name)
    return getattr(options, leaf.name)


def changed(options: Options, given: Mapping[str, Any]) -> Options:
    """The same options with some values given flat; errors as `build`."""
    kind = type(options)
    now = {leaf.name: look_up(options, leaf) for leaf in leaves_of(kind)}
    return build(kind, {**now, **given})


def flat(options: Any, *, identity: bool = False, typed: bool = True) -> dict[str, Any]:
    """Options as plain data: name -> value, without secrets.

    Args:
        options: an instance.
        identity: only those that make a study another one.
        typed: those of the command line alone, too.
    """
    return {
        leaf.name: _plain(look_up(options, leaf))
        for leaf in leaves_of(type(options))
        if not leaf.option.secret and (leaf.option.identity or not identity) and (typed or not leaf.option.typed)
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
