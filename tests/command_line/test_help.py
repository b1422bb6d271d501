"""Help of every verb: one sentence, an example that survives 80 columns and that the command line accepts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from in_process import command

from wsss_platform.cli import app
from wsss_platform.cli.guide import EXAMPLES, EXIT_CODES, NAME
from wsss_platform.cli.options_page import VERBS

ROOT = typer.main.get_command(app)
IMPERATIVES = (
    *("Check", "Clear", "Compare", "Copy", "Decode", "End", "List", "Make", "Print", "Rank", "Read", "Say", "Score"),
    *("Search", "Send", "Show", "Train", "Turn", "Write"),
)


def commands(parent: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, parent
    for name, each in getattr(parent, "commands", {}).items():
        if each.hidden:  # a name of before
            continue
        yield from commands(each, (*path, name))


ALL = dict(commands())


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_ends_with_an_example_in_one_line(path: tuple[str, ...]) -> None:
    lines = [line.strip() for line in command(*path, "--help").stdout.splitlines() if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1] == f"Example: {NAME} {EXAMPLES[' '.join(path)]}"


@pytest.mark.parametrize("path", [path for path in ALL if path], ids=" ".join)
def test_help_begins_with_one_sentence_and_a_verb(path: tuple[str, ...]) -> None:
    first = (ALL[path].help or "").split("\n\n")[0].replace("\n", " ").strip()
    assert first.endswith(".")
    assert first.split()[0].rstrip(",") in IMPERATIVES, first
    assert ". " not in first, first


def test_every_verb_has_an_example_and_no_other_has() -> None:
    assert set(EXAMPLES) == {" ".join(path) for path in ALL}
    assert set(VERBS) <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_accepted(name: str) -> None:
    words = shlex.split(EXAMPLES[name])
    if words[:2] == ["submit", "--on"]:  # the group's own form
        words.insert(1, "send")
    path = next(
        tuple(words[:count])
        for count in (2, 1)
        if tuple(words[:count]) in ALL and not hasattr(ALL[tuple(words[:count])], "commands")
    )
    assert name in (" ".join(path), " ".join(path[:-1])), "it is an example of this verb or group"
    ALL[path].make_context(" ".join(path), words[len(path) :])


@pytest.mark.parametrize("name", ["train", "tune", "compare", ""])
def test_examples_on_the_sample_can_be_planned(name: str, tmp_path: Path) -> None:
    planned = command(*shlex.split(EXAMPLES[name]), "--dry-run", "--storage", str(tmp_path))
    assert planned.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_example_with_a_wrong_option_would_be_refused() -> None:
    with pytest.raises(Exception, match="No such option"):
        ALL["train",].make_context("train", ["cam", "--nosuch"])


def test_the_exit_codes_stand_below_the_help_and_on_the_page() -> None:
    shown = " ".join(command("--help").stdout.split())
    page = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in shown
        assert f"| {code} | {meaning}" in page
