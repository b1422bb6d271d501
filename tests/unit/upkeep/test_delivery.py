"""What a job of a site has made, pushed to another place and pulled home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stored_runs import chain, key, kinds, record, write_trial
from wsss_platform.errors import InputError, RunError
from wsss_platform.run.records import RunRecord, read_record, write_record
from wsss_platform.store.artefacts import Store
from wsss_platform.upkeep.delivery import pull_submission, push_submission
from wsss_platform.upkeep.mirror import Mirror

JOB = "here-1130-021955-3fa2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A job's run with images, its trial with a study and a comparison; and a run of somebody else."""
    store = Store(tmp_path / "there")
    stages = chain(store, "a")
    write_record(store, record("mine", 0.5, stages=stages, submission=JOB))
    write_record(store, record("other", 0.5, stages=chain(store, "b"), submission="other-1130-021955-aaaa"))
    write_trial(store, 0, 0.5, chain(store, "c"), submission=JOB)
    (store.run_folder("mine") / "images").mkdir()
    (store.run_folder("mine") / "images" / "sweep.png").write_bytes(b"png")
    (store.study_folder("s")).mkdir(parents=True)
    (store.study_folder("s") / "study.html").write_text("<html>")
    (store.study_folder("s") / "journal.log").write_text("not for a person")
    compared = store.root / "comparisons" / "two"
    compared.mkdir(parents=True)
    (compared / "comparison.json").write_text(json.dumps({"scores": [key("sa")]}))
    strangers = store.root / "comparisons" / "strangers"
    strangers.mkdir()
    (strangers / "comparison.json").write_text(json.dumps({"scores": [key("sb")]}))
    return store


def test_records_scores_and_figures_come_home(store: Store, tmp_path: Path) -> None:
    mirror, home = Mirror(str(tmp_path / "away")), Store(tmp_path / "home")
    sent = push_submission(store, JOB, mirror)
    assert (sent.runs, sent.folders) == (("mine", "s-0000"), ("studies/s", "comparisons/two", "runs/mine/images"))
    got = pull_submission(home, JOB, mirror)
    assert (got.runs, got.folders) == (sent.runs, sent.folders)
    stages = read_record(home, "mine").stages
    assert kinds(home, stages) == {"score"}, "weights, maps and masks stay there"
    assert (home.study_folder("s") / "study.html").read_text() == "<html>"
    assert not (home.study_folder("s") / "journal.log").exists()
    assert (home.run_folder("mine") / "images" / "sweep.png").read_bytes() == b"png"
    assert not (home.root / "comparisons" / "strangers").exists()
    assert pull_submission(home, JOB, mirror).runs == sent.runs, "again, with nothing to do"


def test_everything_comes_home_when_asked(store: Store, tmp_path: Path) -> None:
    mirror, home = Mirror(str(tmp_path / "away")), Store(tmp_path / "home")
    push_submission(store, JOB, mirror, everything=True)
    pull_submission(home, JOB, mirror)
    assert kinds(home, read_record(home, "mine").stages) == {"train", "maps", "masks", "score"}


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    mirror = Mirror(str(tmp_path / "away"))
    with pytest.raises(InputError, match="nothing of submission"):
        pull_submission(Store(tmp_path / "home"), JOB, mirror)
    with pytest.raises(InputError, match="has made no run"):
        push_submission(store, "here-1130-021955-0000", mirror)


def test_a_job_that_goes_on_with_a_run_delivers_it_again(store: Store, tmp_path: Path) -> None:
    mirror, home = Mirror(str(tmp_path / "away")), Store(tmp_path / "home")
    first = read_record(store, "mine")
    running = {"status": "running", "finished": None, "scores": None}
    write_record(store, RunRecord.model_validate({**first.model_dump(), **running}))
    push_submission(store, JOB, mirror)
    pull_submission(home, JOB, mirror)
    assert read_record(home, "mine").status == "running"
    second = {"started": "2027-01-02T03:04:05+00:00", "submission": "here-1130-030000-bbbb"}
    write_record(store, RunRecord.model_validate({**first.model_dump(), **second}))
    push_submission(store, "here-1130-030000-bbbb", mirror)
    pull_submission(home, "here-1130-030000-bbbb", mirror)
    assert read_record(home, "mine").status == "finished"
    write_record(store, RunRecord.model_validate({**first.model_dump(), **running}))
    push_submission(store, JOB, mirror)
    pull_submission(home, JOB, mirror)
    assert read_record(home, "mine").status == "finished", "what has finished is not taken back"


@pytest.mark.parametrize("folder", ["studies/../../x", "/etc", "stages/x", "runs/mine/wandb", "studies/s/stop"])
def test_a_delivery_cannot_lead_out_of_the_store(store: Store, tmp_path: Path, folder: str) -> None:
    mirror = Mirror(str(tmp_path / "away"))
    mirror.put(f"submissions/{JOB}.json", json.dumps({"runs": [], "folders": [folder]}).encode())
    with pytest.raises((RunError, InputError)):
        pull_submission(Store(tmp_path / "home"), JOB, mirror)


def test_a_damaged_figure_is_not_taken(store: Store, tmp_path: Path) -> None:
    mirror, home = Mirror(str(tmp_path / "away")), Store(tmp_path / "home")
    push_submission(store, JOB, mirror)
    (tmp_path / "away" / "studies" / "s" / "study.html").write_text("<HTML>")
    with pytest.raises(RunError, match="damaged"):
        pull_submission(home, JOB, mirror)
    assert not (home.study_folder("s") / "study.html").exists()
