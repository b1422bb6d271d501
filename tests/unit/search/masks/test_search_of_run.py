"""A search over a run's stored maps, on generated images: what it tries, what it keeps, what it may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig, MasksConfig, override
from wsss_platform.data import Sample
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, grid_size, maps_file, write_maps
from wsss_platform.masks.make import make_mask
from wsss_platform.plan.experiment import Experiment
from wsss_platform.scores.confusion import confusion, mean_iou
from wsss_platform.search.levels import split
from wsss_platform.search.masks.halving import Found, Search
from wsss_platform.search.masks.images import plan, stratified
from wsss_platform.search.masks.searches import RunSearch, plan_search, run_search
from wsss_platform.search.masks.settings import CONFIGURED, NO_CRF, PER_LATTICE, WIDTHS, Setting, settings_of
from wsss_platform.search.masks.table import FILE, Table, evaluations, searched, seconds_per_image
from wsss_platform.search.space_file import load_space, read_space
from wsss_platform.store.artefacts import Store

SHIPPED = Path(__file__).parents[4] / "search_spaces" / "crf.toml"
CLASSES = ("cat", "dog", "cow")
SIZE = 48


@cache
def scene(number: int) -> tuple[np.ndarray, np.ndarray, int]:
    """RGB, ground-truth mask and class of one bright object on a dark ground."""
    generator = np.random.default_rng(number)
    cls = number % len(CLASSES)
    top, left = generator.integers(4, 20, 2)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top : top + 20, left : left + 22] = cls + 1
    image = np.where(mask[..., None] > 0, 200, 60) + generator.normal(0, 4, (SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8), mask, cls


@dataclass
class Images:
    """A data set of one list, which is its own split and ground truth; remembers whose ground truth was asked for."""

    ids: tuple[str, ...] = tuple(str(number) for number in range(48))
    name: str = "train"
    classes: tuple[str, ...] = CLASSES
    labels_from: str = "generator"
    asked: set[str] = field(default_factory=set)

    def split(self, name: str) -> Images:
        return self

    truth = split

    def labels(self, id: str) -> np.ndarray:
        return np.arange(len(CLASSES)) == scene(int(id))[2]

    def read(self, id: str) -> Sample:
        return Sample(id, scene(int(id))[0], self.labels(id))

    def mask(self, id: str) -> np.ndarray:
        self.asked.add(id)
        return scene(int(id))[1]

    def fingerprint(self) -> str:
        return "0" * 64

    saliency = saliency_fingerprint = fingerprint


def experiment(images: Images | None = None, **changes: Any) -> Experiment:
    """Of changes the dots are written as two underscores."""
    method = get("cam")
    config = override(method.config(), {path.replace("__", "."): value for path, value in changes.items()})
    one = Experiment(method, config, DataConfig.model_validate({"root": "generated", "score_list": "train"}))
    one.__dict__["dataset"] = images or Images()
    return one


def stored(id: str) -> StoredMap:
    """Maps that are too small for the object: the CRF has something to do."""
    _, mask, cls = scene(int(id))
    rows, columns = grid_size(SIZE, SIZE)
    ys, xs = np.nonzero(mask)
    grid_y, grid_x = np.mgrid[:rows, :columns] * 4
    score = np.exp(-((grid_y - ys.mean()) ** 2 + (grid_x - xs.mean()) ** 2) / 90)
    return StoredMap(id, np.array([cls], np.uint8), (score[None] * 255).astype(np.uint8), SIZE, SIZE)


def planned(folder: Path, trials: int = 12, images: Images | None = None, **given: Any) -> tuple[RunSearch, Store]:
    """A search of 24 images, confirmed on 12, in a store that has the maps."""
    store, one = Store(folder), experiment(images)
    maps = one.stage("maps")
    with store.building("maps", maps.key) as place:
        if place is not None:
            write_maps(maps_file(place, 0), [stored(id) for id in one.dataset.split("train").ids])
            store.commit("maps", maps.key, {"stage": maps.name, "method": "cam", "inputs": {}, "seconds": 1.0})
    asked = {"settings": trials, "images": 24, "confirm": 12, "name": "study", **given}
    return plan_search("run", one, store, load_space(SHIPPED, one.config, solved={}), **asked), store


def found_by(folder: Path, trials: int = 12, images: Images | None = None, threads: int | None = None) -> Found:
    search, store = planned(folder, trials, images)
    return run_search(search, store, threads=threads)[0]


def read(folder: Path, classes: Sequence[str] = CLASSES) -> Table:
    table = Table(classes)
    table.add(folder / FILE)
    return table


def drawn(count: int, seed: int = 0) -> tuple[Setting, ...]:
    one = experiment()
    levels = split(one, load_space(SHIPPED, one.config, solved={}), count, seed)
    return settings_of(one, levels, refined=True)


def test_a_search_finds_the_crf_and_confirms_it(tmp_path: Path) -> None:
    images, seen = Images(), list[tuple[Any, ...]]()
    search, store = planned(tmp_path, images=images)
    found, document = run_search(search, store, lambda *event: seen.append(event))
    assert [rung.images for rung in found.rungs] == [8, 24]
    assert set(found.rungs[0].scores) == {NO_CRF, *(item.name for item in search.settings)}
    assert len(found.rungs[1].scores) == 2 + (len(search.settings) - 1) // 3
    assert {NO_CRF, CONFIGURED} <= set(found.rungs[1].scores)
    assert found.winner.masks.crf != "none"
    assert found.confirmed
    chosen = plan(images, 24, 12, 0)
    assert not set(chosen.search) & set(chosen.confirm)
    assert images.asked == {*chosen.search, *chosen.confirm}  # and of no other image
    assert found.evaluations == found.computed == 8 * 13 + 16 * 5 + 12 * 3
    assert seen[-1] == ("confirmation", 12, 12, 3)
    assert document.winner == found.winner.name

    # the numbers are those of the masks
    last = found.value
    config = found.winner.masks
    assert config.crf_backend == "lattice"
    tables = [confusion(scene(int(id))[1], make_mask(stored(id), scene(int(id))[0], config), 3) for id in chosen.search]
    assert last == pytest.approx(float(mean_iou(np.sum(tables, axis=0))))
    gap = found.confirmation[NO_CRF]
    assert gap.images == 12
    assert gap.difference.value == pytest.approx(gap.a.value - gap.b.value)


def test_no_crf_is_solved_exactly(tmp_path: Path) -> None:
    found = found_by(tmp_path, 2)
    ids = plan(Images(), 24, 12, 0).search

    def score(background: float) -> float:
        masks = [make_mask(stored(id), None, MasksConfig(background=background)) for id in ids]
        return float(mean_iou(sum(confusion(scene(int(id))[1], m, 3) for id, m in zip(ids, masks, strict=True))))

    best = max(score(threshold / 200) for threshold in range(0, 200, 5))
    assert score(found.settings[NO_CRF].masks.background) >= best
    assert found.rungs[-1].scores[NO_CRF] == pytest.approx(score(found.settings[NO_CRF].masks.background))


def test_what_was_counted_is_not_counted_again(tmp_path: Path) -> None:
    """After a failure in the middle; and a repeated search computes nothing and finds the same."""
    fourth = plan(Images(), 24, 12, 0).search[12]

    class Broken(Images):
        def read(self, id: str) -> Sample:
            if id == fourth:
                raise InputError(f"image {id}: cut short")
            return super().read(id)

    with pytest.raises(InputError, match=f"image {fourth}"):
        found_by(tmp_path, images=Broken(), threads=1)
    folder = tmp_path / "studies" / "study"
    kept = len(read(folder))
    assert kept == 8 * 13 + 15 * 5, "all but the broken one"
    found = found_by(tmp_path)
    assert found.computed == found.evaluations - kept
    again = found_by(tmp_path, threads=1)
    assert again.computed == 0
    assert (again.rungs, again.winner, again.confirmation) == (found.rungs, found.winner, found.confirmation)
    more = found_by(tmp_path, 20)
    assert 0 < more.computed < more.evaluations
    alone = found_by(tmp_path / "fresh", 20, threads=3)
    assert (alone.rungs, alone.winner) == (more.rungs, more.winner)


def test_a_killed_search_goes_on_with_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that died between two chunks has left in files is taken into the table."""
    search, store = planned(tmp_path)

    def die(what: str, done: int, images: int, settings: int) -> None:
        if what.startswith("rung 1"):
            monkeypatch.setattr(Search, "_take", lambda *_: None)
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(search, store, die, threads=1)
    monkeypatch.undo()
    left = len(list((search.folder / "counting").glob("*.parquet")))
    assert left >= 3
    found = found_by(tmp_path)
    assert found.evaluations - found.computed == 13 * left
    assert not (search.folder / "counting").exists()


def test_the_table_is_one_file_for_any_reader(tmp_path: Path) -> None:
    found = found_by(tmp_path, 2)
    folder = tmp_path / "studies" / "study"
    table = pq.read_table(folder / FILE)
    assert table.column_names == ["maps", "setting", "id", "class", "hits", "truth", "predicted"]
    assert set(table["setting"].to_pylist()) == {setting.key for setting in found.settings.values()}
    hits, truth, predicted = (table[name].to_numpy() for name in ("hits", "truth", "predicted"))
    assert (hits <= truth).all()
    assert (hits <= predicted).all()
    key = found.settings[CONFIGURED].key
    own = [row for row in table.to_pylist() if row["setting"] == key and row["id"] == "7"]
    counted = read(folder).parts(own[0]["maps"], key, ["7"])[0] if own else np.zeros((3, 4))
    for row in own:
        assert [row["hits"], row["truth"], row["predicted"]] == counted[:, row["class"]].tolist()
    (one,) = searched(folder)
    assert (one["list"], one["truth"]) == ("train", "0" * 12)
    assert one["settings"][key]["masks"]["crf"] == "none"
    assert evaluations(folder) == 3
    median, earlier = seconds_per_image(Store(tmp_path), crf=True)
    assert earlier == 3
    assert median is not None
    assert median > 0
    assert seconds_per_image(Store(tmp_path), crf=False) == (None, 0)


def test_a_damaged_table_or_one_of_other_classes_is_refused(tmp_path: Path) -> None:
    found_by(tmp_path, 2)
    folder = tmp_path / "studies" / "study"
    with pytest.raises(InputError, match="other classes"):
        read(folder, ("cat", "dog"))
    path = folder / FILE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"counts\.parquet: damaged"):
        read(folder)


def test_other_maps_share_no_counts(tmp_path: Path) -> None:
    """Also under the same name: counts are found by maps and truth."""
    found_by(tmp_path, 2)
    one = experiment(maps__flip=False)
    assert one.stage("maps").key != experiment().stage("maps").key
    store, maps = Store(tmp_path), one.stage("maps")
    space = load_space(SHIPPED, one.config, solved={})
    asked: dict[str, Any] = {"settings": 2, "images": 24, "confirm": 12, "name": "study"}
    with pytest.raises(InputError, match="wsss-platform maps run --score-split train"):
        plan_search("run", one, store, space, **asked)
    with store.building("maps", maps.key) as place:
        assert place is not None
        write_maps(maps_file(place, 0), [stored(id) for id in one.dataset.split("train").ids])
        store.commit("maps", maps.key, {"stage": maps.name, "method": "cam", "inputs": {}, "seconds": 1.0})
    found, _ = run_search(plan_search("run", one, store, space, **asked), store)
    assert found.computed == found.evaluations
    assert evaluations(tmp_path / "studies" / "study") == 2 * 3


def test_settings_share_widths_and_are_seeded() -> None:
    some, more = drawn(12), drawn(60)
    assert more[: len(some)] == some  # a larger number only adds
    assert [item.name for item in more[:6]] == [CONFIGURED, "irn", "psa", "deeplab_v2", "afa", "toco"]
    assert more[1].masks == MasksConfig(crf="irn", crf_backend="lattice")
    draws = [item for item in more if item.name.startswith("draw")]
    groups = {tuple(item.changes[f"masks.{name}"] for name in WIDTHS) for item in draws}
    assert len(groups) == -(-len(draws) // PER_LATTICE)
    assert len({item.key for item in more}) == len(more) == 60
    assert all(item.masks.crf != "none" for item in draws)
    assert drawn(60, 1)[10:] != more[10:]


@pytest.mark.parametrize(
    ("axes", "changes", "said"),
    [
        ({"train.weight_decay": {"kind": "float", "low": 0.1, "high": 0.5}}, {}, "can only change masks"),
        ({"masks.alpha": {"kind": "float", "low": 2, "high": 9}}, {}, "no candidate has a CRF"),
        ({"masks.alpha": {"kind": "float", "low": 2, "high": 9}}, {"masks.rule": "saliency"}, "takes no CRF"),
    ],
)
def test_a_space_that_cannot_be_searched(
    tmp_path: Path, axes: Mapping[str, Any], changes: Mapping[str, Any], said: str
) -> None:
    _, store = planned(tmp_path)
    one = experiment(**{path.replace(".", "__"): value for path, value in changes.items()})
    tables = {path: {**table, "reason": "for this test"} for path, table in axes.items()}
    space = read_space({"axes": tables}, one.config, "test", {})
    with pytest.raises(InputError, match=said):
        plan_search("run", one, store, space, settings=10, images=24, confirm=12)


def test_every_beginning_holds_the_classes_in_proportion() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random((400, 6)) < np.array([0.5, 0.3, 0.1, 0.05, 0.02, 0.01])
    order = stratified(labels, 300, 0)
    assert len(set(order)) == 300
    assert labels[order[:12]].any(0).all()  # the rarest class early
    for count in (60, 120, 240):
        share = labels[order[:count]].sum(0) / labels.sum(0)
        assert share[:3].max() - share[:3].min() < 0.25
    assert stratified(labels, 300, 1) != order
    assert stratified(labels, 1000, 0)[:300] == order
    assert len(stratified(labels, 1000, 0)) == 400


def test_a_list_that_is_too_short() -> None:
    images = Images()
    with pytest.raises(InputError, match="'train' has 48 images"):
        plan(images, 45, 20, 0)
    assert len(plan(images, 40, 200, 0).confirm) == 8
