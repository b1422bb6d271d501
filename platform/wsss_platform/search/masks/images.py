"""On which images a search evaluates: balanced over classes, those that confirm apart from those that choose."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data import Split
from wsss_platform.data.part import SplitPart
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.pipeline import FAILURES
from wsss_platform.store.artefacts import Store

ETA = 3
"""Each rung has so many times the images of the one before, and keeps one in so many settings."""
SMALLEST = 8
"""Fewest images of a rung."""


@dataclass(frozen=True)
class Plan:
    """Images of a search."""

    search: tuple[str, ...]
    """Settings are chosen on these; a rung takes a prefix."""
    confirm: tuple[str, ...]
    """The winner is confirmed on these, none of which is in `search`."""
    rungs: tuple[int, ...]
    """Images of each rung, ascending; the last is all of `search`."""

    def for_settings(self, number: int) -> Plan:
        """Without the first rungs, where so many settings cannot be halved so often."""
        return replace(self, rungs=self.rungs[-1 - int(math.log(number, ETA)) :])


def plan(split: Split, images: int, confirm: int, seed: int) -> Plan:
    """Draw both sets by image-level labels.

    Raises:
        InputError: the split is too short for both.
    """
    if len(split.ids) < images + min(confirm, SMALLEST):
        raise InputError(
            f"split {split.name!r} has {len(split.ids)} images; --images {images} to search on leaves too few "
            "to confirm the winner on"
        )
    vectors = np.array([split.labels(name) for name in split.ids])
    order = [split.ids[row] for row in stratified(vectors, images + confirm, seed)]
    rungs = [images]
    while rungs[0] // ETA >= SMALLEST:
        rungs.insert(0, rungs[0] // ETA)
    return Plan(tuple(order[:images]), tuple(order[images:]), tuple(rungs))


def with_maps(experiment: Experiment, store: Store) -> Split:
    """The split of the last maps without images whose maps failed and were allowed to (--max-failures)."""
    maps = experiment.stage("maps")
    split, file = experiment.dataset.split(maps.list_name), store.folder("maps", maps.key) / FAILURES
    lacking = {id for id, _ in json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else set()
    return SplitPart(split, split.name, tuple(id for id in split.ids if id not in lacking)) if lacking else split


def stratified(labels: NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """Rows in an order whose every beginning holds the classes about as often as the whole, each class early.

    Next comes an image of the class of which the smallest share is taken, the rarest among equals; which one is drawn.
    One image counts for all its classes; images without any are a class of their own.

    Args:
        labels: bool [N, C].
        count: how many rows at most.
        seed: of the draw.
    """
    none = ~labels.any(axis=1, keepdims=True)
    member = np.concatenate([labels, none], axis=1)
    totals = member.sum(0).astype(np.float64)
    generator = np.random.default_rng(seed)
    waiting = [list(generator.permutation(np.flatnonzero(column))) for column in member.T]
    taken = np.zeros(len(totals))
    used = np.zeros(len(member), np.bool_)
    order: list[int] = []
    while len(order) < min(count, len(member)):
        share = np.where([bool(rows) for rows in waiting], taken / np.maximum(totals, 1), np.inf)
        cls = min(np.flatnonzero(share == share.min()), key=lambda c: (totals[c], c))
        row = int(waiting[cls].pop())
        if used[row]:
            continue
        used[row] = True
        taken += member[row]
        order.append(row)
    return order
