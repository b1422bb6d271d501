"""A study over settings of the masks: searched on stored maps, against trials that train again for each setting.

Both sides see the same settings, make masks with the same code and judge them alike, so they must choose the same. The
other side is a study without content addressing: every trial trains, makes maps and masks, and scores, in one process
and without Ray. All its trials are run, a part after each round of ours.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import wsss_methods
from benchmarks.images import PreparedImage
from benchmarks.measure import Row, seconds
from wsss_platform.config import DataConfig, override
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.masks.searches import Choice, choose
from wsss_platform.search.masks.settings import Setting, settings_of
from wsss_platform.search.space_file import load_space
from wsss_platform.store.artefacts import Store

SETTINGS, ROUNDS, IMAGES, SIDE, EPOCHS = 64, 4, 20, 96, 2
SPACE = Path(__file__).parents[1] / "search_spaces" / "crf.toml"


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """One row; the built-in sample, whatever images there are."""
    torch.set_num_threads(1)
    one, store = _experiment(), Store(folder / "stored")
    levels = _levels(one)
    settings, runner = settings_of(one, levels), LocalRunner()
    run(one, Store(folder / "warm-up" / "stored"), runner)  # compiles what is compiled
    made = seconds(lambda: run(one, store, runner, until=one.stage("maps")))
    _searched(one, levels, store, folder / "warm-up")
    own: list[float] = []
    other: list[float] = []
    wall = [0.0, 0.0]
    chosen: Choice | None = None
    values: dict[str, float] = {}
    for number in range(ROUNDS):
        place = folder / f"round-{number}"
        copy = Store(place / "stored")  # without the winner's masks of the round before
        shutil.copytree(store.folder("maps", one.stage("maps").key), copy.folder("maps", one.stage("maps").key))
        clock = time.perf_counter()
        started = time.process_time()
        chosen = _searched(one, levels, copy, place)
        own.append(time.process_time() - started)
        wall[0] += (time.perf_counter() - clock) / ROUNDS
        part = settings[number::ROUNDS]
        clock = time.perf_counter()
        started = time.process_time()
        values |= _retrained(one, part, place)
        other.append(time.process_time() - started)
        wall[1] += time.perf_counter() - clock
    assert chosen is not None
    best, found = max(settings, key=lambda setting: values[setting.key]), chosen.found  # of equals the first
    if (best.key, values[best.key]) != (found.winner.key, found.value):
        raise AssertionError(f"trials that train choose {best.name}, the stored maps {found.winner.name}")
    each, theirs = statistics.median(own), sum(other)
    yield Row(
        name=f"{len(settings)} settings of the masks on stored maps vs {len(settings)} trials that train again",
        ours=1e3 * each / len(settings),
        theirs=1e3 * theirs / len(settings),
        unit="ms",
        asked=20,
        note=f"per setting; cam, {IMAGES} images of {SIDE} pixels of the sample, {EPOCHS} epochs, no halving of so "
        f"few; all trials were run; both choose {best.name!r} with {100 * values[best.key]:.2f}; the winner's masks "
        "and score are counted; with the one training and map pass that ours needs once: "
        f"{theirs / (each + made):.3g}x; wall time {wall[1] / wall[0]:.3g}x",
    )


def _experiment() -> Experiment:
    method = wsss_methods.get("cam")
    config = override(
        method.config(),
        {"train.epochs": EPOCHS, "train.batch": 4, "train.crop": SIDE, "maps.scales": [1.0], "maps.flip": False},
    )
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": IMAGES, "val": 2, "size": SIDE}})
    return Experiment(method, config, data)


def _levels(one: Experiment) -> Levels:
    """The shipped CRF space; without its background, which a study never samples."""
    space = load_space(SPACE, one.config, solved={})
    axes = tuple(axis for axis in space.axes if axis.path != "masks.background")
    levels = split(one, space.model_copy(update={"axes": axes}), SETTINGS)
    assert not levels.outer.axes
    return levels


def _searched(one: Experiment, levels: Levels, store: Store, folder: Path) -> Choice:
    """What a trial does once its maps are there: the search, and the winner's masks and score."""
    folder.mkdir(exist_ok=True)
    choice = choose([one], levels, store, LocalRunner(), folder)
    run(one.with_changes(choice.changes, "the best"), store, LocalRunner())
    return choice


def _retrained(one: Experiment, settings: Sequence[Setting], folder: Path) -> dict[str, float]:
    """Each setting's value, from a training of its own: the sweep's best where that solves the background."""
    values = {}
    for setting in settings:
        store = Store(folder / f"trial-{setting.key}")
        score = run(one.with_changes(setting.changes, setting.name), store, LocalRunner()).score
        assert score is not None
        best = score["sweep"]["best_threshold"]
        solved = setting.solved(best, "masks") is not None
        values[setting.key] = score["sweep"]["best_mean_iou"] if solved else score["mean_iou"]
        shutil.rmtree(store.root)
    return values
