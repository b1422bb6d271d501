"""A CRF search on generated pictures: what it tries, what it keeps, what it may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss_platform.config import MasksConfig, MethodConfig, override
from wsss_platform.crf_search.candidates import CONFIGURED, NO_CRF, PER_LATTICE, WIDTHS, Candidate, draw
from wsss_platform.crf_search.halving import Found, Search
from wsss_platform.crf_search.kept import Kept
from wsss_platform.crf_search.pictures import plan, stratified
from wsss_platform.data import Sample
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, grid_size, maps_file, write_maps
from wsss_platform.masks.make import make_mask
from wsss_platform.metrics.confusion import confusion, mean_iou
from wsss_platform.space import SearchSpace, load_space, read_space

SHIPPED = Path(__file__).parents[3] / "search_spaces" / "crf.toml"
CLASSES = ("cat", "dog", "cow")
SIZE = 48


def shipped(config: MethodConfig | None = None) -> SearchSpace:
    return load_space(SHIPPED, config or MethodConfig(), solved={})


@cache
def scene(number: int) -> tuple[np.ndarray, np.ndarray, int]:
    """RGB, true mask and class of one bright object on a dark ground."""
    generator = np.random.default_rng(number)
    cls = number % len(CLASSES)
    top, left = generator.integers(4, 20, 2)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top : top + 20, left : left + 22] = cls + 1
    image = np.where(mask[..., None] > 0, 200, 60) + generator.normal(0, 4, (SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8), mask, cls


@dataclass
class Pictures:
    """A split and its truth; remembers whose truth was asked for."""

    ids: tuple[str, ...]
    name: str = "train"
    classes: tuple[str, ...] = CLASSES
    labels_from: str = "generator"
    asked: set[str] = field(default_factory=set)

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


def stored(id: str) -> StoredMap:
    """Maps that are too small for the object: the CRF has something to do."""
    _, mask, cls = scene(int(id))
    rows, columns = grid_size(SIZE, SIZE)
    ys, xs = np.nonzero(mask)
    grid_y, grid_x = np.mgrid[:rows, :columns] * 4
    score = np.exp(-((grid_y - ys.mean()) ** 2 + (grid_x - xs.mean()) ** 2) / 90)
    return StoredMap(id, np.array([cls], np.uint8), (score[None] * 255).astype(np.uint8), SIZE, SIZE)


def searched(folder: Path, candidates: list[Candidate], pictures: Pictures, **given: Any) -> tuple[Found, list[tuple]]:
    maps = folder / "maps"
    if not maps.exists():
        maps.mkdir()
        write_maps(maps_file(maps, 0), [stored(id) for id in pictures.ids])
    seen: list[tuple] = []
    kept = Kept(folder / "results.parquet", CLASSES, "source")
    search = Search(maps, pictures, pictures, kept, lambda *event: seen.append(event), **given)
    return search.run(candidates, plan(pictures, 24, 12, 0)), seen


@pytest.fixture
def pictures() -> Pictures:
    return Pictures(tuple(str(number) for number in range(48)))


@pytest.fixture
def candidates() -> list[Candidate]:
    return draw(shipped(), MethodConfig(), "masks", 12, 0)


def test_a_search_finds_the_crf_and_confirms_it(
    tmp_path: Path, pictures: Pictures, candidates: list[Candidate]
) -> None:
    found, seen = searched(tmp_path, candidates, pictures)
    assert [rung.pictures for rung in found.rungs] == [8, 24]
    assert set(found.rungs[0].scores) == {NO_CRF, *(item.name for item in candidates)}
    assert len(found.rungs[1].scores) == 2 + (len(candidates) - 1) // 3
    assert {NO_CRF, CONFIGURED} <= set(found.rungs[1].scores)
    assert found.winner.masks.crf != "none"
    assert found.confirmed
    chosen = plan(pictures, 24, 12, 0)
    assert not set(chosen.search) & set(chosen.confirm)
    assert pictures.asked == {*chosen.search, *chosen.confirm}  # and of no other picture
    assert found.looks == found.computed == 8 * 13 + 16 * 5 + 12 * 3
    assert seen[-1] == ("confirmation", 12, 12, 3)

    # the numbers are those of the masks
    last = found.rungs[-1].scores[found.winner.name]
    config = found.winner.masks.model_copy(update={"crf_backend": "lattice"})
    tables = [confusion(scene(int(id))[1], make_mask(stored(id), scene(int(id))[0], config), 3) for id in chosen.search]
    assert last == pytest.approx(float(mean_iou(np.sum(tables, axis=0))))
    gap = found.confirmation[NO_CRF]
    assert gap.pictures == 12
    assert gap.difference.value == pytest.approx(gap.a.value - gap.b.value)


def test_no_crf_is_solved_exactly(tmp_path: Path, pictures: Pictures, candidates: list[Candidate]) -> None:
    found, _ = searched(tmp_path, candidates[:2], pictures)
    ids = plan(pictures, 24, 12, 0).search

    def score(background: float) -> float:
        masks = [make_mask(stored(id), None, MasksConfig(background=background)) for id in ids]
        return float(mean_iou(sum(confusion(scene(int(id))[1], m, 3) for id, m in zip(ids, masks, strict=True))))

    best = max(score(threshold / 200) for threshold in range(0, 200, 5))
    assert score(found.candidates[NO_CRF].masks.background) >= best
    assert found.rungs[-1].scores[NO_CRF] == pytest.approx(score(found.candidates[NO_CRF].masks.background))


def test_kept_results_are_not_computed_again(
    tmp_path: Path, pictures: Pictures, candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure in the middle; and a repeated search computes nothing and finds the same."""
    broken = Pictures(pictures.ids)
    fourth = plan(pictures, 24, 12, 0).search[12]

    def read(self: Pictures, id: str) -> Sample:
        if id == fourth:
            raise InputError(f"picture {id}: cut short")
        return Sample(id, scene(int(id))[0], self.labels(id))

    with monkeypatch.context() as patched:
        patched.setattr(Pictures, "read", read)
        with pytest.raises(InputError, match=f"picture {fourth}"):
            searched(tmp_path, candidates, broken, threads=1)
    kept = len(Kept(tmp_path / "results.parquet", CLASSES, "source"))
    assert kept >= 8 * 13
    found, _ = searched(tmp_path, candidates, pictures)
    assert found.computed == found.looks - kept
    again, _ = searched(tmp_path, candidates, pictures, threads=1)
    assert again.computed == 0
    assert (again.rungs, again.winner, again.confirmation) == (found.rungs, found.winner, found.confirmation)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    alone, _ = searched(fresh, candidates, pictures, threads=3)
    assert alone.rungs == found.rungs


def test_results_of_other_maps_or_damaged_ones_are_refused(
    tmp_path: Path, pictures: Pictures, candidates: list[Candidate]
) -> None:
    searched(tmp_path, candidates[:2], pictures)
    path = tmp_path / "results.parquet"
    with pytest.raises(InputError, match="other maps"):
        Kept(path, CLASSES, "another")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"results\.parquet: damaged"):
        Kept(path, CLASSES, "source")


def test_candidates_share_widths_and_are_seeded(candidates: list[Candidate]) -> None:
    more = draw(shipped(), MethodConfig(), "masks", 60, 0)
    assert more[: len(candidates)] == candidates  # a larger number only adds
    assert [item.name for item in more[:6]] == [CONFIGURED, "irn", "psa", "deeplab_v2", "afa", "toco"]
    assert more[1].masks == MasksConfig(crf="irn")
    drawn = [item for item in more if item.name.startswith("draw")]
    groups = {tuple(item.changes[f"masks.{name}"] for name in WIDTHS) for item in drawn}
    assert len(groups) == -(-len(drawn) // PER_LATTICE)
    assert len({item.key for item in more}) == len(more) == 60
    assert all(item.masks.crf != "none" for item in drawn)
    assert draw(shipped(), MethodConfig(), "masks", 60, 1)[10:] != more[10:]


@pytest.mark.parametrize(
    ("axes", "changes", "said"),
    [
        ({"train.weight_decay": {"kind": "float", "low": 0.1, "high": 0.5}}, {}, "can only change masks"),
        ({"masks.alpha": {"kind": "float", "low": 2, "high": 9}}, {}, "no candidate has a CRF"),
        ({"masks.alpha": {"kind": "float", "low": 2, "high": 9}}, {"masks.rule": "saliency"}, "takes no CRF"),
    ],
)
def test_a_space_that_cannot_be_searched(axes: Mapping[str, Any], changes: Mapping[str, Any], said: str) -> None:
    config = override(MethodConfig(), changes)
    tables = {path: {**table, "reason": "for this test"} for path, table in axes.items()}
    with pytest.raises(InputError, match=said):
        draw(read_space({"axes": tables}, config, "test", {}), config, "masks", 10, 0)


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


def test_a_list_that_is_too_short(pictures: Pictures) -> None:
    with pytest.raises(InputError, match="'train' has 48 pictures"):
        plan(pictures, 45, 20, 0)
    assert len(plan(pictures, 40, 200, 0).confirm) == 8
