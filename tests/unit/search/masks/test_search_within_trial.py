"""An inner search on generated images: what it finds is what the pipeline finds, and nothing is repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.errors import InputError, RunError
from wsss_platform.maps.storage import StoredMap, grid_size, maps_file, read_maps, write_maps
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport, ChunkWork
from wsss_platform.run.chunks.images import chunks_of
from wsss_platform.run.interrupts import Interrupted
from wsss_platform.run.pipeline import FAILURES, run
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.masks.searches import choose
from wsss_platform.search.masks.settings import CONFIGURED
from wsss_platform.search.masks.table import evaluations, searched
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store

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


def experiment(images: int, **config: Any) -> Experiment:
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": images, "val": 2, "size": 48}})
    method = get("cam")
    return Experiment(method, method.config.model_validate(config), data)


def levels(of: Experiment, settings: int) -> Levels:
    tables = {path: {**axis, "reason": "for the test"} for path, axis in AXES.items()}
    return split(of, read_space({"axes": tables}, of.config, "test"), settings)


def put_maps(store: Store, of: Experiment) -> None:
    """Stored maps that are the ground truth, blurred, with noise."""
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


def settings_in(folder: Path) -> list[tuple[str, int]]:
    """Key and images of every setting that was counted."""
    return [(key, item["images"]) for one in searched(folder) for key, item in one["settings"].items()]


def test_inner_results_are_the_pipelines(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(9)
    put_maps(store, one)
    choice = choose([one], levels(one, 7), store, Here(), tmp_path)
    found = choice.found
    (rung,) = found.rungs
    assert (len(rung.scores), rung.images) == (7, 9)
    assert {setting.masks.crf == "none" for setting in found.settings.values()} == {True, False}
    assert len(set(rung.scores.values())) > 5, "settings must make different masks"
    for name, setting in found.settings.items():
        score = run(one.with_changes(setting.changes, name), store, Here()).score
        assert score is not None
        assert rung.scores[name] == (score["sweep"]["best_mean_iou"] if setting.swept else score["mean_iou"])
        assert score["sweep"]["best_threshold"] == found.threshold
    winner = run(one.with_changes(choice.changes, "winner"), store, Here()).score
    assert winner is not None
    assert winner["mean_iou"] == found.value == max(rung.scores.values())
    assert evaluations(tmp_path) == 7
    (document,) = [json.loads(path.read_text()) for path in tmp_path.glob("inner/*/search.json")]
    assert (document["winner"], document["searched"]) == (found.winner.name, dict(rung.scores))


@pytest.mark.parametrize("rule", ["constant", "power"])
def test_as_configured_is_never_lost(tmp_path: Path, rule: str) -> None:
    """Alone it is what a trial without inner search would be, with its background solved."""
    store, one = Store(tmp_path), experiment(9, masks={"rule": rule})
    put_maps(store, one)
    choice = choose([one], levels(one, 1), store, Here(), tmp_path)
    plain, solved = (run(each, store, Here()).score for each in (one, one.with_changes(choice.changes, "solved")))
    assert plain is not None
    assert solved is not None
    assert list(choice.changes) == ["masks.background" if rule == "constant" else "masks.alpha"]
    assert solved["mean_iou"] == choice.found.value == plain["sweep"]["best_mean_iou"] >= plain["mean_iou"]


def test_settings_halve_and_as_configured_stays(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(30)
    put_maps(store, one)
    runner = Here()
    found = choose([one], levels(one, 10), store, runner, tmp_path).found
    assert [(rung.images, len(rung.scores)) for rung in found.rungs] == [(10, 10), (30, 4)], "as configured, and 9 // 3"
    assert all(CONFIGURED in rung.scores for rung in found.rungs)
    assert sorted(images for _, images in settings_in(tmp_path)) == [10] * 6 + [30] * 4
    assert sum(map(len, runner.done)) == 30, "a later rung counts what the earlier one has not"
    assert not list(tmp_path.glob("inner/*/counting"))


def test_nothing_is_repeated(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(40)
    put_maps(store, one)
    with pytest.raises(RunError, match="killed"):
        choose([one], levels(one, 2), store, Here(breaks_after=5), tmp_path)
    assert settings_in(tmp_path) == [(key, 5) for key, _ in settings_in(tmp_path)]
    resumed = Here()
    first = choose([one], levels(one, 2), store, resumed, tmp_path)
    assert first.found.computed == first.found.evaluations - 2 * 5
    assert evaluations(tmp_path) == 2
    again = choose([one], levels(one, 2), store, Here(), tmp_path)
    assert (again.changes, again.found.rungs, evaluations(tmp_path)) == (first.changes, first.found.rungs, 2)
    assert again.found.computed == 0
    more = choose([one], levels(one, 4), store, Here(), tmp_path)  # a further trial of the same maps
    assert evaluations(tmp_path) == 4, "what both trials tried on the same maps is evaluated once"
    assert more.found.computed < more.found.evaluations
    assert more.found.value >= first.found.value


def test_ctrl_c_ends_between_chunks_and_nothing_is_lost(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(40)
    put_maps(store, one)
    answers = iter([False, False, True])
    with pytest.raises(Interrupted):
        choose([one], levels(one, 2), store, Here(), tmp_path, asked=lambda: next(answers))
    assert [images for _, images in settings_in(tmp_path)] == [2, 2]
    choice = choose([one], levels(one, 2), store, Here(), tmp_path)
    assert choice.found.computed == choice.found.evaluations - 2 * 2
    assert len(choice.changes) > 0


def test_seeds_are_pooled(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(9)
    both = [one, replace(one, seed=1)]
    for each in both:
        put_maps(store, each)
    choice = choose(both, levels(one, 5), store, Here(), tmp_path)
    means = []
    for each in both:
        score = run(each.with_changes(choice.changes, "winner"), store, Here()).score
        assert score is not None
        means.append(score["mean_iou"])
    assert means[0] != means[1]
    assert choice.found.value == pytest.approx(np.mean(means), abs=1e-12)
    assert evaluations(tmp_path) == 10


def test_an_image_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(6)
    put_maps(store, one)
    path = maps_file(store.folder("maps", one.stage("maps").key), 0)
    kept = list(read_maps(path))
    write_maps(path, kept[:-1])
    with pytest.raises(InputError, match=f"no map of image '{kept[-1].id}'"):
        choose([one], levels(one, 3), store, Here(), tmp_path)


def test_images_whose_maps_were_allowed_to_fail_are_left_out(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(9)
    put_maps(store, one)
    folder = store.folder("maps", one.stage("maps").key)
    kept = list(read_maps(maps_file(folder, 0)))
    write_maps(maps_file(folder, 0), kept[:-1])
    (folder / FAILURES).write_text(json.dumps([[kept[-1].id, "no image"]]))
    found = choose([one], levels(one, 3), store, Here(), tmp_path).found
    assert found.rungs[-1].images == 8
