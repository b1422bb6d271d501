"""`store verify`: a whole store has nothing to say, and each kind of damage is named by its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import MANIFEST, Store
from wsss_platform.upkeep.verification import SAMPLED, Finding, spread, verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with the four stages of one run of 40 images (two chunks)."""
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 40, "val": 1, "size": 48}})
    method = get("cam")
    config = method.config.model_validate(
        {
            "train": {"epochs": 1, "batch": 20, "crop": 32},
            "maps": {"scales": [1.0], "flip": False},
            "backbone": {"weights": "none"},
        }
    )
    root = tmp_path_factory.mktemp("storage")
    run(Experiment(method, config, data), Store(root), LocalRunner(threads=1))
    return root


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Store:
    """A copy of it that may be damaged."""
    shutil.copytree(whole, tmp_path / "storage")
    return Store(tmp_path / "storage")


def one(store: Store, pattern: str) -> Path:
    """The first file of that pattern."""
    return min((store.root / "stages").glob(pattern))


def damaged(store: Store, full: bool = False) -> list[Finding]:
    return [finding for finding in verify(store, full=full) if finding.damaged]


def test_a_whole_store_has_nothing_to_say(store: Store) -> None:
    seen = []
    assert verify(store, full=True, on_entry=seen.append) == []
    assert [entry.kind for entry in seen] == ["maps", "masks", "score", "train"]


def flip_a_byte(path: Path) -> None:
    """Inside the first page: only its checksum notices."""
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("pattern", "harm", "said"),
    [
        ("maps/*/maps-000001.parquet", flip_a_byte, "maps-000001.parquet"),
        ("maps/*/maps-000001.parquet", Path.unlink, "holds 32 images, its manifest says 40"),
        ("masks/*/masks/*.png", cut, ".png"),
        ("masks/*/masks/*.png", flip_a_byte, ".png"),
        ("masks/*/masks/*.png", Path.unlink, "holds 39 images, its manifest says 40"),
        ("score/*/confusion-000000.parquet", flip_a_byte, "confusion-000000.parquet"),
        ("score/*/sweep-000001.parquet", cut, "sweep-000001.parquet"),
        ("score/*/sweep-000001.parquet", Path.unlink, "32 in sweep"),
        ("score/*/score.json", cut, "score"),
        ("train/*/weights.pt", cut, "weights.pt"),
        ("train/*/weights.pt", Path.unlink, "no such file"),
        ("train/*/metrics.jsonl", lambda path: path.write_text("{\n"), "metrics"),
        ("maps/*/manifest.json", cut, "no readable manifest"),
        ("maps/*/manifest.json", lambda path: path.write_text('{"key": "x", "kind": "maps"}'), "of this key"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_damage_is_named(store: Store, pattern: str, harm: Callable[[Path], object], said: str) -> None:
    harm(one(store, pattern))
    found = damaged(store)
    assert found
    assert any(said in finding.reason for finding in found), found
    kind = pattern.split("/")[0]
    assert kind in {finding.entry.kind for finding in found}


def test_weights_that_would_run_code_are_not_loaded(store: Store, tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Bad()}, one(store, "train/*/weights.pt"))
    (finding,) = damaged(store)
    assert "weights.pt" in finding.reason
    assert not (tmp_path / "ran").exists()


def test_masks_are_sampled_unless_all_are_asked_for(store: Store) -> None:
    files = sorted((store.root / "stages").glob("masks/*/masks/*.png"))
    left_out = next(path for path in files if path not in spread(files, SAMPLED))
    cut(left_out)
    assert damaged(store) == []
    (finding,) = damaged(store, full=True)
    assert left_out.name in finding.reason


def test_an_input_may_be_dropped_but_not_lost(store: Store) -> None:
    maps = one(store, "maps/*/manifest.json").parent
    assert store.remove("maps", maps.name, "its trial lost")
    assert verify(store) == []
    weights = one(store, "train/*/manifest.json").parent
    note = maps.with_name(f"{maps.name}.dropped")
    assert json.loads(note.read_text())["inputs"] == {"weights": weights.name}
    note.unlink()
    assert {finding.entry.kind for finding in damaged(store)} == {"masks", "score"}
    assert all("maps" in finding.reason for finding in damaged(store))


def test_what_is_unfinished_or_left_over_is_listed_and_is_no_damage(store: Store) -> None:
    key = "c" * 64
    with pytest.raises(RuntimeError), store.building("maps", key):
        raise RuntimeError("killed")
    (store.root / "stages" / "train" / f"{key}.lock").touch()
    (store.root / "stages" / "maps" / f"{key}.trash-0123abcd").mkdir()
    found = verify(store)
    assert not [finding for finding in found if finding.damaged]
    assert {finding.entry.state for finding in found} == {"partial", "lock", "trash"}
    assert any("stale lock" in finding.reason for finding in found)
    with store.building("maps", key):
        assert any("is being made" in finding.reason for finding in verify(store))


def test_a_folder_under_another_name_is_not_what_it_says(store: Store) -> None:
    folder = one(store, f"maps/*/{MANIFEST}").parent
    folder.rename(folder.with_name("d" * 64))
    assert any("of this key" in finding.reason for finding in damaged(store))


def test_manifests_of_earlier_versions_say_how_many_images_under_another_name(store: Store) -> None:
    file = one(store, f"maps/*/{MANIFEST}")
    said = json.loads(file.read_text())
    said["pictures"] = said.pop("images")
    file.write_text(json.dumps(said))
    assert damaged(store) == []
    file.write_text(json.dumps(said | {"pictures": 41}))
    (finding,) = damaged(store)
    assert "holds 40 images, its manifest says 41" in finding.reason
