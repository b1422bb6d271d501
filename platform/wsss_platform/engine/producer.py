"""Chunks of pictures over worker processes: bounded in flight, dead workers replaced, poison chunks named.

Work on CPUs runs as Ray tasks: their processes stay warm between stages and trials, so a short stage does not
pay for importing torch again. Work on GPUs runs in actors, which keep their GPU and the network on it for the
whole stage; a task's process could neither keep another task off its GPU nor be moved to another one.
"""

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
"""Chunks per actor: one it works on, one that waits so that it never does."""


@dataclass
class _Held:
    """The work that this process has unpickled; its network and readers stay for the next chunk."""

    token: bytes = b""
    work: ChunkWork | None = None


_HELD = _Held()


def _call(stored: list[Any], chunk: Chunk) -> ChunkReport | InputError | RunError:
    """One chunk in a task; `stored` holds the reference of the work, in a list so that Ray does not fetch it."""
    token = stored[0].binary()
    if token != _HELD.token:
        _HELD.work = None  # the old network goes before the new one comes
        _HELD.token, _HELD.work = token, ray.get(stored[0])
    assert _HELD.work is not None
    try:
        return _HELD.work(chunk)
    except (InputError, RunError) as error:
        return error


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

    The workers stand outside a Tune trial's placement group, so a trial counts their CPUs on top of its own.

    Args:
        work: pickled once; each process unpickles it once.
        chunks: with distinct indices.
        on_chunk: called in this thread.
        actors: at most; fewer run while the cluster is busy.
        cpus: per actor.
        gpus: per actor.

    Raises:
        InputError, RunError: raised by `work` for a chunk, as it was raised, after running chunks have ended.
        RunError: a chunk lost its worker `ATTEMPTS` times; names its pictures.
    """
    if chunks:
        (_Actors if gpus else _Tasks)(work, chunks, on_chunk, actors, cpus, gpus).run()


class _Pool:
    """What tasks and actors have in common: the chunks that wait, and how often one has lost its worker."""

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
        self.stored = ray.put(work)
        self.size = max(1, min(actors, len(chunks)))
        self.options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "scheduling_strategy": "SPREAD",  # an explicit strategy also leaves a trial's placement group
        }

    def take_in(self, reference: Any) -> RayError | None:
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
            self.on_chunk(outcome)
        return None

    def lost(self, chunk: Chunk | None, error: RayError) -> None:
        """Count the loss against the chunk that was worked on (None: the worker was still starting)."""
        index = chunk.index if chunk else -1
        self.losses[index] = self.losses.get(index, 0) + 1
        if self.losses[index] >= ATTEMPTS:
            self.failure = self.failure or _given_up(chunk, error)
        elif chunk:
            self.waiting.append(chunk)  # behind the others, so that they are done if it kills again


class _Tasks(_Pool):
    """Each chunk is a task; Ray hands tasks to the processes that are warm."""

    def run(self) -> None:
        call: Any = ray.remote(max_retries=0, **self.options)(_call)
        running: dict[Any, Chunk] = {}
        while running or (self.waiting and self.failure is None):
            while self.waiting and self.failure is None and len(running) < self.size:
                chunk = self.waiting.popleft()
                running[call.remote([self.stored], chunk)] = chunk
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                chunk = running.pop(reference)
                error = self.take_in(reference)
                if error is not None:
                    self.lost(chunk, error)
        if self.failure is not None:
            raise self.failure


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


class _Actors(_Pool):
    """Each actor stays for all of the work and has up to `IN_FLIGHT` chunks."""

    def run(self) -> None:
        actor: Any = ray.remote(max_restarts=0, **self.options)(_Worker)
        self.slots = [self._start(actor) for _ in range(self.size)]
        try:
            while any(slot.sent for slot in self.slots) or (self.waiting and self.failure is None):
                self._send()
                self._collect(actor)
        finally:
            for slot in self.slots:
                ray.kill(slot.actor)
        if self.failure is not None:
            raise self.failure

    def _start(self, actor: Any) -> _Slot:
        started = actor.remote(self.stored)
        return _Slot(started, started.ready.remote())

    def _send(self) -> None:
        """Hand out waiting chunks; first one to each actor, then the second ones."""
        for depth in range(IN_FLIGHT):
            for slot in self.slots:
                if self.failure is None and self.waiting and slot.starting is None and len(slot.sent) <= depth:
                    chunk = self.waiting.popleft()
                    slot.sent.append((slot.actor.run.remote(chunk), chunk))

    def _collect(self, actor: Any) -> None:
        """Wait for something to happen and take in all of it."""
        places = {slot.starting: slot for slot in self.slots if slot.starting is not None}
        places |= {slot.sent[0][0]: slot for slot in self.slots if slot.sent}
        done, _ = ray.wait(list(places), num_returns=1)
        for reference in done:
            slot = places[reference]
            error = self.take_in(reference)
            if error is not None:
                self._replace(slot, error, actor)
            elif reference is slot.starting:
                slot.starting = None
            else:
                slot.sent.popleft()

    def _replace(self, slot: _Slot, error: RayError, actor: Any) -> None:
        """A dead actor's place. The chunk it worked on is to blame; the one that waited behind it is not."""
        ray.kill(slot.actor)
        running = slot.sent.popleft()[1] if slot.sent else None
        self.waiting.extendleft(chunk for _, chunk in reversed(slot.sent))
        self.lost(running, error)
        self.slots[self.slots.index(slot)] = self._start(actor)


def _given_up(chunk: Chunk | None, error: RayError) -> RunError:
    reason = last_line(error)
    if chunk is None:
        return RunError(f"workers died {ATTEMPTS} times while starting: {reason}")
    return RunError(
        f"the worker of chunk {chunk.index} died {ATTEMPTS} times ({reason}); "
        f"one of its pictures may be the cause: {', '.join(chunk.ids)}"
    )
