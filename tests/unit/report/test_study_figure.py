"""The figure of a study's comparison, from fixed maps and masks."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from wsss_methods import get
from wsss_platform.api._tune import _draw
from wsss_platform.config import DataConfig, MasksConfig
from wsss_platform.data.palette import mask_file, voc_palette, write_mask
from wsss_platform.errors import RunError
from wsss_platform.maps.storage import StoredMap, full_size, grid_size, maps_file, write_maps
from wsss_platform.masks.rules import labels
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report import study_figure
from wsss_platform.report.study_figure import write_figure
from wsss_platform.report.study_page import FIGURE
from wsss_platform.search.documents import StudyComparison, StudyReport, StudyRow
from wsss_platform.store.artefacts import Store

LEVEL = 0.6
REPORT = StudyReport(
    chosen_on="train",
    reported_on="val",
    images=5,
    seeds=1,
    selection="train ground truth",
    objective="masks",
    overlap=False,
    against="baseline",
    evaluations={"val": 2},
)


def experiment(background: float) -> Experiment:
    data = DataConfig.model_validate({"sample": {"train": 2, "val": 5, "size": 48}, "score_list": "val"})
    found = get("cam")
    config = {"backbone": {"weights": "none"}, "masks": {"background": background}}
    return Experiment(found, found.config.model_validate(config), data)


COMPARED = {"baseline": experiment(0.3), "best trial": experiment(0.4)}


def stored_map(id: str, height: int, width: int) -> StoredMap:
    """One class, whose scores rise from the left to the right."""
    rows, columns = grid_size(height, width)
    scores = np.broadcast_to(np.linspace(0, 255, columns).astype(np.uint8), (1, rows, columns))
    return StoredMap(id, np.array([2], np.uint8), np.ascontiguousarray(scores), height, width)


def fill(store: Store) -> None:
    """Both rows have the same maps; their masks are of one class each, the baseline's of 1."""
    for label, one in enumerate(COMPARED.values(), start=1):
        truth, ids = one.dataset.truth("val"), one.dataset.split("val").ids
        sizes = {id: truth.mask(id).shape for id in ids}
        maps, masks = one.stage("maps"), one.stage("masks")
        with store.building("maps", maps.key) as folder:
            if folder is not None:
                write_maps(maps_file(folder, 0), [stored_map(id, *size) for id, size in sizes.items()])
                store.commit("maps", maps.key, {})
        with store.building("masks", masks.key) as folder:
            assert folder is not None
            (folder / "masks").mkdir()
            for id, size in sizes.items():
                write_mask(mask_file(folder, id), np.full(size, label, np.uint8))
            store.commit("masks", masks.key, {})


def comparison(threshold: float | None) -> StudyComparison:
    rows = (
        StudyRow(row="baseline", method="cam", miou=1.0, threshold=None),
        StudyRow(row="best trial", method="cam", miou=2.0, threshold=threshold),
        StudyRow(row="oracle", method="cam", miou=3.0),
    )
    return StudyComparison(report=REPORT, rows=rows)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    found: list[Figure] = []

    class Kept(Figure):
        def savefig(self, *given: Any, **more: Any) -> None:
            found.append(self)
            super().savefig(*given, **more)

    monkeypatch.setattr(study_figure, "Figure", Kept)
    return found


def shown(figure: Figure, columns: int) -> list[list[NDArray[Any]]]:
    """What each panel shows, line by line."""
    panels = [np.asarray(axis.images[0].get_array()) for axis in figure.axes]
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


@pytest.mark.parametrize("images", [1, 3, 9])
def test_a_panel_for_the_image_its_maps_each_row_and_the_ground_truth(
    tmp_path: Path, drawn: list[Figure], images: int
) -> None:
    store = Store(tmp_path / "store")
    fill(store)
    path = write_figure(COMPARED, comparison(LEVEL), store, tmp_path, images)
    assert path == tmp_path / FIGURE
    assert Image.open(io.BytesIO(path.read_bytes())).format == "PNG"
    (figure,) = drawn
    lines = min(images, 5)
    assert len(figure.axes) == 5 * lines
    titles = [axis.get_title() for axis in figure.axes[:5]]
    assert titles == ["image", "CAM", "baseline", "best trial", "ground truth"], "the oracle has no panel"


def test_a_row_shows_its_masks_or_its_maps_at_its_threshold(tmp_path: Path, drawn: list[Figure]) -> None:
    store, palette = Store(tmp_path / "store"), voc_palette()
    fill(store)
    for threshold in (LEVEL, None):
        write_figure(COMPARED, comparison(threshold), store, tmp_path, 2)
    first = COMPARED["baseline"]
    names = study_figure.spread(first.dataset.split("val").ids, 2)
    at_level, as_made = (shown(figure, 5) for figure in drawn)
    for name, cut, made in zip(names, at_level, as_made, strict=True):
        truth = first.dataset.truth("val").mask(name)
        assert np.array_equal(cut[0], first.dataset.split("val").read(name).image)
        assert np.array_equal(cut[2], palette[np.full(truth.shape, 1)]), "no threshold: the masks as made"
        stored = stored_map(name, *truth.shape)
        mask = labels(full_size(stored), stored.classes, MasksConfig(background=LEVEL))
        assert {0, 3} == set(np.unique(mask))
        assert np.array_equal(cut[3], palette[mask])
        assert np.array_equal(made[3], palette[np.full(truth.shape, 2)])
        assert np.array_equal(cut[4], palette[truth])


def test_an_image_without_classes_has_a_grey_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = StoredMap("p", np.zeros(0, np.uint8), np.zeros((0, *grid_size(40, 40)), np.uint8), 40, 40)
    monkeypatch.setattr(study_figure, "_maps", lambda experiment, store: {"p": nothing})
    image = np.full((40, 40, 3), 51, np.uint8)
    heat = study_figure._heat(image, COMPARED["baseline"], Store(tmp_path), "p")
    assert np.allclose(heat, 0.2)


@pytest.mark.parametrize("harm", [RunError("maps: not in the store"), OSError(28, "No space left on device")])
def test_a_study_ends_without_a_figure_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, harm: Exception
) -> None:
    def broken(path: Path, content: bytes) -> None:
        raise harm

    store = Store(tmp_path / "store")
    fill(store)
    monkeypatch.setattr(study_figure, "write_atomic", broken)
    ended: Any = SimpleNamespace(compared=COMPARED, comparison=comparison(None), folder=tmp_path)
    asked: Any = SimpleNamespace(store=store)
    with caplog.at_level(logging.INFO):
        _draw(ended, asked)
    assert "no figure: " in caplog.text
    assert not (tmp_path / FIGURE).exists()
