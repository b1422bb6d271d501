"""Stages shared through a mirror: made once for two stores, never mixed, and a mirror that fails costs no run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig, override
from wsss_platform.errors import InputError, RunError
from wsss_platform.experiment import Experiment
from wsss_platform.local_runner import LocalRunner
from wsss_platform.mirror import Mirror
from wsss_platform.pipeline import Event, StageEnd, run
from wsss_platform.sharing import Shared, Withholding
from wsss_platform.store import MANIFEST, Store

KEY = "d" * 64


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 4, "val": 2, "size": 48}})
    method = get("cam")
    settings = {"train.epochs": 1, "train.batch": 4, "train.crop": 32, "maps.scales": [1.0], "maps.flip": False}
    return Experiment(method, override(method.config(), settings | {"backbone.weights": "none"}), data)


@pytest.fixture(scope="module")
def made(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder that has the whole run."""
    root = tmp_path_factory.mktemp("made")
    run(experiment, Store(root), LocalRunner(threads=1))
    return root


def copy(made: Path, root: Path) -> Path:
    shutil.copytree(made, root)
    return root


class Nobody:
    """A runner that must not be asked."""

    def train(self, *_: Any) -> None:
        raise AssertionError("a stage that the mirror has was made again")

    chunks = train


def content(store: Store) -> dict[str, bytes]:
    files = {path.relative_to(store.root): path for path in (store.root / "stages").rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if path.suffix != ".lock"}


def shared(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.stage.kind, event.what) for event in events if isinstance(event, Shared)]


def round_trip(url: str, experiment: Experiment, made: Path, tmp_path: Path) -> None:
    """One machine makes everything and another finds it."""
    one = Store(copy(made, tmp_path / "one"), mirror=Mirror(url).check())
    shutil.rmtree(one.folder("score", experiment.key))  # it makes something itself, too
    events: list[Event] = []
    run(experiment, one, LocalRunner(threads=1), events.append)
    assert shared(events) == [(kind, "sent") for kind in ("train", "maps", "masks", "score")]
    again: list[Event] = []
    run(experiment, one, Nobody(), again.append)
    assert shared(again) == []

    other = Store(tmp_path / "other", mirror=Mirror(url))
    found: list[Event] = []
    score = run(experiment, other, Nobody(), found.append).score
    assert score is not None
    assert shared(found) == [("score", "brought")], "what the score was made from is not needed"
    assert all(event.cached for event in found if isinstance(event, StageEnd))
    run(experiment, other, Nobody(), until=experiment.stage("masks"))
    run(experiment, other, Nobody(), until=experiment.stage("maps"))
    run(experiment, other, Nobody(), until=experiment.stage("train"))
    assert content(other) == content(one)


def test_what_one_machine_made_another_finds(experiment: Experiment, made: Path, tmp_path: Path) -> None:
    round_trip((tmp_path / "mirror").as_uri(), experiment, made, tmp_path)
    changed = replace(experiment, config=override(experiment.config, {"masks.background": 0.4}))
    third, events = Store(tmp_path / "third", mirror=Mirror(str(tmp_path / "mirror"))), list[Event]()
    run(changed, third, LocalRunner(threads=1), events.append)
    assert shared(events) == [("maps", "brought"), ("masks", "sent"), ("score", "sent")]
    assert not third.has("train", experiment.stage("train").key), "with maps there, no weights are needed"


def test_the_same_over_s3(experiment: Experiment, made: Path, tmp_path: Path, s3: str) -> None:
    round_trip(s3.replace("BUCKET", "shared"), experiment, made, tmp_path)
    with pytest.raises(InputError, match="no bucket 'nosuch'"):
        Mirror(s3.replace("BUCKET", "nosuch")).check()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a local imitation of S3, with BUCKET in the place of the bucket; "shared" is one."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    try:
        system = fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True)
        system.create_dir("shared")
        yield f"s3://BUCKET/stages?endpoint_override={host}%3A{port}&scheme=http"
    finally:
        server.stop()


class Away:
    """A mirror that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def bring(self, store: Store, kind: str, key: str) -> bool:
        self.asked += 1
        raise RunError("s3://away: no route to host")

    send = bring


def test_a_mirror_that_fails_costs_no_run(experiment: Experiment, made: Path, tmp_path: Path) -> None:
    away, events = Away(), list[Event]()
    root = copy(made, tmp_path / "one")
    shutil.rmtree(Store(root).folder("score", experiment.key))
    outcome = run(experiment, Store(root, mirror=away), LocalRunner(threads=1), events.append)
    assert outcome.score is not None
    assert shared(events) == [("score", "failed")]
    assert away.asked == 1, "once it has failed, the run does not wait for it again"
    assert "no route to host" in next(event.words for event in events if isinstance(event, Shared))
    later: list[Event] = []
    run(experiment, Store(root, mirror=Mirror(str(tmp_path / "mirror"))), Nobody(), later.append)
    assert [what for _, what in shared(later)] == ["sent"] * 4, "the next run makes up for it"


def artefact(root: Path, text: str, failures: int = 0) -> Store:
    """A store with one artefact of two files that say `text`."""
    store = Store(root, max_failures=9)
    with store.building("maps", KEY) as folder:
        assert folder is not None
        for name in ("a", "b"):
            (folder / name).write_text(text)
        store.commit("maps", KEY, {"failures": failures, "made": text})
    return store


def test_two_machines_that_send_at_once_mix_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of one key differ in their last bits on other machines: a copy is one machine's or the other's."""
    one, other = artefact(tmp_path / "one", "one"), artefact(tmp_path / "other", "other")
    mirror, slow = Mirror(str(tmp_path / "mirror")), Mirror(str(tmp_path / "mirror"))
    write, raced = slow._write, []

    def late(place: Any, source: Path) -> tuple[int, str]:
        if not raced:
            raced.append(mirror.send(other, "maps", KEY))  # the other one is done while this one begins
        return write(place, source)

    monkeypatch.setattr(slow, "_write", late)
    monkeypatch.setattr("wsss_platform.mirror.THREADS", 1)
    assert not slow.send(one, "maps", KEY)
    assert raced == [True]
    found = Store(tmp_path / "found")
    assert Mirror(str(tmp_path / "mirror")).bring(found, "maps", KEY)
    assert content(found) == content(other), "who came first stays; the second copy is dropped"
    place = tmp_path / "mirror" / "stages" / "maps" / KEY
    assert len([path for path in place.iterdir() if path.is_dir()]) == 1

    # and where neither saw the other, the last list of files is taken as a whole
    blind = Mirror(str(tmp_path / "mirror"))
    monkeypatch.setattr(blind, "_lacking", lambda kind, key: None)
    assert blind.send(one, "maps", KEY)
    third = Store(tmp_path / "third")
    assert Mirror(str(tmp_path / "mirror")).bring(third, "maps", KEY)
    assert content(third) == content(one)


def test_a_copy_that_lacks_pictures_is_taken_by_those_who_allow_it_and_replaced(tmp_path: Path) -> None:
    url = str(tmp_path / "mirror")
    assert Mirror(url).send(artefact(tmp_path / "poor", "poor", 2), "maps", KEY)
    strict, lenient = Store(tmp_path / "strict"), Store(tmp_path / "lenient", max_failures=2)
    assert not Mirror(url).bring(strict, "maps", KEY)
    assert Mirror(url).bring(lenient, "maps", KEY)
    assert not Mirror(url).send(artefact(tmp_path / "poorer", "poorer", 3), "maps", KEY)
    assert Mirror(url).send(artefact(tmp_path / "whole", "whole"), "maps", KEY)
    assert Mirror(url).bring(strict, "maps", KEY)
    assert strict.open("maps", KEY).manifest["made"] == "whole"


def test_copies_of_the_first_form_can_be_read(tmp_path: Path) -> None:
    """Files beside their list, which does not name a copy."""
    store, url = artefact(tmp_path / "one", "one"), tmp_path / "mirror"
    Mirror(str(url)).send(store, "maps", KEY)
    place = url / "stages" / "maps" / KEY
    listing = place / "files.json"
    files = json.loads(listing.read_text())
    for name, (_, _, folder) in files.items():
        if name != MANIFEST:
            (place / folder / name).rename(place / name)
    listing.write_text(json.dumps({name: entry[:2] for name, entry in files.items() if name != MANIFEST}))
    assert Mirror(str(url)).bring(Store(tmp_path / "two"), "maps", KEY)
    assert content(Store(tmp_path / "two")) == content(store)


def test_what_is_withheld_is_brought_and_not_sent(tmp_path: Path) -> None:
    store, url = artefact(tmp_path / "one", "one"), str(tmp_path / "mirror")
    trials = Withholding(Mirror(url), ("maps",))
    assert not trials.send(store, "maps", KEY)
    Mirror(url).send(store, "maps", KEY)
    assert trials.bring(Store(tmp_path / "two"), "maps", KEY)


def test_it_goes_to_other_processes(tmp_path: Path) -> None:
    there = pickle.loads(pickle.dumps(Withholding(Mirror(str(tmp_path / "mirror")), ("maps",))))
    assert there.mirror.url == str(tmp_path / "mirror")
    assert not there.bring(Store(tmp_path / "one"), "train", KEY)


def test_a_mirror_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="/proc/nosuch"):
        Mirror("/proc/nosuch").send(artefact(tmp_path, "x"), "maps", KEY)
