"""Successive halving of settings over pictures (Jamieson and Talwalkar 2016), and the winner's confirmation.

Every rung scores the settings that are left on more pictures and keeps the best third; the references stay. All of it
looks at pixel truth: the winner's number on the pictures searched is a selected one, and the interval that counts comes
from other pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.crf_search.candidates import NO_CRF, Candidate
from wsss_platform.crf_search.kept import Kept
from wsss_platform.crf_search.pictures import ETA, Plan
from wsss_platform.data import Split, Truth
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.masks.search import masks_of
from wsss_platform.metrics.bootstrap import Comparison, compare
from wsss_platform.metrics.confusion import confusion, mean_iou, mean_iou_of_parts, parts
from wsss_platform.metrics.sweep import confusions, grid, histogram, sweep_picture

Watch = Callable[[str, int, int, int], None]
"""Called with what is done (such as "rung 1"), pictures done, of how many, and how many settings."""
_SWEEP = 200


@dataclass(frozen=True)
class Rung:
    """What one rung saw: mean IoU by candidate name, 0..1."""

    pictures: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Found:
    """What a search found."""

    candidates: dict[str, Candidate]
    """By name, "no CRF" among them."""
    rungs: tuple[Rung, ...]
    winner: Candidate
    """The best on all pictures searched."""
    confirmation: dict[str, Comparison]
    """Reference's name -> the winner (a) against it (b) on the pictures kept apart; empty where there are none."""
    looks: int
    """Settings x pictures scored against pixel truth for this result, kept ones included."""
    computed: int
    """How many of them this call computed."""

    @property
    def confirmed(self) -> bool:
        """The winner is better than no CRF on pictures it was not chosen on: the whole interval is above 0."""
        found = self.confirmation.get(NO_CRF)
        return found is not None and found.difference.low > 0


class Search:
    """One run's stored maps, their pictures and their truth; `threads` pictures at once."""

    def __init__(
        self, maps: Path, split: Split, truth: Truth, kept: Kept, watch: Watch, threads: int | None = None
    ) -> None:
        self._maps, self._split, self._truth, self._kept, self._watch = MapReader(maps), split, truth, kept, watch
        self._threads = threads or len(os.sched_getaffinity(0))
        self._computed = 0

    def run(self, candidates: Sequence[Candidate], plan: Plan) -> Found:
        """Halve `candidates` and "no CRF" over the rungs, then confirm the winner.

        Raises:
            InputError: a picture, map or mask that cannot be used, named.
        """
        every = [self._no_crf(candidates[0], plan), *candidates]
        left = list(every)
        rungs: list[Rung] = []
        for number, pictures in enumerate(plan.rungs, 1):
            ids = plan.search[:pictures]
            self.score(left, ids, f"rung {number} of {len(plan.rungs)}")
            scores = {item.name: self._mean(item, ids) for item in left}
            rungs.append(Rung(pictures, scores))
            ranked = sorted(left, key=lambda item: -scores[item.name])  # stable: of equals the first
            winner = ranked[0]
            best = [item for item in ranked if not item.reference]
            left = [*(item for item in left if item.reference), *best[: max(1, len(best) // ETA)]]
        references = [item for item in every if item.reference]
        confirmation: dict[str, Comparison] = {}
        others = [item for item in references if item.key != winner.key]
        if plan.confirm:
            self.score([winner, *others], plan.confirm, "confirmation")
            own = self._kept.parts(winner, plan.confirm)
            confirmation = {item.name: compare(own, self._kept.parts(item, plan.confirm)) for item in others}
        looks = sum(rung.pictures * len(rung.scores) for rung in rungs)  # a later rung holds the earlier one's pictures
        looks -= sum(a.pictures * len(b.scores) for a, b in pairwise(rungs))
        looks += len(plan.confirm) * (1 + len(others))
        by_name = {item.name: item for item in every}
        return Found(by_name, tuple(rungs), winner, confirmation, looks, self._computed)

    def score(self, candidates: Sequence[Candidate], ids: Sequence[str], what: str) -> None:
        """Count each setting on each picture, unless its counts are kept."""
        todo = [(name, [c for c in candidates if (c.key, name) not in self._kept]) for name in ids]
        todo = [(name, missing) for name, missing in todo if missing]
        self._watch(what, len(ids) - len(todo), len(ids), len(candidates))
        try:
            for done, (name, missing, counts) in enumerate(self._each(self._count, todo), len(ids) - len(todo) + 1):
                for candidate, own in zip(missing, counts, strict=True):
                    self._kept.put(candidate.key, candidate.masks, name, own)
                self._computed += len(missing)
                self._watch(what, done, len(ids), len(candidates))
        finally:
            self._kept.write()

    def _each(
        self,
        work: Callable[[str, list[Candidate]], list[NDArray[np.int64]]],
        todo: Sequence[tuple[str, list[Candidate]]],
    ) -> Iterator[tuple[str, list[Candidate], list[NDArray[np.int64]]]]:
        """Results as they come; what has not begun is dropped when one fails."""
        pool = ThreadPoolExecutor(self._threads)
        try:
            running = {pool.submit(work, name, missing): (name, missing) for name, missing in todo}
            for future in as_completed(running):
                yield *running[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, name: str, candidates: list[Candidate]) -> list[NDArray[np.int64]]:
        truth, image = self._truth.mask(name), self._split.read(name).image
        masks = masks_of(self._maps[name], image, [item.masks for item in candidates])
        return [parts(confusion(truth, mask, len(self._truth.classes), name)) for mask in masks]

    def _mean(self, candidate: Candidate, ids: Sequence[str]) -> float:
        value = float(mean_iou_of_parts(self._kept.parts(candidate, ids).sum(0)))
        return 0.0 if np.isnan(value) else value

    def _no_crf(self, configured: Candidate, plan: Plan) -> Candidate:
        """The maps alone at their best constant background: solved exactly on the pictures searched."""
        thresholds, classes = grid(_SWEEP), len(self._truth.classes)
        total = np.zeros((classes + 1, classes, len(thresholds) + 1), np.int64)
        for done, name in enumerate(plan.search, 1):
            stored = self._maps[name]
            cells = sweep_picture(full_size(stored), stored.classes, self._truth.mask(name), thresholds, classes, name)
            total += histogram([cells], classes, len(thresholds))
            self._watch("sweep without CRF", done, len(plan.search), 1)
        best = thresholds[int(np.nanargmax(mean_iou(confusions(total))))]
        changes = {"rule": "constant", "background": float(str(best)), "crf": "none"}
        return Candidate(NO_CRF, configured.masks.model_copy(update=changes), changes, reference=True)
