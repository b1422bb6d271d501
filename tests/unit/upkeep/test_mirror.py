"""Runs pushed to a mirror and pulled from it: a folder through pyarrow's file system, or an imitation of S3."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.records import RunRecord, read_record, write_record
from wsss_platform.store.artefacts import MANIFEST, Store
from wsss_platform.upkeep.mirror import FILES, Mirror

STAGES = {"train:cam": "a" * 64, "maps:cam": "b" * 64, "masks:cam": "c" * 64}
WORDS = "data train_list score_list labels_from backbone initial_weights scales background crf affinity segmenter truth"
PROTOCOL: dict[str, Any] = dict.fromkeys(WORDS.split(), "x") | {
    "train_images": 1,
    "score_images": 1,
    "label_gate": True,
    "supervision": "labels",
    "selection": "none",
}


def record(name: str = "first", started: str = "2026-01-02T03:04:05+00:00") -> RunRecord:
    return RunRecord(
        name=name,
        method="cam",
        revision=1,
        config={"train": {"epochs": 1}},
        data={},
        seed=0,
        workers=1,
        protocol=Protocol.model_validate(PROTOCOL),
        stages=STAGES,
        started=started,
        finished=started,
        status="finished",
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run with weights and masks; its maps were dropped."""
    store = Store(tmp_path / "here")
    for stage, key in STAGES.items():
        with store.building(stage.split(":")[0], key) as folder:
            assert folder is not None
            (folder / "masks").mkdir()
            for number in range(40):
                (folder / "masks" / f"{number}.png").write_bytes(bytes([number]) * 100)
            (folder / "large.bin").write_bytes(b"x" * 2_500_000)
            store.commit(stage.split(":")[0], key, {"stage": stage, "inputs": {}})
    store.remove("maps", STAGES["maps:cam"], "lost")
    write_record(store, record())
    return store


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


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "mirror").as_uri()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_and_back(store: Store, url: str, tmp_path: Path) -> None:
    round_trip(store, url, tmp_path)


def test_the_same_over_s3(store: Store, s3: str, tmp_path: Path) -> None:
    round_trip(store, s3.replace("BUCKET", "shared"), tmp_path)
    with pytest.raises(RunError, match="nosuch"):
        Mirror(s3.replace("BUCKET", "nosuch")).push(store, "first")


def round_trip(store: Store, url: str, tmp_path: Path) -> None:
    """One machine pushes the run, another pulls it."""
    pushed = Mirror(url).push(store, "first")
    assert pushed.stages == ("train:cam", "masks:cam")
    assert pushed.lacking == ("maps:cam",)
    assert (pushed.files, pushed.size) == (82, 2 * (40 * 100 + 2_500_000))
    other = Store(tmp_path / "there")
    pulled = Mirror(url).pull(other, "first")
    assert pulled.stages == ("train:cam", "masks:cam")
    assert (pulled.files, pulled.size) == (pushed.files, pushed.size)
    assert read_record(other, "first") == read_record(store, "first")
    for kind, key in (("train", STAGES["train:cam"]), ("masks", STAGES["masks:cam"])):
        mine, theirs = store.open(kind, key), other.open(kind, key)
        assert mine.manifest == theirs.manifest
        assert content(mine.folder) == content(theirs.folder)
    assert not list((other.root / "stages").glob("*/*.partial"))
    assert not list((other.root / "stages").glob("*/*.trash-*"))
    again = Mirror(url).pull(other, "first")
    assert (again.stages, again.there, again.files) == ((), ("train:cam", "masks:cam"), 0)
    assert Mirror(url).push(store, "first").files == 0


def test_two_machines_that_push_at_once_mix_nothing(
    store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings of one key differ in their last bits on other machines: a copy is one machine's or the other's."""
    shutil.copytree(store.root, tmp_path / "quick")
    quick, slow = Store(tmp_path / "quick"), Mirror(url)
    for path in (quick.root / "stages").glob("*/*/masks/*.png"):
        path.write_bytes(b"quick")
    write, raced = slow._write, []

    def late(place: Any, source: Path) -> tuple[int, str]:
        if not raced:
            raced.append(Mirror(url).push(quick, "first"))  # the other one is done while this one begins
        return write(place, source)

    monkeypatch.setattr(slow, "_write", late)
    monkeypatch.setattr("wsss_platform.upkeep.mirror.THREADS", 1)
    assert slow.push(store, "first").files == 0
    assert raced[0].files == 82
    found = Store(tmp_path / "found")
    Mirror(url).pull(found, "first")
    for kind, key in (("train", STAGES["train:cam"]), ("masks", STAGES["masks:cam"])):
        assert content(found.folder(kind, key)) == content(quick.folder(kind, key)), "who came first stays"
        copies = [path for path in (tmp_path / "mirror" / "stages" / kind / key).iterdir() if path.is_dir()]
        assert len(copies) == 1, "the second copy is dropped"

    # and where neither saw the other, the last list of files is taken as a whole
    blind = Mirror(url)
    monkeypatch.setattr(blind, "_has", lambda kind, key: False)
    assert blind.push(store, "first").files == 82
    third = Store(tmp_path / "third")
    Mirror(url).pull(third, "first")
    for kind, key in (("train", STAGES["train:cam"]), ("masks", STAGES["masks:cam"])):
        assert content(third.folder(kind, key)) == content(store.folder(kind, key))


def test_a_copy_without_its_manifest_is_no_copy(store: Store, url: str, tmp_path: Path) -> None:
    Mirror(url).push(store, "first")
    copy = tmp_path / "mirror" / "stages" / "masks" / STAGES["masks:cam"]
    (copy / MANIFEST).unlink()  # what a push that was cut off leaves
    assert "masks:cam" in Mirror(url).pull(Store(tmp_path / "there"), "first").lacking
    assert Mirror(url).push(store, "first").stages == ("masks:cam",)
    assert "masks:cam" in Mirror(url).pull(Store(tmp_path / "there"), "first").stages


def test_a_damaged_file_is_not_taken(store: Store, url: str, tmp_path: Path) -> None:
    Mirror(url).push(store, "first")
    (copy,) = (tmp_path / "mirror" / "stages" / "masks" / STAGES["masks:cam"]).glob("*/masks/7.png")
    copy.write_bytes(bytes(100))
    other = Store(tmp_path / "there")
    with pytest.raises(RunError, match=r"7\.png: damaged"):
        Mirror(url).pull(other, "first")
    assert not other.has("masks", STAGES["masks:cam"])
    assert not list((other.root / "stages").glob("*/*.trash-*"))
    copy.unlink()
    with pytest.raises(RunError, match=r"7\.png"):
        Mirror(url).pull(other, "first")
    copy.write_bytes(bytes([7]) * 100)
    assert Mirror(url).pull(other, "first").stages == ("masks:cam",), "what came before is kept"


def test_what_was_written_is_read_back(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsss_platform.upkeep import mirror

    pump, calls = mirror._pump, []

    def lossy(read: Any, write: Any) -> tuple[int, str]:
        calls.append(write)
        size, digest = pump(read, write)
        return size, digest if len(calls) % 2 else "0" * 64  # every second one is a read

    monkeypatch.setattr(mirror, "_pump", lossy)
    monkeypatch.setattr(mirror, "THREADS", 1)
    with pytest.raises(RunError, match="read back"):
        Mirror(url).push(store, "first")
    assert not Mirror(url)._has("train", STAGES["train:cam"])


@pytest.mark.parametrize("name", ["../../../runs/x", "/etc/passwd", "a/../../b", ""])
def test_names_that_lead_out_of_the_folder_are_refused(store: Store, url: str, tmp_path: Path, name: str) -> None:
    Mirror(url).push(store, "first")
    listing = tmp_path / "mirror" / "stages" / "train" / STAGES["train:cam"] / FILES
    listing.write_text(json.dumps({name: [1, "0" * 64, "12345678"]}))
    with pytest.raises(RunError, match="no name inside"):
        Mirror(url).pull(Store(tmp_path / "there"), "first")


def test_a_copy_that_lies_outside_is_refused(store: Store, url: str, tmp_path: Path) -> None:
    Mirror(url).push(store, "first")
    listing = tmp_path / "mirror" / "stages" / "train" / STAGES["train:cam"] / FILES
    for copy in ("..", "../../x", "/etc"):
        listing.write_text(json.dumps({"large.bin": [1, "0" * 64, copy]}))
        with pytest.raises(RunError, match="no name inside"):
            Mirror(url).pull(Store(tmp_path / "there"), "first")


@pytest.mark.parametrize(("stage", "key"), [("train:cam", "../../../etc"), ("../train:cam", "a" * 64)])
def test_a_record_that_leads_out_of_the_store_is_refused(
    store: Store, url: str, tmp_path: Path, stage: str, key: str
) -> None:
    Mirror(url).push(store, "first")
    path = tmp_path / "mirror" / "runs" / "first" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "stages": {stage: key}}))
    with pytest.raises(InputError, match=r"run\.json"):
        Mirror(url).pull(Store(tmp_path / "there"), "first")


def test_another_run_of_that_name_is_not_overwritten(store: Store, url: str, tmp_path: Path) -> None:
    Mirror(url).push(store, "first")
    other = Store(tmp_path / "there")
    write_record(other, record(started="2026-02-02T03:04:05+00:00"))
    with pytest.raises(InputError, match="is another"):
        Mirror(url).pull(other, "first")
    with pytest.raises(InputError, match="another run"):
        Mirror(url).push(other, "first")


def test_wrong_names_and_places(store: Store, url: str) -> None:
    with pytest.raises(InputError, match="unknown run"):
        Mirror(url).push(store, "frist")
    Mirror(url).push(store, "first")
    with pytest.raises(InputError, match="did you mean 'first'"):
        Mirror(url).pull(store, "frist")
    with pytest.raises(InputError, match="nosuch"):
        Mirror("nosuch://bucket/x")
    with pytest.raises(InputError):
        Mirror(url).pull(store, "../x")


def test_the_key_in_a_url_is_not_shown() -> None:
    with pytest.raises(InputError, match="nosuch://bucket/x") as caught:
        Mirror("nosuch://me:hidden@bucket/x")
    assert "hidden" not in str(caught.value)
