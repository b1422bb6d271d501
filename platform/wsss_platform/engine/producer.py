"""Chunks of images over worker processes: bounded in flight, dead workers replaced, killing images named.

A chunk goes through a line of works (maps, masks, counts). Work on CPUs runs as Ray tasks: their processes stay
warm between stages and trials, so a short stage does not pay for importing torch again. Work on GPUs runs in
actors, which keep their GPU and the network on it for the whole line; a task's process could neither keep another
task off its GPU nor be moved to another one. Both run at once, so that GPUs make maps while CPUs run the CRF.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from wsss_platform.engine.errors import last_line
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import Chunk, ChunkReport, ChunkWork, NamesImage

ATTEMPTS = 3
"""How often an image (or a chunk, when no image can be blamed) may kill its worker before it is given up."""
IN_FLIGHT = 2
"""Chunks per actor: one it works on, one that waits so that it never does."""


@dataclass
class _Held:
    """The works that this process has unpickled; their networks and readers stay for the next chunk."""

    token: bytes = b""
    works: dict[int, ChunkWork] = field(default_factory=dict)


_HELD = _Held()


def _call(stored: list[Any], place: int, chunk: Chunk) -> ChunkReport | InputError | RunError:
    """One chunk in a task; `stored` holds references to the line's works, in a list so that Ray does not fetch them."""
    token = stored[0].binary()
    if token != _HELD.token:
        _HELD.works.clear()  # the old network goes before the new one comes
        _HELD.token = token
    if place not in _HELD.works:
        _HELD.works[place] = ray.get(stored[place])
    try:
        return _HELD.works[place](chunk)
    except (InputError, RunError) as error:
        return error


def run_chunks(
    line: Sequence[ChunkWork],
    chunks: Sequence[Chunk],
    on_chunk: Callable[[int, ChunkReport], None],
    *,
    processes: int,
    actors: int = 1,
    gpus: Sequence[float] = (),
) -> None:
    """Send every chunk through the line in worker processes of one CPU each; report each once per work.

    Chunks furthest down the line go first. The workers stand outside a Tune trial's placement group, so a trial
    counts their CPUs on top of its own.

    Args:
        line: each pickled once; each process unpickles each once.
        chunks: with distinct indices.
        on_chunk: called in this thread with the work's place in the line.
        processes: tasks at most at once, over all works without a GPU; fewer run while the cluster is busy.
        actors: at most, for each work with a GPU.
        gpus: per actor, for each work of the line; default none.

    Raises:
        InputError, RunError: raised by a work for a chunk, as it was raised, after running chunks have ended; an
            exception of `on_chunk` likewise.
        RunError: a chunk lost its worker `ATTEMPTS` times and no image can be blamed; names its images.
    """
    if chunks:
        _Line(line, chunks, on_chunk, processes, actors, gpus or [0.0] * len(line)).run()


class _Line:
    """The works, what waits before each, and what has gone wrong."""

    def __init__(
        self,
        line: Sequence[ChunkWork],
        chunks: Sequence[Chunk],
        on_chunk: Callable[[int, ChunkReport], None],
        processes: int,
        actors: int,
        gpus: Sequence[float],
    ) -> None:
        self.works, self.on_chunk = line, on_chunk
        self.waiting: list[deque[Chunk]] = [deque(chunks), *(deque[Chunk]() for _ in line[1:])]
        self.whole = {chunk.index: chunk for chunk in chunks}
        self.losses: Counter[tuple[int, int, str | None]] = Counter()
        self.failure: Exception | None = None
        stored = [ray.put(work) for work in line]
        size = max(1, min(processes, len(chunks) * len(line)))
        crowd = _Crowd(stored, size)
        self.stations: list[_Tasks | _Actors] = [
            _Actors(self, place, stored[place], max(1, min(actors, len(chunks))), share)
            if share
            else _Tasks(self, place, crowd)
            for place, share in enumerate(gpus)
        ]

    def run(self) -> None:
        try:
            while any(station.busy() for station in self.stations) or (any(self.waiting) and self.failure is None):
                if self.failure is None:
                    for station in reversed(self.stations):
                        station.send()
                places = {reference: station for station in self.stations for reference in station.references()}
                done, _ = ray.wait(list(places), num_returns=1)
                for reference in done:
                    places[reference].take(reference)
                self._let_go()
        finally:
            for station in self.stations:
                station.close()
        if self.failure is not None:
            raise self.failure

    def _let_go(self) -> None:
        """Give back what holds a GPU as soon as no chunk can come to it any more."""
        for station, waiting in zip(self.stations, self.waiting, strict=True):
            if station.busy() or waiting:
                return  # what is behind it may still get chunks
            station.close()

    def take_in(self, place: int, reference: Any) -> RayError | None:
        """Report what a finished call has given; the error when its worker was lost instead."""
        try:
            outcome = ray.get(reference)
        except RayTaskError as error:  # an exception of the work that is not one of ours
            outcome = error.cause if isinstance(error.cause, Exception) else error
        except RayError as error:
            return error
        if isinstance(outcome, Exception):
            self.failure = self.failure or outcome
        elif outcome is not None:
            try:
                self.on_chunk(place, outcome)
            except Exception as error:  # noqa: BLE001  # the caller ends the line, once running chunks have ended
                self.failure = self.failure or error
                return None
            if place + 1 < len(self.waiting):
                self.waiting[place + 1].append(self.whole[outcome.index])
        return None

    def lost(self, place: int, chunk: Chunk | None, error: RayError) -> None:
        """Count the loss against the image that was worked on; else against the chunk (None: it was starting)."""
        work = self.works[place]
        image = work.working_on(chunk) if chunk and isinstance(work, NamesImage) else None
        blamed = (place, chunk.index if chunk else -1, image)
        self.losses[blamed] += 1
        if self.losses[blamed] >= ATTEMPTS:
            if chunk is None or image is None:
                self.failure = self.failure or _given_up(chunk, error)
                return
            reason = f"{image}: its processing killed the worker {ATTEMPTS} times ({last_line(error)})"
            chunk = replace(chunk, skip=(*chunk.skip, (image, reason)))
        if chunk:
            self.waiting[place].append(chunk)  # behind the others, so that they are done if it kills again


class _Crowd:
    """The tasks of all works without a GPU: one limit for all."""

    def __init__(self, stored: list[Any], size: int) -> None:
        self.stored, self.size, self.running = stored, size, 0
        # an explicit strategy also leaves a trial's placement group
        self.call: Any = ray.remote(max_retries=0, num_cpus=1, scheduling_strategy="SPREAD")(_call)


class _Tasks:
    """Each chunk is a task; Ray hands tasks to the processes that are warm."""

    def __init__(self, line: _Line, place: int, crowd: _Crowd) -> None:
        self.line, self.place, self.crowd = line, place, crowd
        self.running: dict[Any, Chunk] = {}

    def busy(self) -> bool:
        return bool(self.running)

    def send(self) -> None:
        waiting = self.line.waiting[self.place]
        while waiting and self.crowd.running < self.crowd.size:
            chunk = waiting.popleft()
            self.running[self.crowd.call.remote(self.crowd.stored, self.place, chunk)] = chunk
            self.crowd.running += 1

    def references(self) -> Iterator[Any]:
        yield from self.running

    def take(self, reference: Any) -> None:
        chunk = self.running.pop(reference)
        self.crowd.running -= 1
        error = self.line.take_in(self.place, reference)
        if error is not None:
            self.line.lost(self.place, chunk, error)

    def close(self) -> None:
        """Processes belong to Ray."""


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
    """One actor and what was sent to it, oldest first."""

    actor: Any
    starting: Any
    """Reference of `ready`; None once it is up. Chunks go only to actors that are up: one that the cluster
    cannot place yet would hold them back."""
    sent: deque[tuple[Any, Chunk]] = field(default_factory=deque)


class _Actors:
    """Each actor stays for all of the work and has up to `IN_FLIGHT` chunks."""

    def __init__(self, line: _Line, place: int, stored: Any, size: int, gpus: float) -> None:
        self.line, self.place, self.stored = line, place, stored
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
        self.remote: Any = ray.remote(max_restarts=0, **options)(_Worker)
        self.slots = [self._start() for _ in range(size)]

    def _start(self) -> _Slot:
        started = self.remote.remote(self.stored)
        return _Slot(started, started.ready.remote())

    def busy(self) -> bool:
        return any(slot.sent for slot in self.slots)

    def send(self) -> None:
        """Hand out waiting chunks; first one to each actor, then the second ones."""
        waiting = self.line.waiting[self.place]
        for depth in range(IN_FLIGHT):
            for slot in self.slots:
                if waiting and slot.starting is None and len(slot.sent) <= depth:
                    chunk = waiting.popleft()
                    slot.sent.append((slot.actor.run.remote(chunk), chunk))

    def references(self) -> Iterator[Any]:
        for slot in self.slots:
            if slot.starting is not None:
                yield slot.starting
            if slot.sent:
                yield slot.sent[0][0]

    def take(self, reference: Any) -> None:
        slot = next(s for s in self.slots if reference is s.starting or (s.sent and reference is s.sent[0][0]))
        error = self.line.take_in(self.place, reference)
        if error is not None:
            self._replace(slot, error)
        elif reference is slot.starting:
            slot.starting = None
        else:
            slot.sent.popleft()

    def _replace(self, slot: _Slot, error: RayError) -> None:
        """A dead actor's place. The chunk it worked on is to blame; the one that waited behind it is not."""
        ray.kill(slot.actor)
        running = slot.sent.popleft()[1] if slot.sent else None
        self.line.waiting[self.place].extendleft(chunk for _, chunk in reversed(slot.sent))
        self.line.lost(self.place, running, error)
        self.slots[self.slots.index(slot)] = self._start()

    def close(self) -> None:
        for slot in self.slots:
            ray.kill(slot.actor)
        self.slots.clear()


def _given_up(chunk: Chunk | None, error: RayError) -> RunError:
    reason = last_line(error)
    if chunk is None:
        return RunError(f"workers died {ATTEMPTS} times while starting: {reason}")
    return RunError(
        f"the worker of chunk {chunk.index} died {ATTEMPTS} times ({reason}); "
        f"one of its images may be the cause: {', '.join(chunk.ids)}"
    )
