"""Chunks of pictures over an actor pool: bounded in flight, dead workers replaced, poison chunks named."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from wsss_platform.engine.reasons import last_line
from wsss_platform.errors import InputError, RunError
from wsss_platform.stages import Chunk, ChunkReport, ChunkWork

ATTEMPTS = 3
"""How often a chunk may lose its worker before it is given up."""
IN_FLIGHT = 2
"""Chunks per worker: one it works on, one that waits so that it never does."""


class _Worker:
    """Holds the work, unpickled once, and calls it chunk by chunk."""

    def __init__(self, work: ChunkWork) -> None:
        self.work = work

    def ready(self) -> None:
        """Answers once the process is up and the work unpickled."""

    def run(self, chunk: Chunk) -> ChunkReport | InputError | RunError:
        """The report; our own errors come back as values, other exceptions through Ray."""
        try:
            return self.work(chunk)
        except (InputError, RunError) as error:
            return error


@dataclass
class _Slot:
    """One worker of the pool and what was sent to it, oldest first."""

    actor: Any
    starting: Any
    """Reference of `ready`; None once it is up. Chunks go only to workers that are up: one that the cluster
    cannot place yet would hold them back."""
    sent: deque[tuple[Any, Chunk]] = field(default_factory=deque)


def run_chunks(
    work: ChunkWork,
    chunks: Sequence[Chunk],
    on_chunk: Callable[[ChunkReport], None],
    *,
    actors: int,
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> None:
    """Call `work` on every chunk in up to `actors` worker processes; report each chunk once, in any order.

    The actors stand outside a Tune trial's placement group, so a trial counts their CPUs on top of its own.

    Args:
        work: pickled once; each worker unpickles it once.
        chunks: with distinct indices.
        on_chunk: called in this thread.
        actors: at most; fewer run while the cluster is busy.
        cpus: per actor.
        gpus: per actor.

    Raises:
        InputError, RunError: raised by `work` for a chunk, as it was raised, after running chunks have ended.
        RunError: a chunk lost its worker `ATTEMPTS` times; names its pictures.
    """
    _Pool(work, chunks, on_chunk, actors, cpus, gpus).run()


class _Pool:
    def __init__(
        self,
        work: ChunkWork,
        chunks: Sequence[Chunk],
        on_chunk: Callable[[ChunkReport], None],
        actors: int,
        cpus: float,
        gpus: float,
    ) -> None:
        self.waiting = deque(chunks)
        self.on_chunk = on_chunk
        self.losses: dict[int, int] = {}
        self.failure: Exception | None = None
        self.slots: list[_Slot] = []
        self._work = work
        self._size = max(1, min(actors, len(chunks)))
        self._actor: Any = ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            scheduling_strategy="SPREAD",  # an explicit strategy also leaves a trial's placement group
            max_restarts=0,
        )(_Worker)

    def run(self) -> None:
        if not self.waiting:
            return
        stored = ray.put(self._work)
        try:
            self.slots = [self._start(stored) for _ in range(self._size)]
            while self._busy():
                self._send()
                self._collect(stored)
        finally:
            for slot in self.slots:
                ray.kill(slot.actor)
        if self.failure is not None:
            raise self.failure

    def _start(self, stored: Any) -> _Slot:
        actor = self._actor.remote(stored)
        return _Slot(actor, actor.ready.remote())

    def _busy(self) -> bool:
        """Chunks are running, or wait and may still be started."""
        return any(slot.sent for slot in self.slots) or (bool(self.waiting) and self.failure is None)

    def _send(self) -> None:
        """Hand out waiting chunks; first one to each worker, then the second ones."""
        for depth in range(IN_FLIGHT):
            for slot in self.slots:
                if self.failure is None and self.waiting and slot.starting is None and len(slot.sent) <= depth:
                    chunk = self.waiting.popleft()
                    slot.sent.append((slot.actor.run.remote(chunk), chunk))

    def _collect(self, stored: Any) -> None:
        """Wait for something to happen and take in all of it."""
        places = {slot.starting: slot for slot in self.slots if slot.starting is not None}
        places |= {slot.sent[0][0]: slot for slot in self.slots if slot.sent}
        done, _ = ray.wait(list(places), num_returns=1)
        for reference in done:
            slot = places[reference]
            try:
                outcome = ray.get(reference)
            except RayTaskError as error:  # an exception of the work that is not one of ours
                outcome = error.cause if isinstance(error.cause, Exception) else error
            except RayError as error:
                self._lost(slot, error, stored)
                continue
            if reference is slot.starting:
                slot.starting = None
                continue
            slot.sent.popleft()
            if isinstance(outcome, Exception):
                self.failure = self.failure or outcome
            else:
                self.on_chunk(outcome)

    def _lost(self, slot: _Slot, error: RayError, stored: Any) -> None:
        """Replace a dead worker. The chunk it worked on is to blame; the one that waited behind it is not."""
        ray.kill(slot.actor)
        running = slot.sent.popleft()[1] if slot.sent else None
        self.waiting.extendleft(chunk for _, chunk in reversed(slot.sent))
        index = running.index if running else -1  # -1: it died before it was up
        self.losses[index] = self.losses.get(index, 0) + 1
        if running and self.losses[index] < ATTEMPTS:
            self.waiting.append(running)  # behind the others, so that they are done if it kills again
        if self.losses[index] >= ATTEMPTS and self.failure is None:
            self.failure = _given_up(running, error)
        self.slots[self.slots.index(slot)] = self._start(stored)


def _given_up(chunk: Chunk | None, error: RayError) -> RunError:
    reason = last_line(error)
    if chunk is None:
        return RunError(f"workers died {ATTEMPTS} times while starting: {reason}")
    return RunError(
        f"the worker of chunk {chunk.index} died {ATTEMPTS} times ({reason}); "
        f"one of its pictures may be the cause: {', '.join(chunk.ids)}"
    )
