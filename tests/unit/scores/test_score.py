"""Counts on disk, the score made of them, and intervals, against direct computation."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.bootstrap import bootstrap, compare
from wsss_platform.scores.confusion import confusion, iou, mean_iou, parts
from wsss_platform.scores.counts import SweepCounts, read_confusions, read_sweeps, write_confusions, write_sweeps
from wsss_platform.scores.per_class import parts_at
from wsss_platform.scores.score import Score, paired_bootstrap
from wsss_platform.scores.sweep import grid, sweep_image

NAMES = ("cat", "dog", "bird")
THRESHOLDS = grid(20, [0.33])


class Image:
    """An image with ground truth, maps and a mask made at 0.33, some pixels undecided."""

    def __init__(self, seed: int, noise: float) -> None:
        generator = np.random.default_rng(seed)
        self.truth = generator.integers(0, 3, (13, 17)).astype(np.uint8)  # no bird
        self.truth[0] = 255
        self.classes = np.array([0, 1], np.uint8)
        own = np.stack([self.truth == 1, self.truth == 2]) * 0.5
        noisy = np.random.default_rng(seed + 1000).random(own.shape)
        self.scores = (own + noise * noisy).clip(0, 1).astype(np.float32)
        best = self.scores.max(0)
        self.mask = np.where(best > np.float32(0.33), self.scores.argmax(0) + 1, 0).astype(np.uint8)
        self.mask[2, :3] = 255


def write(folder: Path, images: dict[str, Image], chunk: int = 3) -> Path:
    folder.mkdir()
    ids = list(images)
    for number, start in enumerate(range(0, len(ids), chunk)):
        some = ids[start : start + chunk]
        tables = [(name, confusion(images[name].truth, images[name].mask, 3)) for name in some]
        write_confusions(folder / f"confusion-{number:06d}.parquet", NAMES, tables)
        cells = [
            (name, sweep_image(item.scores, item.classes, item.truth, THRESHOLDS, 3))
            for name, item in ((name, images[name]) for name in some)
        ]
        write_sweeps(folder / f"sweep-{number:06d}.parquet", NAMES, THRESHOLDS, cells)
    return folder


def made(noise: float, count: int = 8) -> dict[str, Image]:
    return {f"p{number}": Image(number, noise) for number in range(count)}


def table_at(images: dict[str, Image], limit: np.float32) -> NDArray[np.int64]:
    total = np.zeros((4, 5), np.int64)
    for item in images.values():
        best = item.scores.max(0)
        mask = np.where(best > limit, item.scores.argmax(0) + 1, 0).astype(np.uint8)
        total += confusion(item.truth, mask, 3)
    return total


def test_counts_come_back(tmp_path: Path) -> None:
    images = made(0.6)
    images["void"] = Image(50, 0.5)
    images["void"].truth[:] = 255  # no scored pixel, but still an image of the list
    folder = write(tmp_path / "score", images)
    ids: list[str] = []
    for chunk in read_confusions(folder):
        assert chunk.classes == NAMES
        for row, name in enumerate(chunk.ids):
            own = chunk.image == row
            table = np.zeros((4, 5), np.int64)
            table[chunk.truth[own], chunk.prediction[own]] = chunk.count[own]
            wanted = confusion(images[name].truth, images[name].mask, 3)
            np.testing.assert_array_equal(table, wanted)
            np.testing.assert_array_equal(chunk.parts()[row], parts(wanted))
        ids += chunk.ids
    assert ids == list(images)
    for sweep in read_sweeps(folder):
        np.testing.assert_array_equal(sweep.thresholds, THRESHOLDS)
        for row, name in enumerate(sweep.ids):
            item = images[name]
            own = sweep.image == row
            wanted_cells = sweep_image(item.scores, item.classes, item.truth, THRESHOLDS, 3)
            for column, wanted_column in zip(sweep.cells, wanted_cells, strict=True):
                np.testing.assert_array_equal(column[own], wanted_column)


def test_same_counts_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", made(0.6)), write(tmp_path / "b", made(0.6))
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_summary_against_direct_computation(tmp_path: Path) -> None:
    images = made(0.6)
    score = Score.read(write(tmp_path / "score", images))
    summary = json.loads(json.dumps(score.summary(fixed=0.33), allow_nan=False))
    fixed = np.sum([confusion(item.truth, item.mask, 3) for item in images.values()], axis=0)
    assert summary["images"] == 8
    assert summary["pixels"] == 8 * 12 * 17
    assert summary["undecided"] == pytest.approx(8 * 3 / (8 * 12 * 17))
    assert summary["mean_iou"] == pytest.approx(float(mean_iou(fixed)), abs=1e-12)
    assert summary["classes"]["dog"]["iou"] == pytest.approx(iou(fixed)[2], abs=1e-12)
    assert summary["classes"]["bird"] == {"iou": None, "precision": None, "recall": None}
    curve = [float(mean_iou(table_at(images, limit))) for limit in THRESHOLDS]
    assert summary["sweep"]["mean_iou"] == pytest.approx(curve, abs=1e-12)
    best = int(np.argmax(curve))
    assert summary["sweep"]["best_mean_iou"] == pytest.approx(max(curve), abs=1e-12)
    assert summary["sweep"]["best_threshold"] == pytest.approx(float(THRESHOLDS[best]))
    assert summary["sweep"]["fixed_mean_iou"] == pytest.approx(curve[THRESHOLDS.tolist().index(np.float32(0.33))])
    assert 0.33 in summary["sweep"]["thresholds"]
    with pytest.raises(InputError, match=r"0.777 is not among"):
        score.summary(fixed=0.777)


def test_parts_at_the_best_threshold(tmp_path: Path) -> None:
    images = made(0.6)
    score = Score.read(write(tmp_path / "score", images))
    wanted = parts(table_at(images, score.thresholds[score.best]))
    np.testing.assert_array_equal(score.parts_at("best").sum(0), wanted)
    np.testing.assert_array_equal(score.parts_at("masks").sum(0), parts(score.table))
    assert score.interval("best").value == pytest.approx(float(score.curve[score.best]))


def test_a_threshold_by_how_much_of_the_background_it_takes(tmp_path: Path) -> None:
    images = made(0.5)
    score = Score.read(write(tmp_path / "score", images))
    direct = []
    for threshold in THRESHOLDS:
        taken = [(p.scores.max(0) > threshold)[p.truth == 0] for p in images.values()]
        direct.append(np.concatenate(taken).mean())
    assert score.background_taken.tolist() == pytest.approx(direct)
    for share in direct:
        found = score.taking(float(share))
        equal = [number for number, other in enumerate(direct) if other == share]
        assert found in equal
        assert score.curve[found] == max(score.curve[equal])
    assert score.taking(float(score.background_taken[score.best])) == score.best
    assert score.taking(1.0) == 0


def test_no_background_is_said(tmp_path: Path) -> None:
    images = made(0.5)
    for image in images.values():
        image.truth[image.truth == 0] = 255
    with pytest.raises(InputError, match="no image has a scored pixel of background"):
        Score.read(write(tmp_path / "score", images)).taking(0.1)


def test_parts_of_thresholds_per_class_one_file_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Score.read(write(tmp_path / "score", made(0.6, 12), chunk=2))
    alive: list[weakref.ref[SweepCounts]] = []

    def watched(folder: Path) -> Iterator[SweepCounts]:
        for chunk in read_sweeps(folder):
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk
            assert sum(item() is not None for item in alive) <= 1  # at most the one that the caller still holds

    monkeypatch.setattr("wsss_platform.scores.score.read_sweeps", watched)
    index = np.array([3, 11, 0])
    rows = score.parts_over(index)
    assert len(alive) == 6
    np.testing.assert_array_equal(rows.sum(0), parts_at(score.histogram, index))
    np.testing.assert_array_equal(rows[:, 1], score.parts[:, 1])
    np.testing.assert_array_equal(score.parts_over(np.full(3, 5)), score.parts_over(5))


def test_bootstrap_equals_a_slow_one() -> None:
    generator = np.random.default_rng(5)
    tables = generator.integers(0, 50, (11, 4, 5))
    found = bootstrap(parts(tables), resamples=130, seed=9)
    draws = np.random.default_rng(9)
    values = []
    for start in range(0, 130, 64):
        for drawn in draws.integers(0, 11, (min(64, 130 - start), 11)):
            values.append(float(mean_iou(sum(tables[row] for row in drawn))))
    assert found.value == pytest.approx(float(mean_iou(tables.sum(0))))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_paired_bootstrap(tmp_path: Path) -> None:
    good, bad = made(0.55, 12), made(0.9, 12)
    a = Score.read(write(tmp_path / "a", good))
    b = Score.read(write(tmp_path / "b", dict(reversed(bad.items())), chunk=5))  # other order, other chunks
    for at in ("masks", "best"):
        found = paired_bootstrap(a, b, at, resamples=200)
        assert found.difference.value == pytest.approx(found.a.value - found.b.value)
        assert found.difference.low <= found.difference.value <= found.difference.high
        assert found.a_wins == 1.0
        back = paired_bootstrap(b, a, at, resamples=200)
        assert back.difference.value == pytest.approx(-found.difference.value)
        assert back.a_wins == 0.0
    # paired: each resample holds the same images of both
    same = paired_bootstrap(a, a, resamples=50)
    assert (same.difference.low, same.difference.high, same.a_wins) == (0, 0, 0.5)
    assert same.a.low < same.a.high
    direct = compare(a.parts, a.parts, resamples=50)
    assert direct.a == same.a


def test_images_that_differ_are_named(tmp_path: Path) -> None:
    a = Score.read(write(tmp_path / "a", made(0.6, 4)))
    b = Score.read(write(tmp_path / "b", made(0.6, 6)))
    with pytest.raises(InputError, match=r"2 only in .*b \(p4, p5\)"):
        paired_bootstrap(a, b)


def test_folders_that_do_not_add_up(tmp_path: Path) -> None:
    folder = write(tmp_path / "score", made(0.6, 4), chunk=2)
    with pytest.raises(InputError, match=r"no confusion-\*\.parquet"):
        Score.read(tmp_path)
    second = folder / "sweep-000001.parquet"
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(InputError, match="p2, p3"):
        Score.read(folder)
    second.write_bytes((folder / "sweep-000000.parquet").read_bytes())
    with pytest.raises(InputError, match="'p0' is counted twice"):
        Score.read(folder)
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"sweep-000001\.parquet: not readable"):
        Score.read(folder)
    pq.write_table(pq.read_table(folder / "sweep-000000.parquet").replace_schema_metadata({}), second)
    with pytest.raises(InputError, match="not a file of wsss-platform sweep counts"):
        Score.read(folder)


def test_nothing_scored() -> None:
    with pytest.raises(InputError, match="no image has a scored pixel"):
        bootstrap(np.zeros((3, 3, 4), np.int64))
