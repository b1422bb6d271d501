"""The words of the field stand wherever a person reads: docs/glossary.md says which, this test which do not.

Code between backquotes, code blocks and the braces of f-strings are exempt: an identifier is no prose.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "picture": (re.compile(r"\bpictures?\b", re.I), "image"),
    "told": (re.compile(r"\btold\b", re.I), "reported, said or printed"),
    "looks": (re.compile(r"\blook(s|ed|ing)?\b(?! like)", re.I), "evaluated on ground truth N times, read, checked"),
    "held to": (re.compile(r"\bheld (to|against)\b", re.I), "compared with"),
    "arm": (re.compile(r"\barms?\b", re.I), "variant or baseline"),
    "price": (re.compile(r"\bat (the same|a|what) price\b", re.I), "at the same background, or in seconds"),
    "truth": (re.compile(r"(?<!ground )(?<!ground-)(?<!ground\n)\btruth\b", re.I), "ground truth"),
}
"""Word -> (what finds it, what to say)."""
HISTORY = ("log.md", "decisions")
"""Of docs: what was found or decided on a day, in the words of that day; so is CHANGELOG.md."""
SAID = (
    "InputError",
    "RunError",
    "unknown",
    "option",
    "Option",
    "Argument",
    "Typer",
    "note",
    "Finding",
    "Problem",
    "Check",
    "Warned",
    "in_context",
    "Alert",
    "info",
    "warning",
    "print",
)
"""Functions whose texts a person reads."""
CODE = re.compile(r"```.*?```|~~~.*?~~~|``.*?``|`[^`]*`|<(style|script)\b.*?</\1>|^ +\w+:(?= )|^--[\w-]+$", re.S | re.M)
"""Also the names of a docstring's arguments, and a flag that is a whole text."""


def wrong(text: str) -> list[str]:
    """Forbidden words of a text, each with what to say."""
    prose = CODE.sub("`code`", text)
    return [f"{found[0]!r}: say {better}" for what, better in FORBIDDEN.values() for found in what.finditer(prose)]


def literal(node: ast.expr) -> str:
    """The literal text inside an expression; what is filled in stands as code."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) if isinstance(part, ast.Constant) else "`filled`" for part in node.values)
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    if isinstance(node, ast.IfExp):
        return f"{literal(node.body)} {literal(node.orelse)}"
    return ""


def name_of(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def said(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each literal that an error, an option or a note says, also through a name in the function."""
    tree = ast.parse(source)
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.Module | ast.FunctionDef):
            continue
        named = {
            target.id: each.value
            for each in ast.walk(scope)
            if isinstance(each, ast.Assign)
            for target in each.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and name_of(node.func) in SAID:
                for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                    given = named.get(argument.id, argument) if isinstance(argument, ast.Name) else argument
                    yield node.lineno, literal(given)


SOURCES = sorted(path for root in ("platform", "methods") for path in (ROOT / root).rglob("*.py"))
PAGES = [
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.relative_to(ROOT / "docs").parts[0] not in HISTORY
    ),
    *sorted((ROOT / "methods").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "LEADERBOARD.md", "CONTRIBUTING.md")),
]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_errors_notes_and_option_texts() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path in SOURCES
        for line, text in said(path.read_text(encoding="utf-8"))
        for problem in wrong(text)
    ]
    assert not found, "\n".join(dict.fromkeys(found))


def test_docstrings_of_verbs_are_help() -> None:
    for path in (ROOT / "platform" / "wsss_platform" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert not wrong(ast.get_docstring(node) or ""), f"{path.name}: {node.name}"


@pytest.mark.parametrize("folder", ["report", "report/tables", "search", "plan", "data", "run", "scores", "upkeep"])
def test_tables_documents_and_pages_of_html(folder: str) -> None:
    """Every text of the modules that make what is printed; their docstrings are descriptions of fields."""
    found = [
        f"{path.name}:{node.lineno}: {problem}: {node.value!r:.100}"
        for path in sorted((ROOT / "platform" / "wsss_platform" / folder).glob("*.py"))
        if ("report" in folder or path.name == "documents.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        for problem in wrong(node.value)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page: Path) -> None:
    assert not wrong(page.read_text(encoding="utf-8"))


def cells(notebook: str) -> list[str]:
    """The sources of a notebook's cells, text and code."""
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"]]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_notebooks(notebook: Path) -> None:
    found = cells(notebook.read_text(encoding="utf-8"))
    assert found
    assert not [problem for cell in found for problem in wrong(cell)]


def test_a_forbidden_word_in_a_notebook_is_found() -> None:
    told = [{"cell_type": kind, "source": ["# A\n", "# picture"]} for kind in ("markdown", "code")]
    assert len([problem for cell in cells(json.dumps({"cells": told})) for problem in wrong(cell)]) == 2


def test_there_are_pages_and_notebooks() -> None:
    assert NOTEBOOKS
    assert {"README.md", "LEADERBOARD.md"} <= {page.name for page in PAGES}
    assert any(page.parent.name == "experiments" for page in PAGES)


@pytest.mark.parametrize(
    "text",
    [
        "A picture of it.",
        "it was told",
        "looked at twice",
        "Looks at ground truth: 3",
        "Look at, check and convert data.",
        "to look at",
        "held to the first",
        "the first arm",
        "at the same price",
        "pixel truth",
    ],
)
def test_a_forbidden_word_is_found(text: str) -> None:
    assert wrong(text)
    assert wrong(f"`code` {text} and `more`")


@pytest.mark.parametrize(
    "text",
    [
        "ground truth",
        "ground-truth masks",
        "Ground\ntruth",
        "`truth`",
        "```\ntold\n```",
        "it looks like pixels",
        "army",
    ],
)
def test_words_of_the_field_and_code_pass(text: str) -> None:
    assert not wrong(text)


def test_texts_of_errors_are_found_behind_names_and_in_parts() -> None:
    source = (
        'def f(x):\n    told = f"a {x} arm"\n    raise InputError(told, field="x")\nnote("a" + "b" if x else "c")\n'
    )
    texts = [text for _, text in said(source)]
    assert "a `filled` arm" in texts
    assert "ab c" in texts


@pytest.mark.parametrize("call", ["log.info", "log.warning", "console.print", "Warned", "print"])
def test_texts_of_logs_and_warnings_are_found(call: str) -> None:
    assert [text for _, text in said(f'{call}("it was told")\n')] == ["it was told"]
