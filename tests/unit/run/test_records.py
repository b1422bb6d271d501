"""Records: what is written is read back, what is damaged is named, and no secret gets in."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from wsss_platform.config import fingerprint
from wsss_platform.errors import InputError
from wsss_platform.run import records
from wsss_platform.run.records import RunRecord, read_record, read_records, write_record
from wsss_platform.run.scrub import HIDDEN
from wsss_platform.store.artefacts import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "storage")


def test_a_record_is_read_back_as_written(store: Store, record: Any) -> None:
    written = record(
        "cam-1", 0.45, commit="0" * 40 + "+", software=records.software(), command="wsss-platform train cam"
    )
    folder = write_record(store, written)
    assert read_record(store, "cam-1") == written
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "run.json"]
    assert tomllib.loads((folder / "config.toml").read_text()) == written.config


def test_writing_again_replaces_the_record(store: Store, record: Any) -> None:
    begun = record("cam-1", status="running", finished=None)
    write_record(store, begun)
    write_record(store, begun.failed("out of memory"))
    read = read_record(store, "cam-1")
    assert (read.status, read.reason) == ("failed", "out of memory")
    assert read.finished is not None
    assert read.started == begun.started


def test_a_record_that_was_written_again_is_read_again(store: Store, record: Any) -> None:
    for mean in (0.41, 0.42, 0.43):  # of equal length
        write_record(store, record("cam-1", mean))
        assert read_record(store, "cam-1").scores.fixed.mean_iou == mean


def test_an_interrupted_write_leaves_the_old_record(store: Store, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(store, record("cam-1", 0.4))

    def broken(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="no space left"):
        write_record(store, record("cam-1", 0.9))
    monkeypatch.undo()
    assert read_record(store, "cam-1").scores.fixed.mean_iou == 0.4
    assert not list(store.run_folder("cam-1").glob(".*"))


def test_a_wrong_name_gets_the_nearest_right_one(store: Store, record: Any) -> None:
    write_record(store, record("fbr-voc12-0a1b2c3d"))
    with pytest.raises(InputError, match=r"did you mean 'fbr-voc12-0a1b2c3d'"):
        read_record(store, "fbr-voc12-0a1b2c3e")
    with pytest.raises(InputError, match="no path"):
        read_record(store, "../secrets")


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "binary": lambda text: "\x00\x01",
    "newer": lambda text: json.dumps({**json.loads(text), "version": 2}),
    "field-gone": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "protocol"}),
    "impossible": lambda text: json.dumps({**json.loads(text), "workers": 0}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_named_and_harms_no_other(store: Store, record: Any, kind: str) -> None:
    write_record(store, record("good", 0.4))
    path = write_record(store, record("bad", 0.5)) / "run.json"
    path.write_text(DAMAGE[kind](path.read_text()))
    found = read_records(store)
    assert [item.name for item in found.records] == ["good"]
    ((name, reason),) = found.damaged
    assert name == "bad"
    assert reason.startswith(f"{path}: damaged record: ")
    with pytest.raises(InputError, match=r"bad/run\.json: damaged record"):
        read_record(store, "bad")


def test_records_come_oldest_first_and_an_empty_storage_has_none(store: Store, record: Any) -> None:
    assert read_records(store) == ((), ())
    write_record(store, record("a", started="2026-03-01T00:00:00+00:00"))
    write_record(store, record("b", started="2026-02-01T00:00:00+00:00"))
    assert [item.name for item in read_records(store).records] == ["b", "a"]


def test_no_secret_is_written(store: Store, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    begun = record("cam-1", status="running", command=f"WANDB_API_KEY={secret} wsss-platform train cam")
    write_record(store, begun.failed(f"POST https://ada:{secret}@example.org/graphql gave 401"))
    written = "".join(path.read_text() for path in store.run_folder("cam-1").iterdir())
    assert secret not in written
    assert written.count(HIDDEN) == 2
    assert "wsss-platform train cam" in written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "trial"}, "a trial names its study"),
        ({"status": "failed", "scores": None}, "says its reason"),
        ({"started": "yesterday"}, "isoformat"),
        ({"name": "../x"}, "no path"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(record: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(**{"name": "cam-1", "mean": 0.4, **change})


def test_the_config_key_ignores_the_seed_and_nothing_else(record: Any, protocol: Any) -> None:
    base: RunRecord = record("a", 0.4)
    assert record("b", 0.9, seed=7, started="2026-05-01T00:00:00+00:00").config_key == base.config_key
    others = [
        record("c", workers=2),
        record("c", revision=2),
        record("c", config={**base.config, "loss": {"classification": 2.0}}),
        record("c", protocol=protocol.model_copy(update={"crf": "irn x10"})),
    ]
    assert len({item.config_key for item in others} | {base.config_key}) == 5
    assert base.config_key == fingerprint([base.method, 1, base.config, 1, base.protocol])[:12]


def test_the_commit_says_when_files_were_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert records.git_commit(tmp_path) is None
    git("init", "--quiet")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "--quiet", "--message", "first")
    head = git("rev-parse", "HEAD").strip()
    assert records.git_commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert records.git_commit(tmp_path) == head + "+"


def test_versions_are_those_installed() -> None:
    import numpy
    import torch

    versions = records.software()
    assert versions["numpy"] == numpy.__version__
    assert torch.__version__.startswith(versions["torch"].split("+")[0])
    assert "wsss-platform" in versions
