"""A folder of maps as a run: keys, protocol, resuming, and files that change under way."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss_platform.config import DataConfig, ImportedConfig, SampleConfig, override, validated
from wsss_platform.config.supervision import supervision_words
from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.errors import InputError
from wsss_platform.maps.foreign.folder import ForeignFolder
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol
from wsss_platform.run import imported
from wsss_platform.run.chunks.images import chunks_of
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store

DATA = DataConfig(sample=SampleConfig(train=40, val=3, size=48))


def write_maps(folder: Path, list_name: str = "train") -> Path:
    """SEAM's form, true objects at 0.8 over a slope."""
    folder.mkdir()
    probe = Experiment(imported.MAPS, config(folder, "0" * 64), DATA).dataset
    split, truth = probe.split(list_name), probe.truth(list_name)
    for id in split.ids:
        mask = truth.mask(id)
        slope = np.linspace(0, 0.2, mask.size, dtype=np.float32).reshape(mask.shape)
        table = {int(c): np.where(mask == c + 1, np.float32(0.8), slope) for c in np.flatnonzero(split.labels(id))}
        np.save(folder / f"{id}.npy", table, allow_pickle=True)  # type: ignore[arg-type]
    return folder


def config(folder: Path, content: str, **changes: Any) -> ImportedConfig:
    section = {"form": "seam", "folder": str(folder), "content": content, **changes}
    return validated(ImportedConfig, {"imported": section}, "test")


def experiment(folder: Path, list_name: str = "train", may_lack: int = 0, **changes: Any) -> Experiment:
    data = override(DATA, {"train_list": list_name, "score_list": list_name})
    empty = Experiment(imported.MAPS, config(folder, "0" * 64), data)
    source = ForeignFolder(folder, "seam", empty.dataset.classes)
    content = imported.scan(source, empty.dataset.split(list_name).ids, may_lack)
    return Experiment(imported.MAPS, config(folder, content, **changes), data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maps(tmp_path_factory.mktemp("theirs") / "maps")


def test_maps_and_masks_without_a_training(folder: Path, tmp_path: Path) -> None:
    mine, store = experiment(folder), Store(tmp_path)
    assert [stage.name for stage in mine.stages] == ["maps:imported", "masks:imported", "score:imported"]
    run(mine, store, LocalRunner(), until=mine.stage("masks"))
    maps = MapReader(store.open("maps", mine.source.key).folder)
    split, truth = mine.dataset.split("train"), mine.dataset.truth("train")
    assert maps.ids == list(split.ids)
    right = []
    for id in split.ids:
        assert maps[id].classes.tolist() == np.flatnonzero(split.labels(id)).tolist()
        assert full_size(maps[id]).max() <= 0.8005
        mask = read_mask(mask_file(store.open("masks", mine.stage("masks").key).folder, id))
        right.append((mask == truth.mask(id)).mean())
    assert np.mean(right) > 0.9  # a border of two pixels is what a grid of four leaves of sharp maps
    assert not any(imported.remarks_of(store.open("maps", mine.source.key).folder).values())


def test_the_key_is_content_list_and_reading(folder: Path, tmp_path: Path) -> None:
    first = experiment(folder)
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    moved = experiment(copy, supervision="labels + CLIP")
    assert moved.source.key == first.source.key
    assert moved.key == first.key
    for changes in ({"gate": "none"}, {"normalise": "max"}, {"precision": "uint8"}, {"stretch": True}):
        assert experiment(folder, **changes).source.key != first.source.key
    one = next(iter(copy.glob("*.npy")))
    one.write_bytes(one.read_bytes() + b" ")
    assert experiment(copy).source.key != first.source.key
    masks = Experiment(first.method, override(first.config, {"masks.background": 0.5}), first.data)
    assert masks.source.key == first.source.key
    assert masks.stage("masks").key != first.stage("masks").key


def test_the_protocol_says_what_is_not_known(folder: Path) -> None:
    said = protocol(experiment(folder), selection="unknown")
    assert said.backbone == "imported maps (seam)"
    assert said.supervision == ()
    assert (said.train_list, said.train_images) == ("unknown (imported)", 0)
    assert said.initial_weights.startswith("imported:")
    assert said.selection == "unknown"
    assert said.label_gate
    told = protocol(experiment(folder, supervision="labels + CLIP", gate="none"))
    assert supervision_words(told.supervision) == "labels + CLIP"
    assert not told.label_gate
    assert told.group() != said.group()


@pytest.mark.parametrize("path", ["train.epochs", "maps.flip", "backbone.output_stride", "affinity.kind"])
def test_settings_that_nothing_reads_are_refused(folder: Path, path: str) -> None:
    value: Any = {"train.epochs": 3, "maps.flip": False, "backbone.output_stride": 8, "affinity.kind": "irn"}[path]
    with pytest.raises(InputError, match=rf"{path.split('.')[0]}\.\* does nothing to imported maps"):
        override(experiment(folder).config, {path: value})


def test_missing_images_are_all_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "maps")
    gone = sorted(path.stem for path in copy.glob("*.npy"))[3:33]
    for id in gone:
        (copy / f"{id}.npy").unlink()
    with pytest.raises(InputError, match="no seam maps of 30 of 40 images") as error:
        experiment(copy)
    assert all(id in str(error.value) for id in gone)


def test_images_that_do_not_fit_are_listed_and_the_rest_continues(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "maps")
    ids = sorted(path.stem for path in copy.glob("*.npy"))
    bad = [ids[0], ids[35]]  # in both chunks
    for id in bad:
        np.save(copy / f"{id}.npy", {0: np.full((9, 90), np.nan, np.float32)}, allow_pickle=True)  # type: ignore[arg-type]
    mine, store = experiment(copy, gate="none"), Store(tmp_path / "store")
    with pytest.raises(InputError, match="2 of 40 images failed") as error:
        run(mine, store, LocalRunner(), until=mine.source)
    assert all(id in str(error.value) for id in bad)
    assert not store.has("maps", mine.source.key)


def test_images_may_fail_or_lack_where_that_is_allowed(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "maps")
    ids = sorted(path.stem for path in copy.glob("*.npy"))
    (copy / f"{ids[1]}.npy").unlink()
    np.save(copy / f"{ids[34]}.npy", {0: np.full((9, 90), np.nan, np.float32)}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="of 1 of 40 images"):
        experiment(copy, gate="none")
    mine = experiment(copy, may_lack=1, gate="none")
    with pytest.raises(InputError, match="2 of 40 images failed, 1 may"):
        run(mine, Store(tmp_path / "store", 1), LocalRunner(), until=mine.stage("masks"))
    store = Store(tmp_path / "store", 2)
    run(mine, store, LocalRunner(), until=mine.stage("masks"))
    assert len(MapReader(store.open("maps", mine.source.key).folder)) == 38
    stage = store.open("masks", mine.stage("masks").key)
    assert [id for id, _ in json.loads((stage.folder / "failures.json").read_text())] == [ids[1], ids[34]]


def test_an_interrupted_import_continues_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    mine = experiment(folder)
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    run(mine, whole, LocalRunner(), until=mine.source)
    with cut.building("maps", mine.source.key) as partial:
        assert partial is not None
        work = pickle.loads(
            pickle.dumps(imported.ImportMapsWork(mine, mine.phases[-1], "train", partial))
        )  # as it reaches an actor
        work(chunks_of(mine.dataset.split("train").ids)[0])
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("maps-*")}
    assert len(before) == 1
    run(mine, cut, LocalRunner(), until=mine.source)
    first, second = (store.open("maps", mine.source.key).folder for store in (whole, cut))
    names = sorted(path.name for path in first.glob("*") if path.name != "manifest.json")
    assert names == sorted(path.name for path in second.glob("*") if path.name != "manifest.json")
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    kept = next(iter(before))
    assert (second / kept).stat().st_mtime_ns == before[kept]


def test_files_that_change_under_way_are_noticed(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "maps")
    mine, store = experiment(copy), Store(tmp_path / "store")
    ids = mine.dataset.split("train").ids
    other = np.load(copy / f"{ids[0]}.npy", allow_pickle=True).item()
    np.save(copy / f"{ids[0]}.npy", {c: values / 2 for c, values in other.items()}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="files changed while they were imported"):
        run(mine, store, LocalRunner(), until=mine.source)
    assert not list(store.partial("maps", mine.source.key).glob("maps-*"))
    shutil.copy(folder / f"{ids[0]}.npy", copy)
    run(mine, store, LocalRunner(), until=mine.source)
    assert store.has("maps", mine.source.key)


def test_what_was_changed_is_said_by_image(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "maps")
    probe = experiment(copy)
    split, id = probe.dataset.split("train"), probe.dataset.split("train").ids[0]
    height, width = split.size(id)
    number = int(np.flatnonzero(split.labels(id))[0])
    extra = int(np.flatnonzero(~split.labels(id))[0])
    small = np.zeros((height // 4, width // 4), np.float32)
    np.save(copy / f"{id}.npy", {number: small, extra: small}, allow_pickle=True)  # type: ignore[arg-type]
    mine, store = experiment(copy), Store(tmp_path / "store")
    run(mine, store, LocalRunner(), until=mine.source)
    found = json.loads((store.open("maps", mine.source.key).folder / imported.REMARKS).read_text())
    assert found["resampled"] == {id: [height // 4, width // 4]}
    assert found["dropped"] == {id: [split.classes[extra]]}
