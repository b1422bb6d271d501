"""Functions are short and take few parameters. An AST walk over the code that is shipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("platform", "methods", "cluster")
LONGEST = 80
"""Lines of a function, its signature and docstring included."""
MOST_PARAMETERS = 10
"""`self` and `cls` not counted."""
MANY_PARAMETERS = ("cli", "api")
"""Rooms whose parameters are a command's options: as many as it has."""
PENDING: Mapping[str, str] = {}
"""File of wsss_platform and function, for those that are still to be mended."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> Iterator[Function]:
    """All, at any depth."""
    yield from (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def faults(function: Function, *, many_parameters: bool = False) -> Iterator[str]:
    """What is wrong with a function's size."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if lines > LONGEST:
        yield f"{lines} lines; over {LONGEST} a function does two things"
    count = len(parameters(function))
    if count > MOST_PARAMETERS and not many_parameters:
        yield f"{count} parameters; over {MOST_PARAMETERS} some belong together in a class"


def parameters(function: Function) -> list[str]:
    said = function.args
    every = [*said.posonlyargs, *said.args, *said.kwonlyargs, *filter(None, (said.vararg, said.kwarg))]
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def everywhere() -> dict[str, list[str]]:
    """File and name of each function that is too large -> why."""
    found: dict[str, list[str]] = {}
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        file = path.relative_to(ROOT).as_posix().removeprefix("platform/wsss_platform/")
        for function in functions(path.read_text(encoding="utf-8")):
            if told := list(faults(function, many_parameters=file.split("/")[0] in MANY_PARAMETERS)):
                found.setdefault(f"{file}:{function.name}", []).extend(told)
    return found


def test_functions_are_short_and_take_few_parameters() -> None:
    found = everywhere()
    assert not {name: told for name, told in found.items() if name not in PENDING}
    assert set(PENDING) <= set(found), "mended: take it out of PENDING"


def function_of(lines: int, arguments: str) -> Function:
    (function,) = functions(f"def f({arguments}):\n" + "    pass\n" * (lines - 1))
    return function


TEN = ", ".join(f"a{number}" for number in range(10))


@pytest.mark.parametrize(
    ("lines", "arguments", "reason"),
    [
        (81, "", "81 lines"),
        (2, f"{TEN}, b", "11 parameters"),
        (2, f"{TEN}, *, b", "11 parameters"),
        (2, f"{TEN}, **options", "11 parameters"),
    ],
)
def test_a_large_function_is_found(lines: int, arguments: str, reason: str) -> None:
    (told,) = faults(function_of(lines, arguments))
    assert told.startswith(reason)


def test_the_limits_themselves_pass() -> None:
    assert not list(faults(function_of(80, f"self, {TEN}")))
    assert not list(faults(function_of(2, f"{TEN}, b, c"), many_parameters=True))
