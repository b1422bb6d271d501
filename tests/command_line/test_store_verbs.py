"""`wsss-platform store` as a user meets it: list, verify, gc; and what a study drops when its trials end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from told_study import ALPHA, RATE, WHOLE, Study
from wsss_platform.cli import run_command
from wsss_platform.plan.experiment import needed
from wsss_platform.report.progress import show_log
from wsss_platform.report.tables.store import size_words
from wsss_platform.run.records import read_record


def test_a_study_keeps_the_maps_of_its_best_trials(tmp_path: Path) -> None:
    trials = [({}, 0.3), *(({"train.learning_rate": 10.0**-place}, 0.1 * place) for place in (2, 4, 5))]
    with (study := Study(tmp_path, 2, RATE)).view:
        for changes, objective in trials:
            study.trial(changes, objective)
    kept = [study.kinds(changes) for changes, _ in trials]
    assert kept == [{"train", "score"}, {"train", "score"}, WHOLE, WHOLE]
    assert read_record(study.store, "s-0000").status == "finished"
    experiment = study.experiment({})
    todo = needed(experiment.stages, study.store, experiment.stage("masks"))
    assert [stage.kind for stage in todo] == ["maps", "masks"], "made again from the weights when asked for"


def test_keep_best_0_keeps_all(tmp_path: Path) -> None:
    with (study := Study(tmp_path, 0, RATE)).view:
        for place in (2, 3, 4, 5):
            study.trial({"train.learning_rate": 10.0**-place}, 0.1)
    assert all(study.kinds({"train.learning_rate": 10.0**-place}) == WHOLE for place in (2, 3, 4, 5))


def test_maps_that_the_next_trials_need_stay_also_when_every_trial_lost(tmp_path: Path) -> None:
    with (study := Study(tmp_path, 1, ALPHA)).view:
        study.make({})
        number = study.start({})
        study.end(number, {}, None)
        assert study.kinds({}) == {"train", "maps", "score"}, "the masks are the failed trial's own"


def test_a_trial_that_runs_keeps_what_a_loser_had(tmp_path: Path) -> None:
    """Two trials with the same weights and maps, in a study that also changes the training."""
    slow, fast = {"train.learning_rate": 1e-5}, {"train.learning_rate": 1e-2}
    with (study := Study(tmp_path, 1, RATE | ALPHA)).view:
        study.trial(fast, 0.9)
        running = study.start({**slow, "masks.alpha": 2.0})
        assert read_record(study.store, "s-0001").status == "running"
        study.trial(slow, 0.1)
        assert study.kinds(slow) == {"train", "maps", "score"}, "the running trial reads these maps"
        study.make({**slow, "masks.alpha": 2.0})
        study.end(running, {**slow, "masks.alpha": 2.0}, 0.2)
        assert study.kinds(slow) == {"train", "score"}
        assert study.kinds({**slow, "masks.alpha": 2.0}) == {"train", "score"}


def test_a_study_goes_on_when_nothing_can_be_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_log()  # as every command does
    with (study := Study(tmp_path, 1, RATE)).view:
        study.store.run_folder("broken").mkdir(parents=True)
        (study.store.run_folder("broken") / "run.json").write_text("{")
        study.trial({}, 0.9)
        study.trial({"train.learning_rate": 1e-2}, 0.1)
    assert study.kinds({"train.learning_rate": 1e-2}) == WHOLE
    assert read_record(study.store, "s-0001").status == "finished"
    assert capsys.readouterr().err.count("kept for now") == 1


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run_command(["store", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_list_verify_and_gc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    other = {"train.learning_rate": 1e-2}
    with (study := Study(tmp_path, 0, RATE)).view:
        study.trial({}, 0.9)
        study.trial(other, 0.1)
    study.make({"train.learning_rate": 1e-3})  # nobody's
    listed = document(capsys, "list")["entries"]
    assert len(listed) == 12
    assert {item["reason"] for item in listed} == {"needed", "no run refers to it, but younger than 7 days"}
    winner = study.base.stage("maps").key
    assert next(item for item in listed if item["key"] == winner)["referred_by"] == ["run s-0000"]
    assert run_command(["store", "list"]) == 0
    assert "in 12 places" in capsys.readouterr().out

    plan = document(capsys, "gc", "--drop-maps-of-losing-trials", "--keep-best", "1")
    lost = {study.experiment(other).stage(kind).key for kind in ("maps", "masks")}
    assert {item["key"] for item in plan["entries"]} == lost
    assert not plan["deleted"]
    assert study.kinds(other) == WHOLE, "a plan deletes nothing"
    assert run_command(["store", "gc", "--older-than", "0"]) == 0
    shown = capsys.readouterr()
    assert "would delete 4 of" in shown.out
    assert "--yes" in shown.err
    time.sleep(0.01)
    done = document(capsys, "gc", "--drop-maps-of-losing-trials", "--keep-best", "1", "--older-than", "0", "--yes")
    assert (done["deleted"], len(done["entries"]), done["in_use"]) == (True, 6, [])
    assert study.kinds({"train.learning_rate": 1e-3}) == set()
    assert study.kinds(other) == {"train", "score"}
    assert study.kinds({}) == WHOLE
    assert document(capsys, "gc", "--older-than", "0")["entries"] == []

    checked = document(capsys, "verify", code=1)  # the artefacts of this test are hollow
    assert any("weights.pt" in item["reason"] for item in checked["damaged"])
    assert "stale lock" in " ".join(checked["remarks"])


def test_push_and_pull(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_REMOTE", (tmp_path / "mirror").as_uri())
    with (study := Study(tmp_path / "here", 0, RATE)).view:
        study.trial({}, 0.9)
    pushed = document(capsys, "push", "s-0000", "--storage", str(tmp_path / "here"))
    assert pushed["stages"] == ["train:cam", "maps:cam", "masks:cam", "score:cam"]
    assert document(capsys, "pull", "s-0000", "--storage", str(tmp_path / "there"))["files"] == pushed["files"] == 4
    listed = document(capsys, "list", "--storage", str(tmp_path / "there"))["entries"]
    assert {item["reason"] for item in listed} == {"needed"}
    assert run_command(["store", "pull", "s-0001", "--storage", str(tmp_path / "there")]) == 2
    assert "did you mean 's-0000'" in capsys.readouterr().err


def test_an_empty_store_is_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "none"))
    assert document(capsys, "list")["entries"] == []
    assert document(capsys, "verify")["damaged"] == []
    assert document(capsys, "gc", "--yes")["entries"] == []
    assert not (tmp_path / "none").exists()


def test_a_plan_says_what_a_study_costs_and_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    assert run_command(["tune", "cam", "--trials", "4", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "cost: at most 4 trainings" in shown
    assert "no earlier run to measure from" in shown
    assert "the best 3 keep their maps" in shown
    assert run_command(["tune", "cam", "--trials", "4", "--keep-best", "0", "--dry-run"]) == 0
    assert "every trial keeps its weights, maps" in capsys.readouterr().out
    assert run_command(["train", "cam", "--until", "score", "--dry-run"]) == 0
    assert "cost: 1 training, 1 map pass, 1 mask pass" in capsys.readouterr().out


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (5.6e9, "5.6 GB")])
def test_sizes(size: int, words: str) -> None:
    assert size_words(size) == words
