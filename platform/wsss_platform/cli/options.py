"""Options of verbs on the command line: a dataclass of options becomes the signature that typer reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform.api._recipes import lacking, typed_in_recipe
from wsss_platform.cli.output import output
from wsss_platform.config import parse_assignment
from wsss_platform.config.options import PANELS, Leaf, build, flat, leaves_of, typed_only
from wsss_platform.config.recipes import VERBS, Recipe, read_recipe
from wsss_platform.data.recognise import PREFIXES
from wsss_platform.errors import InputError
from wsss_platform.report.progress import quiet
from wsss_platform.report.tables.run import missing_lines

MethodName = Annotated[
    str | None,
    typer.Argument(
        metavar="METHOD", help="A method of `wsss-platform methods`, or my_package.module:METHOD.", show_default=False
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in the storage folder.")]


def verb(name: str, options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a verb. Its parameters `options`, `out` (where its result goes), `recipe` (of verbs that
    follow one) and `context` (typer's) are filled in; the others are the verb's own, as typer takes them.

    Options that were typed go before the recipe's, those before the defaults.

    Args:
        name: of the verb, such as "tune".
        options: dataclass of options.
    """
    leaves = sorted(leaves_of(options), key=lambda leaf: PANELS.index(leaf.option.panel))

    def made(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        kept = [each for each in own.values() if each.name not in ("options", "recipe", "out", "context")]

        def command(context: typer.Context, **given: Any) -> None:
            said = _said(context, leaves, given)
            recipe = _recipe(name, said) if name in VERBS else Recipe()
            where = f"option of {name}" + (f" in {recipe.place}" if recipe.place else "")
            typed_in_recipe(recipe, typed_only(options))
            built = build(options, {**_left(recipe.options, said), **said}, where)
            plain = flat(built)
            with quiet(plain["quiet"]), output(plain["as_json"]) as out:
                if recipe.place and plain["dry_run"]:
                    missing = lacking(recipe, plain, settings(plain["changes"]), given.get("run"))
                    if missing.missing:
                        out.result(missing, *missing_lines(missing))
                        return
                told = {"options": built, "recipe": recipe, "out": out, "context": context}
                function(**given, **{key: value for key, value in told.items() if key in own})

        first = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept]
        every = [first, *keyword, *(each for leaf in leaves for each in _parameters(leaf))]
        command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__wrapped__ = function  # type: ignore[attr-defined]
        return command

    return made


FORMER = "_as_before"
"""Ends the name of the parameter for an option's former flag."""


def _said(context: typer.Context, leaves: Sequence[Leaf], given: dict[str, Any]) -> dict[str, Any]:
    """What was typed or set in the environment of all options, which leave `given`; the rest are defaults."""
    said = {}
    for leaf in leaves:
        for key in (leaf.name + FORMER, leaf.name):
            value = given.pop(key, None)
            if _is_given(context, key):
                said[leaf.name] = value
    return said


def _left(options: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's options beside those that were typed: --data FOLDER leaves out the recipe's folder, too."""
    other = "data" in said and said["data"] not in PREFIXES.values()
    return {name: value for name, value in options.items() if not (other and name == "root")}


def _parameters(leaf: Leaf) -> Iterator[inspect.Parameter]:
    yield _parameter(leaf)
    if leaf.option.former:
        former = replace(leaf.option, flag=leaf.option.former, hidden=True, envvar=None)
        yield _parameter(replace(leaf, option=former, name=leaf.name + FORMER))


def _parameter(leaf: Leaf) -> inspect.Parameter:
    said = leaf.option
    info = typer.Option(
        leaf.flag,
        help=said.help,
        rich_help_panel=said.panel,
        hidden=said.hidden,
        metavar=said.metavar,
        envvar=said.envvar,
        min=said.low,
    )
    annotation: Any = Annotated[leaf.kind, info]  # a type that is made here
    return inspect.Parameter(leaf.name, inspect.Parameter.KEYWORD_ONLY, default=leaf.default, annotation=annotation)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was typed or set in the environment; a default may be another one in a recipe."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT", "PROMPT")


def _recipe(name: str, said: Mapping[str, Any]) -> Recipe:
    """The recipe that was named, or the empty one."""
    given = said.get("recipe") or said.get("config")
    if given is None:
        return Recipe()
    if said.get("recipe") and said.get("config"):
        raise InputError("--recipe, --config: both name a recipe; expected one", field="--recipe")
    return read_recipe(recipe_file(str(given)), name)


def recipe_file(given: str) -> Path:
    """The file of a recipe that is given as a path, or by the name of a shipped one."""
    from wsss_platform.config.shipped import shipped_file

    path = Path(given).expanduser()
    if path.suffix or path.is_file() or given.startswith((".", "/", "~")):
        return path
    try:
        return shipped_file("recipes", given, ".toml")
    except InputError as error:
        raise error.in_context(str(error), field="--recipe") from None


def settings(changes: list[str] | None) -> dict[str, Any]:
    """What --set says: dotted path -> value; those of the data begin with "data."."""
    return dict(parse_assignment(text) for text in changes or ())


def method_of(method: str | None, recipe: Recipe) -> str:
    """The method that was typed, or the recipe's; InputError without one."""
    found = method or recipe.method
    if found is None:
        raise InputError(
            "METHOD is missing; name one of `wsss-platform methods`, or a --recipe that does", field="METHOD"
        )
    return found
