"""What lies in a store, and which runs and studies refer to it. Reads only."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from wsss_platform.errors import InputError
from wsss_platform.run.records import RECORD, RunRecord, read_records
from wsss_platform.run.trial_rows import read_rows
from wsss_platform.store.artefacts import KEY, MANIFEST, Store, is_held

State = Literal["finished", "damaged", "partial", "trash", "lock"]
"""damaged: a folder without a readable manifest; trash: a deletion that was cut off; lock: a lock of nothing."""


@dataclass(frozen=True)
class Entry:
    """One thing in storage/stages."""

    path: Path
    kind: str
    """Of the stage, such as "maps"."""
    key: str
    """Content key, 64 hex digits."""
    state: State
    size: int
    """Bytes of all its files."""
    changed: float
    """Seconds since 1970 at which it was finished, or at which its newest file was written."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Empty where there is none."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Content keys of what it was made from."""
        return tuple(self.manifest.get("inputs", {}).values())

    @property
    def name(self) -> str:
        """Kind and 12 digits of the key."""
        return f"{self.kind} {self.key[:12]}"


def entries(store: Store) -> list[Entry]:
    """Everything in the store but the locks of what is there and the notes on what was dropped; by kind, oldest
    first."""
    found = []
    for kind in sorted(path for path in (store.root / "stages").glob("[!.]*") if path.is_dir()):
        names = {path.name for path in kind.iterdir()}
        for name in names:
            key, _, ending = name.partition(".")
            if not KEY.fullmatch(key):
                continue
            if not ending:
                found.append(_finished(kind / name, kind.name))
            elif ending == "partial" or ending.startswith("trash-"):
                size, changed = _size(kind / name)
                state: State = "partial" if ending == "partial" else "trash"
                found.append(Entry(kind / name, kind.name, key, state, size, changed))
            elif ending == "lock" and not {key, f"{key}.partial", f"{key}.dropped"} & names:
                found.append(Entry(kind / name, kind.name, key, "lock", 0, (kind / name).stat().st_mtime))
    return sorted(found, key=lambda entry: (entry.kind, entry.changed, entry.key))


def _finished(folder: Path, kind: str) -> Entry:
    size, changed = _size(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != folder.name or manifest["kind"] != kind:
            raise KeyError
        changed = (folder / MANIFEST).stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return Entry(folder, kind, folder.name, "damaged", size, changed)
    return Entry(folder, kind, folder.name, "finished", size, changed, manifest)


def _size(folder: Path) -> tuple[int, float]:
    """Bytes in a folder, and when its newest file was written."""
    size, changed = 0, 0.0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a process that works there renames its files
                stat = os.lstat(os.path.join(place, name))  # noqa: PTH118 (a Path per mask takes longer than the rest)
                size, changed = size + stat.st_size, max(changed, stat.st_mtime)
    if not changed:
        with suppress(FileNotFoundError):  # it was committed or deleted meanwhile
            changed = folder.stat().st_mtime
    return size, changed


@dataclass(frozen=True)
class References:
    """Who refers to which artefact."""

    store: Store
    records: tuple[RunRecord, ...]
    trials: Mapping[str, tuple[str, ...]]
    """Study -> score keys in its table, of trials that have no record of their own."""
    driven: tuple[str, ...]
    """Studies with a living driver."""
    states: Mapping[str, str]
    """Name of a trial's run -> its state in the study's table, such as "complete" or "pruned"."""

    def owners(self, leave_out: frozenset[str] = frozenset()) -> dict[str, list[str]]:
        """Content key -> the runs and studies whose result it belongs to, or was made from.

        Args:
            leave_out: names of runs that do not count.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            for key in record.stages.values() if record.name not in leave_out else ():  # all that it needs
                found[key].append(f"run {record.name}")
        for study, keys in self.trials.items():
            for key in self._upstream(keys):
                found[key].append(f"study {study}")
        return dict(found)

    def _upstream(self, keys: Iterable[str]) -> set[str]:
        """Keys and all that they were made from."""
        todo, seen = list(keys), set()
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                todo += self._inputs.get(key, ())
        return seen

    @cached_property
    def _inputs(self) -> dict[str, tuple[str, ...]]:
        """Content key -> its inputs, also of what was dropped: only that way leads from a score to its weights."""
        found: dict[str, tuple[str, ...]] = {}
        for pattern in ("*/*.dropped", f"*/*/{MANIFEST}"):
            for path in (self.store.root / "stages").glob(pattern):
                try:
                    manifest = json.loads(path.read_text(encoding="utf-8"))
                    found[str(manifest["key"])] = tuple(manifest.get("inputs", {}).values())
                except (OSError, ValueError, KeyError, AttributeError):  # `entries` calls it damaged
                    continue
        return found


def references(store: Store) -> References:
    """What the records of runs and the tables of studies refer to.

    Raises:
        InputError: a record or a table that cannot be read: nobody knows then what it needs.
    """
    found = read_records(store)
    if found.damaged:
        raise InputError("; ".join(reason for _, reason in found.damaged) + "; mend it or delete the run's folder")
    folders = _studies(store)
    recorded = {record.stages.get(name) for record in found.records for name in record.stages if "score" in name}
    tables = {folder.name: list(read_rows(folder)) for folder in folders}
    trials = {
        study: tuple(row.key for row in rows if row.key is not None and row.key not in recorded)
        for study, rows in tables.items()
    }
    states = {f"{study}-{row.number:04d}": row.state for study, rows in tables.items() for row in rows}
    return References(store, found.records, trials, driven(store), states)


def driven(store: Store) -> tuple[str, ...]:
    """Names of the studies that a living process drives."""
    locks = [folder / "driver.lock" for folder in _studies(store)]
    return tuple(lock.parent.name for lock in locks if lock.exists() and is_held(lock))


def stamp(store: Store) -> frozenset[tuple[str, int, int]]:
    """Of all files that `references` reads; another one when any of them has changed, come or gone."""
    found = set()
    for folder, name in (("runs", RECORD), ("studies", "trials.jsonl")):
        for path in _named(store.root / folder, name):
            with suppress(FileNotFoundError, NotADirectoryError):
                stat = os.stat(path)  # noqa: PTH116 (a study asks for all of them after each trial)
                found.add((path, stat.st_mtime_ns, stat.st_ino))  # each writing makes a new file
    return frozenset(found)


def _named(folder: Path, name: str) -> list[str]:
    """The file of that name in each folder of this one, whether it is there or not."""
    with suppress(FileNotFoundError), os.scandir(folder) as inside:
        return [os.path.join(each.path, name) for each in inside]  # noqa: PTH118
    return []


def unchanged(entry: Entry) -> bool:
    """Whether nobody has touched it since it was judged."""
    try:
        if entry.state == "finished":
            return (entry.path / MANIFEST).stat().st_mtime == entry.changed
        return _size(entry.path)[1] == entry.changed
    except FileNotFoundError:
        return False


def _studies(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / "studies").glob("*") if path.is_dir())
