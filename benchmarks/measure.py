"""Alternating medians and peak memory."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ours: float
    theirs: float
    unit: str
    """Of both sides, per image; less is better."""
    asked: float | None = None
    """The ratio wanted, or None where none was."""
    limit_share: float | None = None
    """The physical limit over ours, 0..1: 1 is as fast as the input can be read."""
    limit: str = ""
    """What the limit is."""
    ours_peak: float | None = None
    """Peak of allocated memory in MB while ours ran once."""
    theirs_peak: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times less ours needs."""
        return self.theirs / self.ours


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call: other processes on the machine do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(*sides: Callable[[], object], rounds: int) -> list[float]:
    """Median CPU seconds of each side, measured in turn so that a change of the machine's speed hits all."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, own in zip(sides, times, strict=True):
            own.append(seconds(side))
    return [statistics.median(own) for own in times]


def peak(work: Callable[[], object]) -> float:
    """MB that Python and numpy allocated at most during one call."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
