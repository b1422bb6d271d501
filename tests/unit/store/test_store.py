"""The store: nothing half-written is ever seen, and two processes that need one artefact make it once."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from another_process import holding
from wsss_platform.errors import InputError, RunError
from wsss_platform.store.artefacts import MANIFEST, Store, check_name, write_atomic

KEY = "a" * 64


def test_a_finished_artefact_is_there_and_is_not_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building("maps", KEY) as folder:
        assert folder is not None
        (folder / "data").write_text("x")
        assert not store.has("maps", KEY)
        store.commit("maps", KEY, {"seconds": 1})
    assert store.has("maps", KEY)
    assert (store.open("maps", KEY).folder / "data").read_text() == "x"
    with store.building("maps", KEY) as folder:
        assert folder is None


def test_what_a_crash_left_is_offered_again_and_never_taken_for_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="crash"), store.building("maps", KEY) as folder:
        assert folder is not None
        (folder / "chunk").write_text("kept")
        raise RuntimeError("crash")
    assert not store.has("maps", KEY)
    with store.building("maps", KEY) as folder:
        assert folder is not None
        assert (folder / "chunk").read_text() == "kept"


def test_a_folder_without_a_manifest_is_not_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("maps", KEY).mkdir(parents=True)
    assert not store.has("maps", KEY)
    with pytest.raises(RunError, match="not in the store"):
        store.open("maps", KEY)
    with store.building("maps", KEY) as folder:
        assert folder is not None
        store.commit("maps", KEY, {})
    assert store.has("maps", KEY)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("maps", KEY).mkdir(parents=True)
    (store.folder("maps", KEY) / MANIFEST).write_text("{")
    with pytest.raises(RunError, match=r"manifest\.json"):
        store.open("maps", KEY)


def _make_once(root: Path, together: Barrier) -> None:
    store = Store(root)
    together.wait()
    with store.building("maps", KEY) as folder:
        if folder is None:
            return
        with (root / "made").open("a") as stream:
            stream.write("made\n")
        time.sleep(0.2)  # the others come in meanwhile, if they can
        store.commit("maps", KEY, {})


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    processes = [context.Process(target=_make_once, args=(tmp_path, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "made").read_text() == "made\n"


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with holding(tmp_path, "maps", KEY):
        assert Store(tmp_path).held("maps", KEY)
    with Store(tmp_path).building("maps", KEY) as folder:
        assert folder is not None


def test_atomic_write_keeps_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, json.dumps(["new"]))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a..b", "x" * 200, "a\nb"])
def test_names_that_are_no_plain_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected letters"):
        check_name(name)
    with pytest.raises(InputError):
        Store(tmp_path).run_folder(name)


def test_a_key_is_64_hex_digits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="content key"):
        Store(tmp_path).folder("maps", "../../etc")


def make(store: Store, kind: str = "maps", key: str = KEY, **said: object) -> Path:
    with store.building(kind, key) as folder:
        assert folder is not None
        (folder / "data").write_text("x" * 100)
        return store.commit(kind, key, said).folder


def test_what_was_removed_with_a_reason_can_still_be_explained(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = make(store, inputs={"weights": "b" * 64})
    assert store.remove("maps", KEY, "its trial lost")
    assert not folder.exists()
    assert not store.has("maps", KEY)
    gone = store.dropped("maps", KEY)
    assert gone is not None
    assert (gone["dropped"], gone["inputs"]) == ("its trial lost", {"weights": "b" * 64})
    with pytest.raises(RunError, match="its trial lost"):
        store.open("maps", KEY)
    assert not store.remove("maps", KEY, "again"), "there is nothing any more"
    make(store)
    assert store.has("maps", KEY), "it can be made again"


def test_what_is_being_made_is_not_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with holding(tmp_path, "maps", KEY):
        assert store.held("maps", KEY)
        assert not store.remove("maps", KEY, partial=True)
        assert store.partial("maps", KEY).is_dir()
    assert not store.held("maps", KEY)
    assert store.remove("maps", KEY, partial=True)
    assert not store.partial("maps", KEY).exists()


def test_a_deletion_that_is_cut_off_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = make(store)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # the process dies here
    assert store.remove("maps", KEY)
    assert not store.has("maps", KEY)
    assert not folder.exists()
    (trash,) = folder.parent.glob("*.trash-*")
    assert (trash / MANIFEST).is_file()
