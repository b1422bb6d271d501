"""Studies in a database: SQLite always, PostgreSQL where its server and psycopg are; the password stays hidden."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import cloudpickle

from study_requests import study_searcher
from tiny_method import TinyConfig
from wsss_platform.api.study_pages import write_page
from wsss_platform.errors import InputError
from wsss_platform.search.space_file import read_space
from wsss_platform.tune.searcher import StudySearcher
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.study_storage import PLACE, absolute, open_study, without_secrets

CONFIG = TinyConfig()
AXES = {
    "loss.contrast": {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "reason": "something to test"},
    "maps.flip": {"kind": "categorical", "choices": [True, False], "reason": "something to test"},
}
SPACE = read_space({"axes": AXES}, CONFIG, "space")
PASSWORD = "hunter2hunter2"


def searcher(folder: Path, url: str | None) -> StudySearcher:
    return study_searcher(StudyFolder(folder, {"selection": "train ground truth"}, url), SPACE, CONFIG)


def drive(search: StudySearcher, count: int) -> list[dict[str, Any]]:
    given = []
    for index in range(count):
        given.append(search.suggest(f"t{index}"))
        contrast = json.loads(given[-1]["changes"]).get("loss.contrast", 0.1)
        result = {"event": "finished", "objective": 0.5 - abs(contrast - 0.3), "fixed": 0.1, "key": "k"}
        search.on_trial_result(f"t{index}", {"event": "rung", "epoch": 1, "value": contrast})
        search.on_trial_complete(f"t{index}", result)
    return given


def live(folder: Path, url: str) -> None:
    """All that a study does, with a driver that dies twice; the same draws as in a journal."""
    whole = drive(searcher(folder / "journal" / "s", None), 13)
    here = folder / "database" / "s"
    pieces = drive(searcher(here, url), 4)
    search = searcher(here, url)
    left = search.suggest("x")  # and the driver dies
    again = searcher(here, url)
    assert again.suggest("y") == left
    again.on_trial_complete("y", {"event": "failed", "reason": "something"})
    more = drive(again, 8)
    assert pieces == whole[:4]
    assert left == whole[4]
    assert [item["number"] for item in more] == list(range(5, 13))
    study = StudyFolder(here, {"selection": "train ground truth"}, url)
    states = [trial.state for trial in study.study.get_trials()]
    assert states == [TrialState.COMPLETE] * 4 + [TrialState.FAIL] + [TrialState.COMPLETE] * 8
    assert study.study.get_trials()[0].intermediate_values == {1: 0.1}
    assert len(study.write_tables(CONFIG)) == 13
    assert study.evaluations() == 24
    assert (here / "study.html") in write_page(here, url)
    assert not (here / "journal.log").exists()


def test_a_study_in_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    live(tmp_path, url)
    (name,) = optuna.get_all_study_names(url)  # what optuna-dashboard opens
    assert name == "s"


def test_a_study_stays_where_it_lives(tmp_path: Path) -> None:
    url, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("a", "b"))
    drive(searcher(tmp_path / "s", url), 1)
    with pytest.raises(InputError, match=r"lives in sqlite:///.*a\.db: name it with --study-storage"):
        open_study(tmp_path / "s")
    with pytest.raises(InputError, match=r"lives in .*a\.db, not in .*b\.db"):
        open_study(tmp_path / "s", other)
    drive(searcher(tmp_path / "j", None), 1)
    with pytest.raises(InputError, match="lives in its journal"):
        open_study(tmp_path / "j", url)
    with pytest.raises(InputError, match="another storage folder drives"):
        StudyFolder(tmp_path / "elsewhere" / "s", {}, url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("studies.db", "expected a URL"),
        (f"{PASSWORD}", "expected a URL"),
        (f"mysql://me:{PASSWORD}@host/name", "unknown database"),
        (f"postgresq://me:{PASSWORD}@host/name", "did you mean 'postgresql'"),
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/name", "postgresql://127.0.0.1:1/name: "),
        ("sqlite:////no/such/folder/at/all.db", "cannot be used"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(tmp_path: Path, url: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        open_study(tmp_path / "s", url)
    assert PASSWORD not in str(caught.value)
    assert not (tmp_path / "s" / PLACE).exists()


def test_a_relative_path_of_sqlite_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has another working directory, and the next call may have one."""
    monkeypatch.chdir(tmp_path)
    drive(searcher(tmp_path / "s", "sqlite:///a.db"), 2)
    place = json.loads((tmp_path / "s" / PLACE).read_text())
    assert place["url"] == f"sqlite:///{tmp_path}/a.db"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(open_study(tmp_path / "s", f"sqlite:///{tmp_path}/a.db").get_trials()) == 2
    with pytest.raises(InputError, match="lives in"):
        open_study(tmp_path / "s", "sqlite:///a.db")  # now another file
    assert not (tmp_path / "other" / "a.db").exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s" / PLACE).write_text(json.dumps({**place, "url": "sqlite:///a.db"}))  # as earlier versions wrote it
    assert len(open_study(tmp_path / "s", "sqlite:///a.db").get_trials()) == 2
    for url in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(InputError, match="ends with the call"):
            absolute(url)
    assert absolute("sqlite:///a.db?timeout=3") == f"sqlite:///{tmp_path}/a.db?timeout=3"
    assert absolute("postgresql://me/x") == "postgresql://me/x"


def test_secrets_are_cut_off() -> None:
    assert (
        without_secrets(f"postgresql+psycopg://me:{PASSWORD}@host:5432/name?password=x")
        == "postgresql://host:5432/name"
    )
    assert without_secrets("sqlite:///a/b.db") == "sqlite:///a/b.db"
    for sign in "@/?#:":
        url = f"postgresql://me:p{sign}{PASSWORD}@host/name?sslmode=require"
        assert without_secrets(url) == "postgresql://host/name"


def test_what_tune_pickles_holds_no_url(tmp_path: Path) -> None:
    search = searcher(tmp_path / "s", f"sqlite:///{tmp_path}/secret-place.db")
    assert b"secret-place" not in cloudpickle.dumps(search)
    drive(search, 2)  # the original is none the worse


def _postgres() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of Debian's package on a port of its own, with a password."""
    programs = _postgres()
    if programs is None:
        pytest.skip("no PostgreSQL server (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no psycopg (pip install 'wsss-platform[postgres]')")
    prefix: list[str] = []
    folder = tmp_path_factory.mktemp("postgres")
    if os.geteuid() == 0:  # the server refuses to run as root
        prefix = ["runuser", "-u", "postgres", "--"]
        folder = Path(subprocess.check_output([*prefix, "mktemp", "-d"], text=True).strip())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, secret = folder / "data", folder / "password"

    def call(*command: str, text: str | None = None) -> None:
        subprocess.run([*prefix, *command], check=True, input=text, text=True, stdout=subprocess.DEVNULL, timeout=300)

    call("tee", str(secret), text=PASSWORD)
    call(str(programs / "initdb"), "-D", str(data), "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "-N")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    call(str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_a_study_in_postgresql(postgres: str, tmp_path: Path) -> None:
    live(tmp_path, postgres)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    wrong = postgres.replace(PASSWORD, "wrongwrong")
    with pytest.raises(InputError, match="cannot be used") as caught:
        open_study(tmp_path / "t", wrong)
    assert "wrongwrong" not in str(caught.value)
