"""What the documents promise: the README's commands run, and relative links lead somewhere.

A ```console block after the line `<!-- test -->` is executed: its `$ ` lines, in order, in one temporary
folder with one storage. Output lines in the block are for the reader.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsss_platform.api as wsss
from wsss_platform.config.recipes import read_recipe

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^<!-- test -->\n+```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
DEFINED = re.compile(r"^\[[^\]]+\]: (\S+)$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 600
EXPERIMENTS = ROOT / "docs" / "experiments"
ONE_SCREEN, IN_A_BLOCK = 80, 100
"""Lines of LEADERBOARD.md, and letters in a line of a command or recipe that a reader is to copy."""


def commands(text: str) -> list[str]:
    """The `$ ` lines of tested blocks, in order; a trailing backslash joins the next line (`> ` or indented)."""
    found: list[str] = []
    for block in BLOCK.findall(text):
        lines = iter(block.splitlines())
        for line in lines:
            if line.startswith("$ "):
                command = line[2:]
                while command.endswith("\\"):
                    command = command[:-1] + next(lines, "").removeprefix("> ").strip()
                found.append(command)
    return found


def execute(found: list[str], folder: Path) -> None:
    """Run commands as a reader would, in `folder`; the first that fails fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WSSS_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"WSSS_STORAGE": str(folder / "storage"), "WANDB_MODE": "disabled", "COLUMNS": "120"}
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


@pytest.mark.ray
def test_readme_commands_run(tmp_path: Path) -> None:
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found, "README.md has no tested block (<!-- test --> before a ```console block)"
    execute(found, tmp_path)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_exist(document: Path) -> None:
    assert not list(dead_links(document))


def test_reference_is_built(tmp_path: Path) -> None:
    """What `make docs` does, where the extra `docs` is installed."""
    python = ROOT / ".venv-docs" / "bin" / "python"
    if not python.exists():
        pytest.skip("no mkdocs: make docs")
    command = [python, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "field" in (tmp_path / "site" / "reference" / "errors" / "index.html").read_text(encoding="utf-8")


def test_every_page_of_the_reference_is_in_its_list() -> None:
    folder = ROOT / "docs" / "reference"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    shown = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in folder.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in listed
        assert f"reference/{page.name}" in shown


def shown_modules() -> list[str]:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return [name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M)]


@pytest.mark.parametrize("name", shown_modules())
def test_modules_of_the_reference_exist(name: str) -> None:
    assert importlib.util.find_spec(name), name


def test_the_reference_of_the_api_shows_what_is_public_and_no_internals() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    found = re.findall(r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", page, re.M)
    assert [name for name, _ in found] == re.findall(r"^::: (\S+)", page, re.M)
    shown = {member: module for module, members in found for member in members.split(", ") if member}
    assert set(wsss.__all__) <= set(shown)
    for member, module in shown.items():
        made = getattr(importlib.import_module(module), member)
        assert made.__module__ == module, member
        assert member in wsss.__all__ or inspect.isclass(made), f"{member}: a function that is not public"


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


@pytest.mark.parametrize("page", results(), ids=lambda path: path.name)
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


# --- the checks can fail --------------------------------------------------------------------------------

EXAMPLE = """
```console
$ untested
```

<!-- test -->
```console
$ echo one \\
>   two
one two
$ false
```
"""


def test_only_marked_blocks_are_read_and_lines_join() -> None:
    assert commands(EXAMPLE) == ["echo one two", "false"]


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
