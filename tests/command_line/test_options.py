"""One set of options: what is defined once shows in help, plan, identity and JSON; panels; sizes of files."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from in_process import command, document
from typer.testing import CliRunner

from wsss_platform import __version__
from wsss_platform.cli import tune
from wsss_platform.cli.options import verb
from wsss_platform.config.options import PANELS, group, leaves_of, option
from wsss_platform.tune.options import SearchOptions, StudyOptions

ROOT = Path(__file__).parents[2]
VERBS = ("train", "maps", "masks", "score", "tune", "search", "compare", "show", "leaderboard", "import-maps")


@dataclass(frozen=True)
class MoreSearch(SearchOptions):
    """With one option more."""

    patience: int = option(3, "Wait for this many trials.", "Search", low=1, identity=True)


@dataclass(frozen=True)
class MoreStudy(StudyOptions):
    """With it."""

    search: MoreSearch = group(MoreSearch)


@dataclass(frozen=True)
class MoreTune(tune.TuneOptions):
    """With it."""

    study: MoreStudy = group(MoreStudy)


def more(*arguments: str) -> Any:
    """`tune` with one option more, which is defined above and nowhere else."""
    app = typer.Typer()
    app.command()(verb("tune", MoreTune)(tune.tune.__wrapped__))  # type: ignore[attr-defined]
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})


def test_a_new_option_is_one_definition(tmp_path: Path) -> None:
    assert "Wait for this many trials." in more("--help").output
    asked = ("fbr", "--dry-run", "--json", "--storage", str(tmp_path))
    plans = [json.loads(more(*asked, *given).stdout) for given in ((), ("--patience", "3"), ("--patience", "4"))]
    assert [plan["options"]["patience"] for plan in plans] == [3, 3, 4]
    assert plans[0]["study"] == plans[1]["study"] != plans[2]["study"], "it is part of the study's identity"
    recipe = tmp_path / "patient.toml"
    recipe.write_text('method = "fbr"\n[study]\npatience = 5\n')
    plan = json.loads(more("--recipe", str(recipe), "--dry-run", "--json", "--storage", str(tmp_path)).stdout)
    assert plan["options"]["patience"] == 5


def options_in(text: str) -> list[str]:
    """Long options that a help text lists, in its order."""
    return re.findall(r"^│ +(--[a-z][a-z-]+)", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", VERBS)
def test_help_has_panels_in_order(name: str) -> None:
    shown = command(name, "--help").stdout
    titles = [title for title in re.findall(r"^╭─ (\w+) ─", shown, flags=re.MULTILINE) if title in PANELS]
    assert titles == sorted(titles, key=lambda title: PANELS.index(title))  # type: ignore[arg-type]
    assert len(titles) >= 2


def test_tune_shows_few_options() -> None:
    """At most 21: it was 20, until whoever cannot pay for the baseline had to find --no-baseline."""
    shown = [name for name in options_in(command("tune", "--help").stdout) if name != "--help"]
    assert 10 < len(shown) <= 21
    hidden = [leaf.flag for leaf in leaves_of(StudyOptions) if leaf.option.hidden]
    assert "--sampler" in hidden
    assert "--no-baseline" in shown
    assert not set(hidden) & set(shown)


def test_hidden_options_are_accepted(tmp_path: Path) -> None:
    given = ("--sampler", "random", "--scheduler", "none", "--retries", "2", "--keep-best", "1", "--inner", "0")
    plan = document("tune", "fbr", *given, "--dry-run", "--storage", str(tmp_path))
    said = {name: plan["options"][name] for name in ("sampler", "scheduler", "retries", "keep_best", "inner")}
    assert said == {"sampler": "random", "scheduler": "none", "retries": 2, "keep_best": 1, "inner": 0}


def test_former_flags_are_accepted_and_not_shown(tmp_path: Path) -> None:
    asked = ("--dry-run", "--storage", str(tmp_path))
    plan = document("compare", "cam", "--pictures", "1", "--train-list", "train", *asked)
    assert plan["schema"] == "wsss-platform/comparison-plan"
    study = document("tune", "fbr", "--rung-pictures", "7", "--train-list", "train", "--score-list", "val", *asked)
    assert (study["options"]["rung_images"], study["reported_on"]) == (7, "val:half-2")
    assert study["data"]["train_list"] == "train", "settings keep their names: keys of stored stages are made of them"
    for verb_name, now, before in (
        ("compare", "--images", "--pictures"),
        ("compare", "--train-split", "--train-list"),
        ("train", "--score-split", "--score-list"),
        ("maps", "--score-split", "--score-list"),
        ("search", "--score-split", "--score-list"),
        ("import-maps", "--split", "--list"),
        ("data check", "--split", "--list"),
        ("data convert-coco", "--split", "--list"),
    ):
        shown = options_in(command(*verb_name.split(), "--help").stdout)
        assert now in shown
        assert before not in shown


def test_data_lists_is_a_name_of_data_splits_that_help_does_not_show() -> None:
    assert document("data", "lists") == document("data", "splits")
    shown = command("data", "--help").stdout
    assert " splits " in shown
    assert " lists " not in shown


def test_a_split_is_checked_under_both_flags() -> None:
    few = ("--set", "data.sample.train=3", "--set", "data.sample.val=2", "--set", "data.sample.size=48")
    now, before = (document("data", "check", flag, "val", *few) for flag in ("--split", "--list"))
    assert now == before
    assert [one["list_name"] for one in now["lists"]] == ["val"]


def test_the_version_is_printed() -> None:
    assert command("--version").stdout == f"wsss-platform {__version__}\n"


def test_a_password_is_in_no_plan(tmp_path: Path) -> None:
    url = "postgresql://me:hidden-word@nowhere/db"
    plan = document("tune", "fbr", "--study-storage", url, "--dry-run", "--storage", str(tmp_path))
    assert "hidden-word" not in json.dumps(plan)


def test_files_of_the_command_line_are_short() -> None:
    for path in (ROOT / "platform" / "wsss_platform" / "cli").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 200, path.name


def test_only_these_tests_import_the_command_line() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        if path.parent.name == "command_line":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("wsss_platform.cli") for name in names), path
