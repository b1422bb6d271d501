"""The images of `show`: drawn from plain arrays, and from a run that lies in a store."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from wsss_methods.cam import METHOD
from wsss_platform.config import DataConfig, override
from wsss_platform.data.palette import voc_palette, write_mask
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, grid_size, maps_file, write_maps
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.report.drawing import class_figure, panel, pixels, png, save, sweep_figure
from wsss_platform.report.show import RunImages, choose, panels, show_run
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store

NAMES = ("cat", "dog", "sofa", "train", "person")


def truth_with(classes: Sequence[int], height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """A mask with one upright bar for each class, and an unscored border around the first."""
    mask = np.zeros((height, width), np.uint8)
    for place, index in enumerate(classes):
        left = 4 + place * (width - 8) // max(len(classes), 1)
        if place == 0:
            mask[8:-8, left : left + 12] = 255
        mask[10:-10, left + 2 : left + 10] = index + 1
    return mask


def scores_of(mask: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float32]:
    """Blurred indicators, each with maximum 1."""
    blurred = [cv2.GaussianBlur((mask == index + 1).astype(np.float32), (0, 0), 3) for index in classes]
    stacked = np.array([each / each.max() for each in blurred], np.float32)
    return stacked.reshape(len(classes), *mask.shape)


def draw(classes: Sequence[int], mask: NDArray[np.uint8] | None = None, **extra: Any) -> NDArray[np.uint8]:
    truth = truth_with(classes)
    image = np.random.default_rng(0).integers(0, 256, (*truth.shape, 3), np.uint8)
    return pixels(
        panel(image, scores_of(truth, classes), classes, truth if mask is None else mask, truth, NAMES, **extra)
    )


def share(panel: NDArray[np.uint8], colour: NDArray[np.uint8]) -> float:
    """Part of the image in exactly this colour."""
    return float((panel == colour).all(-1).mean())


def test_a_panel_shows_the_label_colours_of_mask_and_truth() -> None:
    palette = voc_palette()
    both = draw([1])
    only_truth = draw([1], mask=np.zeros((60, 80), np.uint8))
    assert share(both, palette[2]) > 1.8 * share(only_truth, palette[2]) > 0
    assert share(both, palette[255]) > 0, "what is not scored is seen in the ground truth"


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 1), (2, 2), (4, 2), (5, 3)])
def test_each_class_of_several_gets_its_own_map(count: int, rows: int) -> None:
    heights = {1: draw([0]).shape[0]}
    panel = draw(list(range(count)))
    assert panel.dtype == np.uint8
    assert panel.shape[2] == 3
    cell = 2.7 * 120 * 60 / 80
    assert panel.shape[0] == pytest.approx(heights[1] + (rows - 1) * (cell + 0.3 * 120), rel=0.12)


def test_the_heat_map_follows_the_scores() -> None:
    truth = truth_with([0])
    image = np.full((60, 80, 3), 128, np.uint8)
    none = pixels(panel(image, np.zeros((1, 60, 80), np.float32), [0], truth, truth, NAMES))
    some = pixels(panel(image, scores_of(truth, [0]), [0], truth, truth, NAMES))
    width = none.shape[1]
    changed = (none != some).any(-1)
    assert changed[:, width // 4 : width // 2].any()
    assert not changed[:, : width // 4 - 10].any(), "the photograph stays"
    assert not changed[:, width // 2 + 10 :].any(), "mask and ground truth stay"


def test_the_background_score_is_drawn_as_a_line() -> None:
    assert share(draw([0], background=0.4), np.full(3, 255, np.uint8)) != share(draw([0]), np.full(3, 255, np.uint8))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        draw([0], mask=np.zeros((60, 81), np.uint8))


def summary(**sweep: Any) -> dict[str, Any]:
    thresholds = np.linspace(0, 1, 101).tolist()
    return {
        "mean_iou": 0.39,
        "classes": {"background": {"iou": 0.8}, "cat": {"iou": 0.2}, "dog": {"iou": None}},
        "sweep": {
            "thresholds": thresholds,
            "mean_iou": [None, *(0.5 * np.exp(-(((np.array(thresholds[1:]) - 0.3) / 0.2) ** 2))).tolist()],
            "best_threshold": 0.3,
            "best_mean_iou": 0.5,
            "best_classes": {"background": {"iou": 0.82}, "cat": {"iou": 0.3}, "dog": {"iou": None}},
            "fixed_threshold": 0.2,
            **sweep,
        },
    }


def texts(figure: Any) -> str:
    """Every word in a figure."""
    import matplotlib.text

    return " | ".join(item.get_text() for item in figure.findobj(matplotlib.text.Text) if item.get_text())


def test_the_sweep_tells_the_oracle_from_the_masks() -> None:
    words = texts(sweep_figure(summary(), title="cam-1"))
    assert "best of the sweep (oracle): 50.0 at 0.30" in words
    assert "masks: 39.0 at 0.20" in words
    assert "cam-1" in words


def test_a_rule_without_a_threshold_has_a_line_and_no_place() -> None:
    without = summary()
    del without["sweep"]["fixed_threshold"]
    assert "masks: 39.0 |" in texts(sweep_figure(without)) + " |"


def test_the_curve_is_the_sweep() -> None:
    (axis,) = sweep_figure(summary()).axes
    x, y = axis.lines[0].get_data()
    assert np.array_equal(x, summary()["sweep"]["thresholds"])
    assert np.isnan(y[0])
    assert np.nanmax(y) == pytest.approx(50)


def test_classes_are_sorted_and_absent_ones_left_out() -> None:
    (axis,) = class_figure(summary()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["cat  20.0", "background  80.0"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([20, 80])
    assert list(axis.lines[0].get_xdata()) == pytest.approx([30, 82])


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    assert png(sweep_figure(summary())) == png(sweep_figure(summary()))
    save(sweep_figure(summary()), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())).verify()


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 1), max_size=12), st.integers(0, 5))
def test_no_image_is_chosen_twice(ranking: dict[str, float], count: int) -> None:
    chosen = choose(ranking, count)
    names = [name for kind in chosen.values() for name in kind]
    assert len(names) == len(set(names)) == min(len(ranking), 3 * count)
    assert all(
        ranking[name] <= ranking[other] for name in chosen["worst"] for other in set(ranking) - {*chosen["worst"]}
    )
    assert choose(dict(reversed(ranking.items())), count) == chosen


class OneByOne:
    """A runner for the stages after the maps."""

    def train(self, *_: Any) -> None:
        raise AssertionError("the maps are there")

    def chunks(self, line: Any, chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]) -> None:
        for chunk in chunks:
            for place, work in enumerate(line):
                on_chunk(place, work(chunk))


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Experiment, Store]:
    """A VOC tree of 7 images, maps made by hand, masks and score made by the pipeline."""
    root = tmp_path / "VOC2012"
    rng = np.random.default_rng(0)
    ids = [f"2007_00000{number}" for number in range(7)]
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(ids) + "\n")
    maps = []
    for number, name in enumerate(ids):
        classes = [7] if number % 2 else [7, 11]
        truth = truth_with(classes, 61, 83)
        Image.fromarray(rng.integers(0, 256, (61, 83, 3), np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        write_mask(root / f"SegmentationClass/{name}.png", truth)
        rows, columns = grid_size(61, 83)
        shifted = np.roll(truth, number, axis=1)  # the later the image, the worse its map
        small = [cv2.resize(score, (columns, rows)) for score in scores_of(shifted, classes)]
        grid = np.rint(255 * np.clip(np.array(small), 0, 1)).astype(np.uint8)
        maps.append(StoredMap(name, np.array(classes, np.uint8), grid, 61, 83))
    config = override(METHOD.config(), {"masks.background": 0.3})
    experiment = Experiment(METHOD, config, DataConfig(kind="voc12", root=str(root)))
    store = Store(tmp_path / "storage")
    for kind in ("train", "maps"):
        stage = experiment.stage(kind)  # type: ignore[arg-type]
        with store.building(kind, stage.key) as folder:
            assert folder is not None
            if kind == "maps":
                write_maps(maps_file(folder, 0), maps)
            store.commit(kind, stage.key, {})
    return experiment, store


def test_show_writes_curve_bars_and_chosen_images(scored: tuple[Experiment, Store], tmp_path: Path) -> None:
    experiment, store = scored
    with pytest.raises(InputError, match="no score"):
        show_run(experiment, store, tmp_path / "none")
    run(experiment, store, OneByOne())
    written = show_run(experiment, store, tmp_path / "images", count=2)
    assert written == [tmp_path / "images" / path.name for path in written]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(path.name for path in written)
    names = [path.stem for path in written]
    assert names[:2] == ["sweep", "classes"]
    ranking = RunImages(experiment, store).ranking()
    assert len(ranking) == 7
    worst, best = min(ranking, key=lambda name: ranking[name]), max(ranking, key=lambda name: ranking[name])
    assert f"worst-01-{worst}" in names
    assert f"best-01-{best}" in names
    assert len(names) == 2 + 6
    for path in written:
        with Image.open(path) as panel:
            assert min(panel.size) > 150

    again = show_run(experiment, store, tmp_path / "one", ids=["2007_000003"])
    assert [path.name for path in again] == ["sweep.png", "classes.png", "2007_000003.png"]
    with pytest.raises(InputError, match="did you mean '2007_00000"):
        show_run(experiment, store, tmp_path / "wrong", ids=["2007_00003"])


def test_panels_for_the_tracker_are_images(scored: tuple[Experiment, Store]) -> None:
    experiment, store = scored
    run(experiment, store, OneByOne())
    found = dict(panels(experiment, store, count=1))
    assert list(found) == ["sweep", "classes", "worst/1", "best/1", "random/1"]
    assert all(panel.dtype == np.uint8 and panel.ndim == 3 and panel.shape[2] == 3 for panel in found.values())


def test_the_ranking_is_the_mean_over_the_classes_of_the_image(scored: tuple[Experiment, Store]) -> None:
    experiment, store = scored
    run(experiment, store, OneByOne())
    images = RunImages(experiment, store)
    truth = experiment.dataset.truth("train")
    masks = store.open("masks", experiment.stage("masks").key).folder / "masks"
    for name, value in images.ranking().items():
        true, made = truth.mask(name), np.array(Image.open(masks / f"{name}.png"))
        seen = true != 255
        labels = set(np.unique(true[seen])) | set(np.unique(made[seen]))
        ious = [(true == k)[seen & (made == k)].sum() / (seen & ((true == k) | (made == k))).sum() for k in labels]
        assert value == pytest.approx(float(np.mean(ious)))
