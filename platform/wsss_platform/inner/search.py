"""The best inner setting of one trial: settings halve over its pictures (Jamieson and Talwalkar 2016), as in a CRF
search; what is left is scored on all of them, on the maps of every seed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from wsss_platform.config import MasksConfig, fingerprint, look_up, override
from wsss_platform.crf_search.pictures import ETA, plan
from wsss_platform.errors import InputError
from wsss_platform.experiment import REVISIONS, Experiment
from wsss_platform.inner.levels import Levels
from wsss_platform.inner.settings import Setting, settings_of
from wsss_platform.inner.table import Row, append_rows, known_rows, plain
from wsss_platform.inner.work import Counts, SettingsWork, read_counts, thresholds
from wsss_platform.interrupts import Interrupted
from wsss_platform.metrics.confusion import mean_iou, mean_iou_of_parts
from wsss_platform.metrics.sweep import confusions
from wsss_platform.pipeline import check_failures
from wsss_platform.stages import Chunk, ChunkReport, Runner
from wsss_platform.store import Store
from wsss_platform.work import chunks_of


@dataclass(frozen=True)
class Choice:
    """What an inner search came to."""

    changes: dict[str, Any]
    """What the best setting changes in the trial's config, its solved background among it."""
    row: Row
    """Its row."""


def choose(
    experiments: Sequence[Experiment],
    levels: Levels,
    trial: int,
    store: Store,
    runner: Runner,
    folder: Path,
    asked: Callable[[], bool] = lambda: False,
) -> Choice:
    """Search the inner settings of one trial and add them to the study's table; what is in it is not repeated.

    "As configured" stays to the end, so the choice is never worse than no search. Of equals the first wins.

    Args:
        experiments: the trial's, one per seed; their maps are in the store.
        levels: what is inner.
        trial: its number.
        store: of the maps.
        runner: where chunks are counted.
        folder: the study's; counts of an unfinished search are kept under `inner/`.
        asked: whether the user wants an end; looked at after each chunk.

    Raises:
        Interrupted: they do; the next call goes on with the chunk after.
        InputError: a picture or its truth that cannot be used, or an inner axis that changes these maps.
    """
    first = experiments[0]
    settings = settings_of(first, levels)
    for one in settings:
        if _maps(replace(first, config=override(first.config, one.changes, one.name))) != _maps(first):
            raise InputError(f"inner axes: setting {one.name!r} changes the maps of trial {trial}; use --inner 0")
    source = fingerprint([*(_maps(one) for one in experiments), REVISIONS["masks"], REVISIONS["score"]])
    known = known_rows(folder, source)
    missing = [one for one in settings if one.key not in known]
    work = folder / "inner" / f"{trial:04d}-{fingerprint([source, *(one.key for one in missing)])[:12]}"
    scored = _Search(experiments, store, runner, work, asked).run(missing) if missing else {}
    rows = []
    for one in settings:
        found = scored.get(one.key) or known[one.key]
        changed = override(first.config, one.changes, one.name)
        values = {axis.path: plain(axis, look_up(changed, axis.path)) for axis in levels.inner}
        rows.append(replace(found, trial=trial, setting=one.number, name=one.name, maps=source, values=values))
    append_rows(folder, rows, levels.inner)
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # other trials may be at work
        work.parent.rmdir()
    longest = max(row.pictures for row in rows)
    best = max((row for row in rows if row.pictures == longest), key=lambda row: (row.value, -row.setting))
    winner = settings[best.setting]
    solved = winner.solved(best.best_threshold, first.phases[-1].masks) or {}
    return Choice({**winner.changes, **solved}, best)


def _maps(experiment: Experiment) -> str:
    return experiment.stage("maps").key


class _Search:
    """The settings that are not known yet, on the maps of every seed."""

    def __init__(
        self,
        experiments: Sequence[Experiment],
        store: Store,
        runner: Runner,
        folder: Path,
        asked: Callable[[], bool],
    ) -> None:
        self._experiments, self._store, self._runner, self._folder = experiments, store, runner, folder
        self._asked = asked
        self._section = experiments[0].phases[-1].masks
        stage = experiments[0].stage("maps")
        self._list_name = stage.list_name
        self._split = experiments[0].dataset.split(stage.list_name)
        self._thresholds = thresholds(experiments[0].masks_config(experiments[0].phases[-1]))

    def run(self, settings: Sequence[Setting]) -> Mapping[str, Row]:
        """Halve the settings over the rungs; their rows by key."""
        pictures = plan(self._split, len(self._split.ids), 0, 0)
        depth = 1 + int(math.log(len(settings), ETA))
        counts: dict[str, list[Counts]] = {}
        at: dict[str, int] = {}
        left, done = list(settings), 0
        for number, size in enumerate(pictures.rungs[-depth:], 1):
            for one, own in self._count(left, pictures.search[done:size], number).items():
                counts[one] = [a + b for a, b in zip(counts[one], own, strict=True)] if one in counts else own
                at[one] = size
            done = size
            threshold, best = self._best(counts[left[0].key])
            values = {one.key: self._value(one, counts[one.key], threshold, best) for one in left}
            others = sorted((one for one in left if one.number), key=lambda one: -values[one.key])  # stable
            last = left
            left = [*(one for one in left if not one.number), *others[: max(1, len(others) // ETA)]]
        threshold, best = self._best(counts[last[0].key])  # of all pictures
        return {
            one.key: Row(
                trial=-1, setting=one.number, name=one.name, key=one.key, maps="", values={},
                crf=one.masks.crf != "none", best_threshold=threshold, best_mean_iou=best,
                mean_iou=_masks(counts[one.key]),
                value=self._value(one, counts[one.key], *self._best(counts[one.key])),
                seconds=sum(own.seconds for own in counts[one.key]), pictures=at[one.key],
            )
            for one in settings
        }  # fmt: skip

    def _count(self, settings: Sequence[Setting], ids: Sequence[str], rung: int) -> dict[str, list[Counts]]:
        """The counts of settings on some pictures, by key, one for each seed."""
        chosen = set(ids)
        chunks = [
            Chunk(chunk.index, some)
            for chunk in chunks_of(self._split.ids)
            if (some := tuple(name for name in chunk.ids if name in chosen))
        ]
        found: dict[str, list[Counts]] = {one.key: [] for one in settings}
        for experiment in self._experiments:
            total = self._of_seed(experiment, tuple(one.masks for one in settings), chunks, rung)
            share = total.seconds / len(settings)
            for place, one in enumerate(settings):
                found[one.key].append(Counts(total.parts[place : place + 1], total.histogram, share))
        return found

    def _of_seed(
        self, experiment: Experiment, settings: tuple[MasksConfig, ...], chunks: Sequence[Chunk], rung: int
    ) -> Counts:
        stage = experiment.stage("maps")
        folder = self._folder / f"{stage.key[:12]}-{rung}"
        folder.mkdir(parents=True, exist_ok=True)
        maps = self._store.open("maps", stage.key).folder
        work = SettingsWork(experiment, stage.phase, self._list_name, folder, maps, settings)
        failures: list[tuple[str, str]] = []

        def on_chunk(place: int, report: ChunkReport) -> None:
            failures.extend(report.failures)
            if self._asked():
                raise Interrupted

        self._runner.chunks([work], chunks, on_chunk)
        pictures = sum(len(chunk.ids) for chunk in chunks)
        check_failures(f"inner settings, rung {rung}", folder, failures, pictures, self._store.max_failures)
        return reduce(add, (read_counts(folder, chunk.index) for chunk in chunks))

    def _best(self, seeds: Sequence[Counts]) -> tuple[float, float]:
        """The sweep's best (threshold, mean IoU) over the seeds' mean; NaN where nothing could be scored."""
        curve = np.mean([np.atleast_1d(mean_iou(confusions(own.histogram))) for own in seeds], axis=0)
        if np.isnan(curve).all():
            return math.nan, math.nan
        place = int(np.nanargmax(curve))
        return float(str(self._thresholds[place])), float(curve[place])

    def _value(self, setting: Setting, seeds: Sequence[Counts], threshold: float, best: float) -> float:
        """What a setting is chosen by; 0 where nothing could be scored."""
        value = _masks(seeds) if setting.solved(threshold, self._section) is None else best
        return 0.0 if math.isnan(value) else value


def _masks(seeds: Sequence[Counts]) -> float:
    """Mean IoU of a setting's masks, the mean over seeds."""
    return float(np.mean([mean_iou_of_parts(own.parts[0]) for own in seeds]))
