"""What the documents promise: the commands of README and guides run, and relative links lead somewhere.

What follows one of these lines is done, in order, in one temporary folder with one storage for each document:

    <!-- test -->            the `$ ` lines of a ```console block, or a ```python block, are executed
    <!-- test: dry run -->   the same, with `--dry-run` added to each command
    <!-- file: NAME -->      the block is written to a file

Output lines in a block are for the reader.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsss_platform.config.recipes import read_recipe

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^<!-- (?P<what>test|test: dry run|file: (?P<name>\S+)) -->\n+```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"^<!-- (?:test|file)\b.*-->$", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
DEFINED = re.compile(r"^\[[^\]]+\]: (\S+)$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 600
GUIDES = ROOT / "docs" / "guides"
ON_RAY = ("search.md",)
"""Guides whose commands start a cluster."""
FIGURE = ROOT / "docs" / "figures" / "first_run.png"
README_LINES, GUIDE_LINES, CONTRIBUTING_LINES, FIGURE_BYTES = 150, 140, 80, 400_000
"""The lines of a guide are counted without its code blocks."""
EXPERIMENTS = ROOT / "docs" / "experiments"
ONE_SCREEN, IN_A_BLOCK = 80, 100
"""Lines of LEADERBOARD.md; and letters in a line of a command or recipe that a reader is to copy."""


@dataclass(frozen=True)
class Step:
    """One thing that a reader does."""

    text: str
    """A command, or what is written to a file."""
    file: str | None = None
    """The file that is written; None: the text is a command."""


def steps(text: str) -> list[Step]:
    """What a document has its reader do, in order."""
    found: list[Step] = []
    for block in BLOCK.finditer(text):
        if block["name"]:
            found.append(Step(block["text"], block["name"]))
        elif block["language"] == "python":
            found.append(Step(shlex.join(["python", "-c", block["text"]])))
        else:
            ending = " --dry-run" if block["what"] == "test: dry run" else ""
            found += [Step(command + ending) for command in commands(block["text"])]
    return found


def commands(block: str) -> list[str]:
    """The `$ ` lines of a block; a trailing backslash joins the next line (`> ` or indented)."""
    found: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines, "").removeprefix("> ").strip()
            found.append(command)
    return found


def follow(document: Path, folder: Path) -> None:
    """Do what a document says, as a reader would, in `folder`; the first command that fails fails."""
    found = steps(document.read_text(encoding="utf-8"))
    assert any(step.file is None for step in found), f"{document.name} has no tested block (<!-- test -->)"
    for step in found:
        if step.file is None:
            execute([step.text], folder)
        else:
            path = folder / step.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")


def execute(found: list[str], folder: Path) -> None:
    """Run commands as a reader would, in `folder`; the first that fails fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WSSS_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"WANDB_MODE": "disabled", "COLUMNS": "120"}  # the storage is the default one, in `folder`
    for command in found:
        shell = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(
            shell,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"$ {command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return sorted(ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists())
    return sorted(path for path in ROOT.rglob("*.md") if not any(part.startswith(".") for part in path.parts))


def dead_links(document: Path) -> Iterator[str]:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    for target in (*LINK.findall(text), *DEFINED.findall(text)):
        path = target.split("#")[0]
        if path and not re.match(r"[a-z][a-z+.-]*:", path) and not (document.parent / path).exists():
            yield target


def guides() -> list[Path]:
    return sorted(GUIDES.glob("*.md"))


def without_blocks(text: str) -> list[str]:
    """The lines outside of code fences."""
    return FENCE.sub("", text).splitlines()


@pytest.mark.slow
def test_readme_commands_run(tmp_path: Path) -> None:
    follow(ROOT / "README.md", tmp_path)


@pytest.mark.parametrize(
    "guide",
    [
        pytest.param(guide, marks=pytest.mark.ray if guide.name in ON_RAY else pytest.mark.slow, id=guide.name)
        for guide in guides()
    ],
)
def test_guide_commands_run(guide: Path, tmp_path: Path) -> None:
    follow(guide, tmp_path)


@pytest.mark.parametrize("page", [ROOT / "README.md", *guides()], ids=lambda page: page.name)
def test_every_mark_has_its_block(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(MARK.findall(text)) == len(list(BLOCK.finditer(text)))


def test_readme_fits_and_begins_with_a_figure() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    assert FIGURE.relative_to(ROOT).as_posix() in LINK.findall(text)
    assert FIGURE.read_bytes().startswith(b"\x89PNG")
    assert FIGURE.stat().st_size < FIGURE_BYTES
    assert any(step.text.startswith("python -c ") for step in steps(text)), "no Python that is run"


@pytest.mark.parametrize("guide", guides(), ids=lambda guide: guide.name)
def test_guides_are_short_and_can_be_found(guide: Path) -> None:
    assert len(without_blocks(guide.read_text(encoding="utf-8"))) <= GUIDE_LINES
    for page, link in (("README.md", "docs/guides/"), ("docs/index.md", "guides/"), ("mkdocs.yml", "guides/")):
        assert f"{link}{guide.name}" in (ROOT / page).read_text(encoding="utf-8"), page


def test_contributing_is_one_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= CONTRIBUTING_LINES


def test_what_github_reads() -> None:
    """Continuous integration calls make alone, and says what was tested here; a report of a bug has its machine."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.findall(r"run: (.*)", workflow) == ["make lint", "make test", "make docs"]
    assert re.search(r"tested here on 3\.11 only", workflow, re.I)
    assert "wsss-platform doctor --json" in (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_exist(document: Path) -> None:
    assert not list(dead_links(document))


def test_there_are_documents() -> None:
    names = {str(path.relative_to(ROOT)) for path in documents()}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LEADERBOARD.md"} <= names


def results() -> list[Path]:
    return [ROOT / "LEADERBOARD.md", *sorted(EXPERIMENTS.glob("*.md"))]


def long_lines(text: str) -> list[str]:
    """The lines in code fences that are too long to copy."""
    return [line for _, block in FENCED.findall(text) for line in block.splitlines() if len(line) > IN_A_BLOCK]


def unlisted(folder: Path) -> list[str]:
    """The pages of a folder to which its index, README.md, does not link."""
    linked = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    return sorted(page.name for page in folder.glob("*.md") if page.name not in ("README.md", *linked))


def test_the_leaderboard_is_on_one_screen() -> None:
    assert len((ROOT / "LEADERBOARD.md").read_text(encoding="utf-8").splitlines()) <= ONE_SCREEN


def test_every_experiment_is_in_the_index_and_the_index_in_the_navigation() -> None:
    assert len(list(EXPERIMENTS.glob("*.md"))) > 1
    assert not unlisted(EXPERIMENTS)
    assert "experiments/README.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*results(), ROOT / "docs" / "log.md"], ids=lambda path: path.name)
def test_what_a_reader_copies_is_short(page: Path) -> None:
    assert not long_lines(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", results(), ids=lambda path: path.name)
def test_recipes_of_experiments_are_recipes(page: Path, tmp_path: Path) -> None:
    for language, block in FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "toml" and block.startswith("verb"):
            path = tmp_path / "recipe.toml"
            path.write_text(block, encoding="utf-8")
            found = read_recipe(path, tomllib.loads(block)["verb"])
            assert found.method or found.variants


@pytest.mark.parametrize("page", results()[1:], ids=lambda path: path.name)
def test_every_experiment_has_a_recipe_and_commands_of_today(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name != "README.md":
        assert "```toml\nverb = " in text
    assert not re.search(r"--(score|train)-list", text), "today --score-split, --train-split"


# --- the checks can fail --------------------------------------------------------------------------------

EXAMPLE = """
```console
$ untested
```

<!-- file: a/note.txt -->
```text
$ no command
```

<!-- test -->
```console
$ echo one \\
>   two
one two
$ false
```

<!-- test: dry run -->
```console
$ wsss-platform train cam
```

<!-- test -->
```python
print("it's")
```
"""


def test_only_marked_blocks_are_read_and_lines_join() -> None:
    assert [step.text for step in steps(EXAMPLE)] == [
        "$ no command\n",
        "echo one two",
        "false",
        "wsss-platform train cam --dry-run",
        shlex.join(["python", "-c", 'print("it\'s")\n']),
    ]


def test_a_document_is_followed_until_something_fails(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(EXAMPLE)
    with pytest.raises(AssertionError, match="false"):
        follow(document, tmp_path)
    assert (tmp_path / "a" / "note.txt").read_text() == "$ no command\n"
    document.write_text("```console\n$ true\n```\n")
    with pytest.raises(AssertionError, match="no tested block"):
        follow(document, tmp_path)


def test_a_mark_without_its_block_is_found() -> None:
    for text in ("<!-- test -->\n\nwords\n\n```console\n$ true\n```\n", "<!-- test: dry  run -->\n```console\n```\n"):
        assert len(MARK.findall(text)) == 1
        assert not BLOCK.search(text)


def test_python_of_a_document_runs_and_fails(tmp_path: Path) -> None:
    text = "<!-- test -->\n```python\nassert {}\n```\n"
    (good := tmp_path / "good.md").write_text(text.format("True"))
    follow(good, tmp_path)
    (bad := tmp_path / "bad.md").write_text(text.format("False"))
    with pytest.raises(AssertionError, match="AssertionError"):
        follow(bad, tmp_path)


@pytest.mark.parametrize("command", ["false", "no-such-command", "false | cat", "wsss-platform no-such-verb"])
def test_a_failing_command_fails(command: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code"):
        execute(["true", command], tmp_path)


def test_commands_share_a_folder(tmp_path: Path) -> None:
    execute(["echo hello > note", "grep hello note"], tmp_path)


def test_dead_links_are_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        '[a](a.md) [b](b.md#part) ![c](c.png "title") [d](https://e.org) [e](#here)\n```\n[f](f)\n```\n'
    )
    assert list(dead_links(document)) == ["b.md#part", "c.png"]


def test_defined_links_are_followed(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("[a][x] [b][y]\n\n[x]: a.md\n[y]: b.md#part\n")
    assert list(dead_links(document)) == ["b.md#part"]


def test_long_lines_and_unlisted_pages_are_found(tmp_path: Path) -> None:
    long = "x" * (IN_A_BLOCK + 1)
    assert long_lines(f"{long}\n```toml\nshort\n{long}\n```\n{long}\n```\n{long[1:]}\n```\n") == [long]
    (tmp_path / "README.md").write_text("[a](a.md) `b.md`\n")
    for name in ("a.md", "b.md"):
        (tmp_path / name).touch()
    assert unlisted(tmp_path) == ["b.md"]
