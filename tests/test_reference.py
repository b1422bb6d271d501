"""The site that `make docs` builds: it is strict, and the reference shows what is public."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import wsss_platform.api as wsss

ROOT = Path(__file__).parents[1]
SECONDS = 600


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build pages as `make docs` does, where the extra `docs` is installed."""
    python = ROOT / ".venv-docs" / "bin" / "python"
    if not python.exists():
        pytest.skip("no mkdocs: make docs")
    command = [python, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", site]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_reference_is_built(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "field" in (tmp_path / "site" / "reference" / "errors" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", ["b.md#nowhere", "c.md"])
def test_a_dead_link_fails_the_build(target: str, tmp_path: Path) -> None:
    checks = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["validation"]
    (config := tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({"site_name": "a", "validation": checks}))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# Here\n")
    for link, code in (("b.md#here", 0), (target, 1)):
        (tmp_path / "docs" / "index.md").write_text(f"[b]({link})\n")
        done = build(config, tmp_path / "site")
        assert done.returncode == code, done.stdout + done.stderr


def test_make_docs_is_strict() -> None:
    """--quiet would hide the warnings from --strict."""
    (line,) = re.findall(r"-m mkdocs (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert line == "build --strict $(ARGS)"


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
