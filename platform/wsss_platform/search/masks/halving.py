"""The search over stored maps: settings halve over images (Jamieson and Talwalkar 2016), and the winner is confirmed.

Every rung scores the settings that are left on more images and keeps the best third; the references stay. All of it
uses ground truth: the winner's number on the images searched is a selected one, and the interval that counts comes
from other images.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from wsss_platform.config import fingerprint
from wsss_platform.plan.experiment import REVISIONS, Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport, ChunkRunner
from wsss_platform.run.chunks.images import CHUNK
from wsss_platform.run.pipeline import check_failures
from wsss_platform.scores.bootstrap import compare
from wsss_platform.scores.confusion import mean_iou, mean_iou_of_parts
from wsss_platform.scores.intervals import Comparison
from wsss_platform.scores.sweep import confusions
from wsss_platform.search.masks.count import CountWork, thresholds
from wsss_platform.search.masks.images import ETA, Plan
from wsss_platform.search.masks.settings import NO_CRF, Setting, no_crf
from wsss_platform.search.masks.table import FILE, Table
from wsss_platform.store.artefacts import Store

Watch = Callable[[str, int, int, int], None]
"""Called with what is done (such as "rung 1 of 3"), images done, of how many, and how many settings. May raise."""
_SHARES = 64
"""Parts into which a rung is cut, so that many processes have some of it, and a kill costs little."""


@dataclass(frozen=True)
class Rung:
    """What one rung saw: by a setting's name what it is chosen by, 0..1."""

    images: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """What a search found."""

    settings: Mapping[str, Setting]
    """By name, "no CRF" among them where it was searched."""
    rungs: tuple[Rung, ...]
    winner: Setting
    """The best on all images searched."""
    threshold: float
    """Background threshold 0..1 at which the sweep of the maps is best on them; NaN where it solves no setting."""
    confirmation: Mapping[str, Comparison]
    """Reference's name -> the winner (a) against it (b) on the images kept apart; empty where there are none."""
    evaluations: int
    """Settings x images scored against ground truth for this result, counts from before included."""
    computed: int
    """How many of them this call computed, on each seed's maps."""

    @property
    def value(self) -> float:
        """What the winner is chosen by, 0..1."""
        return self.rungs[-1].scores[self.winner.name]

    @property
    def confirmed(self) -> bool:
        """The winner is better than no CRF on images it was not chosen on: the whole interval is above 0."""
        found = self.confirmation.get(NO_CRF)
        return found is not None and found.difference.low > 0

    def fields(self) -> dict[str, Any]:
        """As plain data: the fields of `search.documents.FoundSettings`."""
        return {
            "winner": self.winner.name,
            "searched": dict(self.rungs[-1].scores),
            "scores": [asdict(rung) for rung in self.rungs],
            "changes": {name: dict(setting.changes) for name, setting in self.settings.items()},
            "confirmation": {name: asdict(one) for name, one in self.confirmation.items()},
            "confirmed": self.confirmed,
            "evaluations": self.evaluations,
            "computed": self.computed,
        }


def source_of(experiment: Experiment) -> str:
    """Whose counts are the same: stored maps, their list's ground truth, and the code that counts; 12 hex digits."""
    maps = experiment.stage("maps")
    truth = experiment.truth_fingerprint(maps.list_name)
    return fingerprint([maps.key, truth, REVISIONS["masks"], REVISIONS["score"]])[:12]


@dataclass
class _Maps:
    """One experiment's stored maps, and their sweep over some images."""

    experiment: Experiment
    source: str
    swept: set[str] = field(default_factory=set)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((), np.int64))

    @property
    def curve(self) -> NDArray[np.float64]:
        """Mean IoU at each threshold: float64 [T]."""
        return np.atleast_1d(mean_iou(confusions(self.histogram)))


class Search:
    """Settings on the same split's stored maps of one or several experiments, whose scores are averaged."""

    def __init__(
        self, experiments: Sequence[Experiment], store: Store, runner: ChunkRunner, folder: Path, watch: Watch
    ) -> None:
        """
        Args:
            experiments: one per seed; their maps are in the store.
            store: of the maps.
            runner: where chunks are counted.
            folder: of this search, where its table of counts is and grows.
            watch: is called after each chunk.
        """
        self._maps = [_Maps(one, source_of(one)) for one in experiments]
        self._store, self._runner, self._folder, self._watch = store, runner, folder, watch
        self._chunks = folder / "counting"  # those that are not in the table yet
        first = experiments[0]
        self._section, self._own = first.phases[-1].masks, first.masks_config(first.phases[-1])
        self._list_name = first.stage("maps").list_name
        self._table = Table(first.dataset.truth(self._list_name).classes)

    def run(self, settings: Sequence[Setting], plan: Plan, *, against_no_crf: bool = False) -> Found:
        """Halve the settings over the rungs, then confirm the winner. Waits for another search in the same folder.

        Args:
            settings: of equals the first wins.
            plan: the images.
            against_no_crf: adds the maps alone at the constant background that is best on all images searched.

        Raises:
            InputError: an image, map or mask that cannot be used, named.
        """
        self._chunks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "search.lock"):
            if (self._folder / FILE).exists():
                self._table.add(self._folder / FILE)
            self._take(list(self._chunks.glob("*.parquet")))  # what a killed search has left
            before = len(self._table)
            if against_no_crf:
                self._count((), plan.search, "sweep without CRF", sweep=True)
                settings = [no_crf(self._own, self._section, self._best()[0]), *settings]
            rungs, winner, threshold = self._halved(settings, plan)
            references = [one for one in settings if one.reference and one.key != winner.key] if plan.confirm else []
            confirmation = self._confirmed(winner, references, plan.confirm)
            shutil.rmtree(self._chunks)
        sizes = np.diff([0, *plan.rungs])  # a later rung holds the earlier one's images
        evaluations = sum(int(size) * len(rung.scores) for size, rung in zip(sizes, rungs, strict=True))
        evaluations += len(plan.confirm) * (1 + len(references))
        by_name, computed = {one.name: one for one in settings}, len(self._table) - before
        return Found(by_name, tuple(rungs), winner, threshold, confirmation, evaluations, computed)

    def _halved(self, settings: Sequence[Setting], plan: Plan) -> tuple[list[Rung], Setting, float]:
        """The rungs, the winner, and the sweep's best threshold."""
        left, rungs = list(settings), list[Rung]()
        sweep = any(one.swept for one in settings)
        for number, size in enumerate(plan.rungs, 1):
            ids = plan.search[:size]
            self._count(left, ids, f"rung {number} of {len(plan.rungs)}", sweep=sweep)
            best = self._best() if sweep else (math.nan, math.nan)
            scores = {one.name: self._value(one, ids, *best) for one in left}
            rungs.append(Rung(size, scores))
            ranked = sorted(left, key=lambda one: -scores[one.name])  # stable: of equals the first
            others = [one for one in ranked if not one.reference]
            left = [*(one for one in left if one.reference), *others[: max(1, len(others) // ETA)]]
        return rungs, ranked[0], best[0]

    def _confirmed(self, winner: Setting, references: Sequence[Setting], ids: Sequence[str]) -> dict[str, Comparison]:
        """The winner against each reference, on the first seed's maps."""
        if ids:
            self._count([winner, *references], ids, "confirmation")
        parts = {one.name: self._table.parts(self._maps[0].source, one.key, ids) for one in (winner, *references)}
        return {one.name: compare(parts[winner.name], parts[one.name]) for one in references}

    def _value(self, setting: Setting, ids: Sequence[str], threshold: float, best: float) -> float:
        """What a setting is chosen by; 0 where nothing could be scored."""
        value = best
        if setting.solved(threshold, self._section) is None:
            totals = [self._table.parts(maps.source, setting.key, ids).sum(0) for maps in self._maps]
            value = float(np.mean([mean_iou_of_parts(total) for total in totals]))
        return 0.0 if math.isnan(value) else value

    def _best(self) -> tuple[float, float]:
        """The sweep's best (threshold, mean IoU) over the seeds' mean; NaN where nothing could be scored."""
        curve = np.mean([maps.curve for maps in self._maps], axis=0)
        if np.isnan(curve).all():
            return math.nan, math.nan
        place = int(np.nanargmax(curve))
        return float(str(thresholds(self._own)[place])), float(curve[place])

    def _count(self, settings: Sequence[Setting], ids: Sequence[str], what: str, *, sweep: bool = False) -> None:
        """Count each setting on each image, on every seed's maps, unless the table has it; and sweep the maps."""
        for maps in self._maps:
            groups: dict[tuple[tuple[int, ...], bool], list[str]] = {}
            for id in ids:
                lacking = tuple(n for n, one in enumerate(settings) if not self._table.has(maps.source, one.key, id))
                unswept = sweep and id not in maps.swept
                if lacking or unswept:
                    groups.setdefault((lacking, unswept), []).append(id)
            self._count_groups(maps, settings, groups, len(ids), what)

    def _count_groups(
        self,
        maps: _Maps,
        settings: Sequence[Setting],
        groups: Mapping[tuple[tuple[int, ...], bool], Sequence[str]],
        images: int,
        what: str,
    ) -> None:
        """Count images by which settings they lack (as places), and whether their maps are to be swept."""
        todo = sum(map(len, groups.values()))
        done, failures = images - todo, list[tuple[str, str]]()

        def on_chunk(place: int, report: ChunkReport) -> None:
            nonlocal done
            done += report.images
            failures.extend(report.failures)
            self._watch(what, done, images, len(settings))

        self._watch(what, done, images, len(settings))
        stage = maps.experiment.stage("maps")
        stored = self._store.open("maps", stage.key).folder
        for (lacking, sweep), ids in groups.items():
            own = tuple(settings[place] for place in lacking)
            common = (maps.experiment, stage.phase, self._list_name, self._chunks)
            work = CountWork(*common, stored, maps.source, own, sweep)
            size = min(CHUNK, -(-len(ids) // _SHARES))
            chunks = [Chunk(start // size, tuple(ids[start : start + size])) for start in range(0, len(ids), size)]
            try:
                self._runner.chunks([work], chunks, on_chunk)
                if sweep:
                    maps.histogram = maps.histogram + sum(np.load(work.sweep_of(chunk)) for chunk in chunks)
                    maps.swept |= set(ids)
            finally:
                self._take([path for path in map(work.output, chunks) if path.is_file()])
        check_failures(what, self._chunks, failures, todo, self._store.max_failures)

    def _take(self, paths: Sequence[Path]) -> None:
        """Move the tables of chunks into the one of the search."""
        for path in paths:
            self._table.add(path)
        if paths:
            self._table.write(self._folder / FILE)
        for path in paths:
            path.unlink()
