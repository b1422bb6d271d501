"""What verbs print with --json: one object, and what its schema says, errors too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import command, document

from the_command import TINY
from wsss_platform.api._train import PlannedRun
from wsss_platform.errors import RunError
from wsss_platform.report.documents_page import DOCUMENTS
from wsss_platform.run.interrupts import Interrupted


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (["methods"], "methods"),
        (["methods", "drs"], "method"),
        (["data", "splits"], "data-lists"),
        (["data", "lists"], "data-lists"),  # the name of before
        (["train", "cam", "--until", "score", "--dry-run"], "run-plan"),
        (["tune", "fbr", "--trials", "3", "--dry-run"], "study-plan"),
        (["compare", "cam", "drs", "--seeds", "1", "--dry-run"], "comparison-plan"),
        (["leaderboard"], "leaderboard"),
        (["store", "list"], "store-list"),
        (["store", "verify"], "store-verification"),
        (["store", "gc"], "store-clearance"),
    ],
)
def test_what_verbs_print_is_what_the_schema_says(
    arguments: list[str], schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    found = document(*arguments)
    version = next(one.VERSION for one in DOCUMENTS if f"wsss-platform/{schema}" == one.SCHEMA)
    assert (found["schema"], found["version"]) == (f"wsss-platform/{schema}", version)


@pytest.mark.parametrize(
    ("arguments", "code", "field", "nearest"),
    [
        (["train", "fbrr"], "unknown-name", "METHOD", "fbr"),
        (["train", "cam", "--set", "train.epoch=3"], "unknown-name", "train.epoch", "train.epochs"),
        (["train", "cam", "--set", "train.epochs=0"], "input", "train.epochs", None),
        (["tune", "fbr", "--budget", "6 hours"], "input", "--budget", None),
        (["tune", "fbr", "--sampler", "tpa"], "unknown-name", "--sampler", "tpe"),
        (["compare", "cam", "--seeds", "0,0"], "input", "--seeds", None),
        (["score", "nothing"], "unknown-name", "nothing", None),
        (["train", "cam", "--seeed", "1"], "usage", "--seeed", "--seed"),
        (["train", "cam", "--seed", "one"], "usage", "--seed", None),
        (["train"], "input", "METHOD", None),
        (["train", "cam", "--recipe", "sample/cma"], "unknown-name", "--recipe", "sample/cam"),
        (["compare", "cam", "--at", "bset"], "unknown-name", "--at", "best"),
        (["train", "cam", "--data", "voc12"], "input", "--data", None),
    ],
)
def test_an_error_is_one_object_too(
    arguments: list[str], code: str, field: str | None, nearest: str | None, tmp_path: Path
) -> None:
    done = command(*arguments, "--json", "--storage", str(tmp_path), code=2)
    found = json.loads(done.stdout)
    assert list(found) == ["error"]
    assert found["error"]["code"] == code
    assert (found["error"]["field"], found["error"]["nearest"]) == (field, nearest)
    if code != "usage":
        assert found["error"]["message"] in " ".join(done.stderr.split())
    assert command(*arguments, "--storage", str(tmp_path), code=2).stdout == ""


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [(RunError("loss term 'x' is nan"), "run", 1), (KeyError("x"), "internal", 1), (Interrupted(), "interrupted", 130)],
)
def test_a_failure_is_one_object_too(
    error: Exception, code: str, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PlannedRun, "run", fail)
    done = command("train", "cam", *TINY, "--json", "--storage", str(tmp_path), code=exit_code)
    assert json.loads(done.stdout)["error"]["code"] == code


def test_a_document_before_a_failure_is_the_only_object(tmp_path: Path) -> None:
    damaged = tmp_path / "stages" / "train" / ("a" * 64)
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{")
    done = command("store", "verify", "--json", "--storage", str(tmp_path), code=1)
    assert json.loads(done.stdout)["schema"] == "wsss-platform/store-verification"
