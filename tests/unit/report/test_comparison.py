"""Where the variants of a comparison stand, on scores that are written here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report import comparison_folder
from wsss_platform.report.comparison import ScoredVariant, Variant, Where, score_variants
from wsss_platform.report.comparison_folder import RESULT, summarise
from wsss_platform.report.documents import Origin
from wsss_platform.scores.confusion import confusion
from wsss_platform.scores.counts import write_confusions, write_sweeps
from wsss_platform.scores.sweep import grid, sweep_image
from wsss_platform.store.artefacts import Store

NAMES = ("boat", "train")
THRESHOLDS = grid(200)
IDS = ("a", "b", "c")


def scored(store: Store, seed: int, spread: float, epochs: int, ids: tuple[str, ...] = IDS) -> Experiment:
    """A run whose maps are 1 on the object and fall with the distance from it: the larger `spread`, the slower."""
    method = get("cam")
    config = method.config.model_validate({"train": {"epochs": epochs}})
    run = Experiment(method, config, DataConfig(), seed)
    stage = run.stage("score")
    tables, cells = [], []
    for number, name in enumerate(ids):
        noise = np.random.default_rng((seed, number)).random((40, 60))
        truth = np.zeros((40, 60), np.uint8)
        truth[10:30, 10 + number : 30 + number] = 1
        away = np.maximum(0, np.abs(np.arange(60) - 20 - number) - 10)[None, :].repeat(40, 0)
        away = np.maximum(away, np.maximum(0, np.abs(np.arange(40) - 20) - 10)[:, None])
        maps = np.clip(np.exp(-away / spread) * (1 - 0.3 * noise), 0, 1).astype(np.float32)[None]
        mask = (maps[0] > 0.3).astype(np.uint8)
        tables.append((name, confusion(truth, mask, 2)))
        cells.append((name, sweep_image(maps, np.array([0], np.uint8), truth, THRESHOLDS, 2)))
    with store.building("score", stage.key) as folder:
        assert folder is not None
        write_confusions(folder / "confusion-000000.parquet", NAMES, tables)
        write_sweeps(folder / "sweep-000000.parquet", NAMES, THRESHOLDS, cells)
        store.commit("score", stage.key, {})
    return run


def variants(store: Store) -> list[Variant]:
    narrow = Variant("narrow", tuple(scored(store, seed, 4.0, epochs=2) for seed in (0, 1)))
    wide = Variant("wide", tuple(scored(store, seed, 30.0, epochs=3) for seed in (0, 1)))
    return [narrow, wide]


def background(parts: np.ndarray) -> np.ndarray:
    """Share of the background that is taken, by seed, of counts [S, N, 3, C + 1]: hit, true and made of each label."""
    total = parts.sum(1)
    return 1 - total[:, 0, 0] / total[:, 1, 0]


def test_each_stands_where_it_takes_as_much_of_the_background(tmp_path: Path) -> None:
    store = Store(tmp_path)
    both = variants(store)
    found = {at: score_variants(both, store, at) for at in ("best", "background")}
    first, second = found["background"]
    assert first.thresholds() == found["best"][0].thresholds()
    assert second.thresholds() != found["best"][1].thresholds(), "else this test would not tell the two apart"
    np.testing.assert_allclose(background(second.parts), background(first.parts), atol=0.02)
    wide = found["best"][1]
    assert np.abs(background(second.parts) - background(first.parts)).max() < (
        np.abs(background(wide.parts) - background(first.parts)).max()
    )


def test_a_variant_against_itself_differs_in_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    narrow, _ = variants(store)
    first, same = score_variants([narrow, Variant("same", narrow.experiments)], store, "background")
    assert same.thresholds() == first.thresholds()
    np.testing.assert_array_equal(same.parts, first.parts)


@pytest.mark.parametrize("at", ["masks", "best"])
def test_the_baseline_moves_no_other_elsewhere(tmp_path: Path, at: Where) -> None:
    store = Store(tmp_path)
    both = variants(store)
    forth, back = score_variants(both, store, at), score_variants(both[::-1], store, at)
    np.testing.assert_array_equal(forth[1].parts, back[0].parts)


def test_other_seeds_and_missing_scores_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    narrow, wide = variants(store)
    with pytest.raises(InputError, match="one has 1 seeds, the baseline narrow 2"):
        score_variants([narrow, Variant("one", wide.experiments[:1])], store, "background")
    with pytest.raises(InputError, match="wide, seed 0, has no score yet"):
        score_variants([wide], Store(tmp_path / "empty"), "best")


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # a class that no image has
def test_a_stored_comparison_keeps_its_day_while_its_scores_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    both = variants(store)
    folder = tmp_path / "c"
    folder.mkdir()
    monkeypatch.setattr(ScoredVariant, "effects", {})  # there are no masks

    def made(day: str, commit: str, compared: list[Variant], recipe: str = "") -> Origin:
        monkeypatch.setattr(comparison_folder, "now", lambda: f"{day}T00:00:00+00:00")
        monkeypatch.setattr(comparison_folder, "git_commit", lambda _: commit)
        document = summarise("c", folder, score_variants(compared, store, "best"), "best", recipe)
        (folder / RESULT).write_text(json.dumps(document.to_json()), encoding="utf-8")
        return document.origin

    first = made("2026-01-01", "a" * 40, both)
    assert first.date == "2026-01-01"
    again = made("2026-02-02", "b" * 40, both, "at = 1")
    assert again == first.model_copy(update={"recipe": "at = 1"}), "the recipe is that of this call"
    fewer = made("2026-03-03", "b" * 40, both[:1])
    assert (fewer.date, fewer.commit) == ("2026-03-03", "b" * 40)
    (folder / RESULT).write_text('{"rows": [{"label": "narrow"}]}', encoding="utf-8")  # of an older version
    assert made("2026-04-04", "b" * 40, both[:1]).date == "2026-04-04"
    (folder / RESULT).write_bytes(b"\xff")
    assert made("2026-05-05", "b" * 40, both[:1]).date == "2026-05-05"


@pytest.mark.parametrize("seed", [0, 1])
def test_an_image_that_one_seed_lacks_is_named(tmp_path: Path, seed: int) -> None:
    """As `--max-failures` may leave it."""
    store = Store(tmp_path)
    whole, _ = variants(store)
    other = tuple(scored(store, s, 9.0, epochs=4, ids=IDS[:2] if s == seed else IDS) for s in (0, 1))
    with pytest.raises(InputError, match=f"other, seed {seed}: image 'c' was not scored"):
        score_variants([whole, Variant("other", other)], store, "best")
