"""A test for each exit code, and the last line of each failure: what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import command

from the_command import TINY
from wsss_platform.api._train import PlannedRun
from wsss_platform.cli.guide import EXIT_CODES, verb_in
from wsss_platform.errors import InputError, RunError
from wsss_platform.run.interrupts import Interrupted


def last_line(text: str) -> str:
    return text.rstrip("\n").rsplit("\n", 1)[-1]


def test_0_done() -> None:
    assert command("methods", code=0).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "fbrr"], "Correct this and run the command again. See `wsss-platform train --help`."),
        (["score", "nothing"], "Correct this and run the command again. See `wsss-platform score --help`."),
        (["train", "cam", "--seeed", "1"], "Nothing was started. See `wsss-platform train --help`."),
        (["store", "gcc"], "Nothing was started. See `wsss-platform store --help`."),
        (["store", "gc", "--older-than", "-1"], "Nothing was started. See `wsss-platform store gc --help`."),
        (["trian"], "Nothing was started. See `wsss-platform --help`."),
    ],
)
def test_2_wrong_input(arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    assert last_line(command(*arguments, code=2).stderr) == said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunError("loss is nan"), 1, "The same command continues after the last finished stage."),
        (KeyError("x"), 1, "Report this with `wsss-platform doctor --json`; WSSS_TRACEBACK=1"),
        (InputError("image x cannot be read"), 2, "Correct this and run the command again."),
        (Interrupted(), 130, "error: interrupted; the same command continues where it stopped"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command continues where it stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("as_json", [False, True])
def test_failures_of_a_run(
    error: BaseException, code: int, said: str, as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PlannedRun, "run", fail)
    given = ["--json"] if as_json else []
    done = command("train", "cam", *TINY, *given, "--storage", str(tmp_path), code=code)
    assert code in EXIT_CODES
    assert last_line(done.stderr).startswith(said)
    if as_json:
        assert list(json.loads(done.stdout)) == ["error"], "advice is for a person"


def test_1_damage_that_was_found(tmp_path: Path) -> None:
    damaged = tmp_path / "stages" / "train" / ("a" * 64)
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{")
    done = command("store", "verify", "--storage", str(tmp_path), code=1)
    assert last_line(done.stderr) == "Delete the folders named above; the next run makes them again."


def test_the_traceback_is_one_variable_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("deep")

    monkeypatch.setattr(PlannedRun, "run", fail)
    monkeypatch.setenv("WSSS_TRACEBACK", "1")
    with pytest.raises(KeyError, match="deep"):
        command("train", "cam", *TINY, "--storage", str(tmp_path))


@pytest.mark.parametrize(
    ("typed", "verb"),
    [
        (["train", "cam"], "train"),
        (["store", "gc", "--yes"], "store gc"),
        (["store"], "store"),
        (["--version"], ""),
        (["nothing", "gc"], ""),
        (["train", "--data", "voc12"], "train"),
    ],
)
def test_the_verb_that_was_typed(typed: list[str], verb: str) -> None:
    assert verb_in(typed) == verb
