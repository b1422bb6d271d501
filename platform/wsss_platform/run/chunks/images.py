"""What the chunk work of all stages has in common. No Ray here.

Each class (`maps`, `masks`, `score`, `saliency`) is picklable, builds its network or readers on the first chunk and
keeps them, writes one output per chunk under a temporary name, and returns at once when that output exists. The same
object runs in one process or in many actors and leaves the same bytes.

In a stage's folder, beside its output, per chunk: `failures-NNNNNN.json` when images of it failed ([[id, reason], ...];
such a chunk is made again by the next run), and `at-NNNNNN` while it is worked on (the id of the image; what is left
when the process dies).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2

from wsss_platform.errors import InputError, RunError
from wsss_platform.method import Phase
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.store.artefacts import write_atomic

if TYPE_CHECKING:
    from wsss_platform.maps.storage import AnyMap

CHUNK = 32
"""Images per chunk: small enough to share out, large enough that a chunk file compresses well."""

_OF_AN_IMAGE = (MemoryError, cv2.error)
"""What a huge or strange image raises in the libraries; other exceptions are faults of the program."""

Result = TypeVar("Result")


def chunks_of(ids: Iterable[str]) -> list[Chunk]:
    """Ids cut into chunks, independent of how many workers there are."""
    listed = list(ids)
    return [Chunk(start // CHUNK, tuple(listed[start : start + CHUNK])) for start in range(0, len(listed), CHUNK)]


def failures_file(folder: Path, index: int) -> Path:
    """Where a stage's folder keeps the failures of chunk number `index`."""
    return folder / f"failures-{index:06d}.json"


def read_failures(folder: Path, index: int) -> list[tuple[str, str]]:
    """(image id, reason) of a chunk's failures; empty when there were none."""
    try:
        return [(name, reason) for name, reason in json.loads(failures_file(folder, index).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


class StoredMaps(dict[str, "AnyMap"]):
    """A chunk's maps by image id."""

    def __missing__(self, image: str) -> AnyMap:
        raise InputError(f"{image}: there is no map of it", field=image)


@dataclass(frozen=True)
class ImageWork(ABC):
    """What the works have in common: a chunk is its images one by one, and a bad image spoils no other."""

    experiment: Experiment
    phase: Phase
    list_name: str
    folder: Path
    """Of the stage that is being made."""

    @abstractmethod
    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write one chunk."""

    def working_on(self, chunk: Chunk) -> str | None:
        """See `stages.NamesImage`."""
        try:
            return self._marker(chunk).read_text(encoding="utf-8") or None
        except FileNotFoundError:
            return None

    def _marker(self, chunk: Chunk) -> Path:
        return self.folder / f"at-{chunk.index:06d}"

    def _done(self, chunk: Chunk, output: Path) -> bool:
        """Whether the chunk was made, with every image."""
        self._marker(chunk).unlink(missing_ok=True)  # of a process that was killed
        return output.exists() and not failures_file(self.folder, chunk.index).exists()

    def _each(
        self, chunk: Chunk, make: Callable[[str], Result], upstream: Iterable[Path] = ()
    ) -> tuple[list[Result], list[tuple[str, str]]]:
        """Results of the images that worked, and (id, reason) of those whose input is bad or missing.

        Args:
            chunk: its `skip` counts as failed.
            make: of one image.
            upstream: folders of stages whose failed images fail here for the same reason.
        """
        known = {name: reason for folder in upstream for name, reason in read_failures(folder, chunk.index)}
        known |= dict(chunk.skip)
        results, failures, marker = [], [], self._marker(chunk)
        for image in chunk.ids:
            marker.write_text(image, encoding="utf-8")
            try:
                if image in known:
                    raise InputError(known[image], field=image)
                results.append(make(image))
            except (InputError, RunError) as error:
                failures.append((image, str(error)))
            except Exception as error:
                reason = f"image {image}: {type(error).__name__}: {error}"
                if not isinstance(error, _OF_AN_IMAGE) and type(error).__name__ != "OutOfMemoryError":  # torch's
                    raise RunError(reason) from error
                failures.append((image, reason))
        marker.unlink(missing_ok=True)  # the process of a killed driver may still be at the same chunk
        if failures:  # before the output: a chunk with output and without this file is complete
            write_atomic(failures_file(self.folder, chunk.index), json.dumps(failures, indent=1))
        return results, failures

    def _report(self, chunk: Chunk, made: int, failures: list[tuple[str, str]]) -> ChunkReport:
        """To be called when the output is written."""
        if not failures:
            failures_file(self.folder, chunk.index).unlink(missing_ok=True)
        return ChunkReport(chunk.index, made, tuple(failures))
