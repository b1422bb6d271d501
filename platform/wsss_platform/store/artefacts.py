"""Artefacts by content key: atomic commit, manifest last, one writer at a time.

    storage/stages/<kind>/<key>/           finished: has manifest.json
    storage/stages/<kind>/<key>.partial/   being made; its finished chunks survive a crash and are reused
    storage/stages/<kind>/<key>.lock
    storage/stages/<kind>/<key>.dropped    its manifest, when it was deleted on purpose: what it was made from, and why
    storage/stages/<kind>/<key>.trash-<x>  being deleted; a crash leaves it, and nothing takes it for an artefact
    storage/runs/<name>/                   records of runs (tracking)
    storage/studies/<name>/                Optuna storage, trials, tables (engine.tuner)

Nothing here knows what a stage computes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wsss_platform.errors import InputError, RunError

MANIFEST = "manifest.json"
KEY = re.compile(r"[0-9a-f]{64}")
"""A content key."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,100}")


def check_name(name: str, what: str = "run name") -> str:
    """The name, if it may be a folder; InputError otherwise."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"{what} {name!r}: expected letters, digits, '_', '-', '.', '+', at most 101, no path", field=name
        )
    return name


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that readers see the old or the new content, never half of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock file, or may: one that cannot be tried (of another user) counts as held."""
    probe = FileLock(lock)
    try:
        probe.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    probe.release()
    return False


@dataclass(frozen=True)
class Artefact:
    """A finished stage output."""

    key: str
    folder: Path
    manifest: Mapping[str, Any]


def images_of(manifest: Mapping[str, Any]) -> int | None:
    """How many images a stage worked on; None for a training. Manifests of earlier versions have another name."""
    counted: int | None = manifest.get("images", manifest.get("pictures"))
    return counted


class Store:
    """Stage outputs under one storage folder (a local or shared file system)."""

    def __init__(self, root: Path, max_failures: int = 0) -> None:
        """
        Args:
            root: the storage folder.
            max_failures: how many images an artefact may lack and still count as finished.
        """
        self.root = root.expanduser().resolve()
        self.max_failures = max_failures

    def folder(self, kind: str, key: str) -> Path:
        """Where the finished artefact lies or will lie."""
        if not KEY.fullmatch(key):
            raise ValueError(f"not a content key: {key!r}")
        return self.root / "stages" / check_name(kind, "stage kind") / key

    def partial(self, kind: str, key: str) -> Path:
        """Where an unfinished artefact grows."""
        return self.folder(kind, key).with_name(f"{key}.partial")

    def finished(self, kind: str, key: str) -> bool:
        """Whether the artefact is finished, for those that only read it: what it lacks was allowed when it was made."""
        return (self.folder(kind, key) / MANIFEST).is_file()

    def has(self, kind: str, key: str) -> bool:
        """Whether the artefact is finished, lacking no more images than this store allows."""
        if not self.finished(kind, key):
            return False
        return int(self.open(kind, key).manifest.get("failures", 0)) <= self.max_failures

    def open(self, kind: str, key: str) -> Artefact:
        """A finished artefact; RunError when it is not there or its manifest is damaged."""
        folder = self.folder(kind, key)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            gone = self.dropped(kind, key)
            why = f" any more ({gone['dropped']}); `wsss-platform masks RUN` makes it again" if gone else ""
            raise RunError(f"{folder}: not in the store{why}") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{folder / MANIFEST}: damaged manifest ({error}); delete the folder and rerun") from None
        return Artefact(key, folder, manifest)

    @contextmanager
    def building(self, kind: str, key: str) -> Iterator[Path | None]:
        """Hold the right to make one artefact; yields its partial folder, or None when it is finished already.

        A second process waits here until the first has committed or died. Leaving without `commit`
        keeps the partial folder for the next attempt. A finished artefact that lacks more images than allowed
        is taken up again.
        """
        final = self.folder(kind, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(final.with_name(f"{key}.lock"))
        while True:
            try:
                lock.acquire(timeout=60)
                break
            except Timeout:
                continue
        try:
            if self.has(kind, key):
                yield None
                return
            partial = self.partial(kind, key)
            if (final / MANIFEST).is_file() and not partial.exists():
                final.rename(partial)
            partial.mkdir(parents=True, exist_ok=True)
            yield partial
        finally:
            partial = self.partial(kind, key)
            if (partial / MANIFEST).is_file() and not final.exists():  # still what it was: finished for who allows it
                partial.rename(final)
            lock.release()

    def commit(self, kind: str, key: str, manifest: Mapping[str, Any]) -> Artefact:
        """Turn the partial folder into the finished artefact. The manifest is written last; call inside `building`."""
        partial, final = self.partial(kind, key), self.folder(kind, key)
        if final.exists():  # a folder without a manifest is what a crash between rename and manifest leaves
            shutil.rmtree(final)
        for cut_off in partial.rglob(".*.tmp"):  # of writers that were killed
            cut_off.unlink(missing_ok=True)
        write_atomic(partial / MANIFEST, json.dumps({"key": key, "kind": kind, **manifest}, indent=1))
        partial.rename(final)
        return self.open(kind, key)

    def held(self, kind: str, key: str) -> bool:
        """Whether a living process holds the right to make this artefact."""
        path = self.folder(kind, key).with_name(f"{key}.lock")
        return path.exists() and is_held(path)

    def dropped(self, kind: str, key: str) -> dict[str, Any] | None:
        """The manifest of an artefact that was deleted on purpose, with the reason under "dropped"; else None."""
        try:
            text = self.folder(kind, key).with_name(f"{key}.dropped").read_text(encoding="utf-8")
            manifest: dict[str, Any] = json.loads(text)
        except (FileNotFoundError, json.JSONDecodeError):  # it only explains; what it explains is gone either way
            return None
        return manifest

    def remove(
        self,
        kind: str,
        key: str,
        reason: str = "",
        *,
        partial: bool = False,
        still: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Delete an artefact, or what an unfinished one left behind: renamed first, so that a crash leaves no half.

        Args:
            kind: of the stage.
            key: its content key.
            reason: when given, the manifest is kept with it, for those that name the artefact as their input.
            partial: the unfinished one.
            still: asked at the last moment, when nobody else can take it up, whether it may go.

        Returns:
            False when there is nothing, a living process is making it, or it may not go any more.
        """
        final = self.folder(kind, key)
        path = self.partial(kind, key) if partial else final
        if not path.is_dir():
            return False
        lock = FileLock(final.with_name(f"{key}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if not path.is_dir() or not still():  # another process was quicker
                return False
            if reason and not partial:
                note = {**self.open(kind, key).manifest, "dropped": reason}
                write_atomic(final.with_name(f"{key}.dropped"), json.dumps(note, indent=1))
            trash = final.with_name(f"{key}.trash-{uuid.uuid4().hex[:8]}")
            path.rename(trash)
        finally:
            lock.release()
        shutil.rmtree(trash, ignore_errors=True)  # what resists stays under its trash name, and goes the next time
        return True

    def run_folder(self, name: str) -> Path:
        """Folder of a run's records (not created)."""
        return self.root / "runs" / check_name(name)

    def study_folder(self, name: str) -> Path:
        """Folder of a study (not created)."""
        return self.root / "studies" / check_name(name, "study name")
