"""An inner search on generated pictures: what it finds is what the pipeline finds, and nothing is repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig, override
from wsss_platform.errors import InputError, RunError
from wsss_platform.experiment import Experiment
from wsss_platform.inner.levels import Levels, split
from wsss_platform.inner.search import choose
from wsss_platform.inner.table import FILE, Row, append_rows, looks, read_rows, seconds_per_picture
from wsss_platform.interrupts import Interrupted
from wsss_platform.maps.storage import StoredMap, grid_size, maps_file, write_maps
from wsss_platform.pipeline import run
from wsss_platform.space import read_space
from wsss_platform.stages import Chunk, ChunkReport, ChunkWork
from wsss_platform.store import Store
from wsss_platform.work import chunks_of

AXES: dict[str, dict[str, Any]] = {
    "masks.rule": {"kind": "categorical", "choices": ["constant", "power", "two_alpha"]},
    "masks.alpha": {"kind": "float", "low": 1.0, "high": 9.0},
    "masks.crf": {"kind": "categorical", "choices": ["none", "irn", "psa"]},
    "masks.crf_iterations": {"kind": "int", "low": 1, "high": 3},
}


class Here:
    """Chunks in this process; counts them, and breaks when told to."""

    def __init__(self, breaks_after: int | None = None) -> None:
        self.done: list[tuple[str, ...]] = []
        self._breaks_after = breaks_after

    def train(self, *_: Any) -> None:
        raise AssertionError("nothing is to be trained")

    def chunks(
        self, line: Sequence[ChunkWork], chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]
    ) -> None:
        for chunk in chunks:
            if len(self.done) == self._breaks_after:
                raise RunError("killed")
            for place, work in enumerate(line):
                on_chunk(place, work(chunk))
            self.done.append(chunk.ids)


def experiment(pictures: int, **config: Any) -> Experiment:
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": pictures, "val": 2, "size": 48}})
    method = get("cam")
    return Experiment(method, method.config.model_validate(config), data)


def levels(of: Experiment, settings: int) -> Levels:
    tables = {path: {**axis, "reason": "for the test"} for path, axis in AXES.items()}
    return split(of, read_space({"axes": tables}, of.config, "test"), settings)


def put_maps(store: Store, of: Experiment) -> None:
    """Stored maps that are the truth, blurred, with noise."""
    stage = of.stage("maps")
    data, generator = of.dataset, np.random.default_rng(of.seed)
    with store.building("maps", stage.key) as folder:
        assert folder is not None
        for chunk in chunks_of(data.split(stage.list_name).ids):
            maps = []
            for name in chunk.ids:
                mask = data.truth(stage.list_name).mask(name)
                classes = np.flatnonzero(data.split(stage.list_name).labels(name)).astype(np.uint8)
                rows, columns = grid_size(*mask.shape)
                scores = np.zeros((len(classes), rows, columns), np.uint8)
                for place, cls in enumerate(classes):
                    found = cv2.resize((mask == cls + 1).astype(np.float32), (columns, rows))
                    noisy = 0.6 * found + generator.random((rows, columns)) * 0.4
                    scores[place] = (255 * noisy).astype(np.uint8)
                maps.append(StoredMap(name, classes, scores, *mask.shape))
            write_maps(maps_file(folder, chunk.index), maps)
        store.commit("maps", stage.key, {"stage": stage.name, "method": of.method.name, "inputs": {}, "seconds": 1.0})


def test_inner_results_are_the_pipelines(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(9)
    put_maps(store, one)
    choice = choose([one], levels(one, 7), 0, store, Here(), tmp_path)
    rows = read_rows(tmp_path)
    assert len(rows) == 7
    assert {row.pictures for row in rows} == {9}
    assert {row.crf for row in rows} == {True, False}
    assert len({row.mean_iou for row in rows}) > 5, "settings must make different masks"
    for row in rows:
        changes = {path: value for path, value in row.values.items() if value is not None}
        if row.crf and row.setting:
            changes["masks.crf_backend"] = "lattice"
        score = run(replace(one, config=override(one.config, changes)), store, Here()).score
        assert score is not None
        assert score["mean_iou"] == row.mean_iou
        assert (score["sweep"]["best_threshold"], score["sweep"]["best_mean_iou"]) == (
            row.best_threshold,
            row.best_mean_iou,
        )
    winner = run(replace(one, config=override(one.config, choice.changes)), store, Here()).score
    assert winner is not None
    assert winner["mean_iou"] == choice.row.value == max(row.value for row in rows)
    assert looks(tmp_path, 1) == 7


@pytest.mark.parametrize("rule", ["constant", "power"])
def test_as_configured_is_never_lost(tmp_path: Path, rule: str) -> None:
    """Alone it is what a trial without inner search would be, with its background solved."""
    store, one = Store(tmp_path), experiment(9, masks={"rule": rule})
    put_maps(store, one)
    choice = choose([one], levels(one, 1), 0, store, Here(), tmp_path)
    score = run(replace(one, config=override(one.config, choice.changes)), store, Here()).score
    assert score is not None
    assert list(choice.changes) == ["masks.background" if rule == "constant" else "masks.alpha"]
    assert score["mean_iou"] == choice.row.best_mean_iou
    assert choice.row.value == choice.row.best_mean_iou >= choice.row.mean_iou


def test_settings_halve_and_as_configured_stays(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(30)
    put_maps(store, one)
    runner = Here()
    choice = choose([one], levels(one, 10), 0, store, runner, tmp_path)
    rows = {row.setting: row for row in read_rows(tmp_path)}
    assert sorted(row.pictures for row in rows.values()) == [10] * 6 + [30] * 4, "as configured, and 9 // 3"
    assert rows[0].pictures == choice.row.pictures == 30
    assert sum(map(len, runner.done)) == 30, "a later rung counts what the earlier one has not"
    dropped = max(row.value for row in rows.values() if row.pictures == 10)
    assert dropped < 1
    assert not (tmp_path / "inner").exists()


def test_nothing_is_repeated(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(40)  # two chunks
    put_maps(store, one)
    with pytest.raises(RunError, match="killed"):
        choose([one], levels(one, 2), 0, store, Here(breaks_after=1), tmp_path)
    assert read_rows(tmp_path) == []
    resumed = Here()
    seconds = [file.stat().st_mtime_ns for file in (tmp_path / "inner").rglob("counts-*.npz")]
    first = choose([one], levels(one, 2), 0, store, resumed, tmp_path)
    assert len(seconds) == 1
    assert looks(tmp_path, 1) == 2
    again = choose([one], levels(one, 2), 0, store, Here(breaks_after=0), tmp_path)
    assert (again.changes, again.row, looks(tmp_path, 1)) == (first.changes, first.row, 2)
    more = choose([one], levels(one, 4), 1, store, Here(), tmp_path)  # a further trial of the same maps
    rows = read_rows(tmp_path)
    assert looks(tmp_path, 1) == 4, "what both trials tried on the same maps is looked at once"
    assert [(row.trial, row.setting) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert [replace(row, trial=0) for row in rows[2:4]] == rows[:2]
    assert more.row.value >= first.row.value


def test_ctrl_c_ends_between_chunks_and_nothing_is_lost(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(40)
    put_maps(store, one)
    with pytest.raises(Interrupted):
        choose([one], levels(one, 2), 0, store, Here(), tmp_path, asked=lambda: True)
    assert len(list((tmp_path / "inner").rglob("counts-*.npz"))) == 1
    assert len(choose([one], levels(one, 2), 0, store, Here(), tmp_path).changes) > 0


def test_seeds_are_pooled(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(9)
    both = [one, replace(one, seed=1)]
    for each in both:
        put_maps(store, each)
    choice = choose(both, levels(one, 5), 0, store, Here(), tmp_path)
    means = []
    for each in both:
        score = run(replace(each, config=override(each.config, choice.changes)), store, Here()).score
        assert score is not None
        means.append(score["mean_iou"])
    assert means[0] != means[1]
    assert choice.row.value == pytest.approx(np.mean(means), abs=1e-12)
    assert looks(tmp_path, 2) == 10


def test_the_table_is_one_file_for_any_reader(tmp_path: Path) -> None:
    one = experiment(6)
    axes = levels(one, 2).inner
    values = {"masks.rule": "power", "masks.alpha": 2.5, "masks.crf": "none", "masks.crf_iterations": 3}
    row = Row(3, 0, "draw 1", "ab", "cd", values, False, 0.3, 0.5, 0.4, 0.5, 8.0, 4)
    append_rows(tmp_path, [row, replace(row, setting=1, crf=True, seconds=2.0)], axes)
    append_rows(tmp_path, [replace(row, trial=1)], axes)
    append_rows(tmp_path, [row], axes)  # that trial again
    assert read_rows(tmp_path) == [replace(row, trial=1), row]
    table = pq.read_table(tmp_path / FILE)
    assert table.column("masks.alpha").to_pylist() == [2.5, 2.5]
    assert str(table.schema.field("masks.crf_iterations").type) == "int64"
    study = Store(tmp_path).study_folder("s")
    study.mkdir(parents=True)
    append_rows(study, [row, replace(row, trial=4, crf=True, seconds=2.0)], axes)
    assert seconds_per_picture(Store(tmp_path), crf=False) == (2.0, 1)
    assert seconds_per_picture(Store(tmp_path), crf=True) == (0.5, 1)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-20])
    with pytest.raises(InputError, match=r"inner\.parquet: damaged"):
        read_rows(tmp_path)


def test_a_picture_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(6)
    put_maps(store, one)
    path = maps_file(store.folder("maps", one.stage("maps").key), 0)
    from wsss_platform.maps.storage import read_maps

    kept = list(read_maps(path))
    write_maps(path, kept[:-1])
    with pytest.raises(InputError, match=f"{kept[-1].id}: there is no map of it"):
        choose([one], levels(one, 3), 0, store, Here(), tmp_path)
