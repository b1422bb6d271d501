"""How often a storage folder has evaluated on the ground truth of each split, over all its studies and scores.

Nothing is written for it: it is read from what is there. One evaluation is

    a score      one run's masks and its whole sweep, however often it is read again; with saliency one more
    a rung       a trial of a study was scored on a few images to decide whether it continues
    a setting    a setting of a search on stored maps, of a run (`search RUN`) or within a trial (on each of its seeds)

A score that left the store counts as long as a record or a study's table names it. Drawing images (`show`) and fitting
a rule to stored counts (`score --rule`) evaluate nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_platform.config.words import counted
from wsss_platform.errors import InputError
from wsss_platform.run.records import read_records
from wsss_platform.run.trial_rows import read_rows
from wsss_platform.search.masks.table import searched
from wsss_platform.store.artefacts import MANIFEST, Store


@dataclass(frozen=True)
class Evaluations:
    """On the ground truth of one split."""

    split: str
    ground_truth: str
    """First 12 hex digits of its hash, as in the protocol."""
    scores: int = 0
    rungs: int = 0
    settings: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.scores + self.rungs + self.settings

    @property
    def words(self) -> str:
        """For a person."""
        parts = [(self.scores, "score"), (self.rungs, "rung"), (self.settings, "setting")]
        said = ", ".join(counted(count, name) for count, name in parts if count)
        times = "once" if self.total == 1 else f"{self.total} times"
        return f"{self.split}: evaluated on ground truth {times} in this storage" + (f" ({said})" if said else "")


def evaluations(store: Store) -> tuple[Evaluations, ...]:
    """Evaluations by split and ground truth, without damaged files, which `store verify` and `leaderboard` name."""
    scores: dict[str, tuple[str, str]] = {}  # key -> (split, ground truth)
    rungs: dict[tuple[str, str], int] = defaultdict(int)
    settings: dict[tuple[str, str], int] = defaultdict(int)
    for key, where in (*_made(store), *_recorded(store)):
        scores.setdefault(key, where)
    for folder in sorted(path for path in (store.root / "studies").glob("*") if path.is_dir()):
        study = _json(folder / "study.json", "data", "truth")
        if study is not None:
            where = (study["data"]["score_list"], study["truth"][:12])
            with suppress(InputError):  # a damaged line: what stands before it counts
                for row in read_rows(folder):
                    rungs[where] += len(row.rungs)
                    for key in row.scores:
                        scores.setdefault(key, where)
        with suppress(InputError):  # a damaged table of settings: its study names it
            for one in searched(folder):
                settings[one["list"], one["truth"]] += len(one["settings"])
    found: dict[tuple[str, str], int] = defaultdict(int)
    for where in scores.values():
        found[where] += 1
    places = sorted({*found, *(where for where in (*rungs, *settings) if rungs.get(where) or settings.get(where))})
    return tuple(
        Evaluations(*where, found.get(where, 0), rungs.get(where, 0), settings.get(where, 0)) for where in places
    )


def evaluations_of(found: tuple[Evaluations, ...], split: str, ground_truth: str) -> Evaluations:
    """Those on one split's ground truth; zero of all kinds where nothing was evaluated."""
    where = (split, ground_truth)
    return next((one for one in found if (one.split, one.ground_truth) == where), Evaluations(*where))


def _made(store: Store) -> Iterator[tuple[str, tuple[str, str]]]:
    """(key, (split, ground truth)) of the scores that are in the store, or were dropped on purpose."""
    for kind in ("score", "saliency-sweep"):
        for pattern in (f"*/{MANIFEST}", "*.dropped"):
            for path in (store.root / "stages" / kind).glob(pattern):
                manifest = _json(path, "key", "list", "truth")
                if manifest is not None:
                    yield manifest["key"], (manifest["list"], manifest["truth"])


def _recorded(store: Store) -> Iterator[tuple[str, tuple[str, str]]]:
    """The same of the scores of recorded runs and trials."""
    for record in read_records(store).records:
        keys = [key for name, key in record.stages.items() if name.split(":")[0] == "score"]
        if record.scores is not None and keys:
            yield keys[-1], (record.protocol.score_list, record.protocol.truth)


def _json(path: Path, *fields: str) -> dict[str, Any] | None:
    """A JSON object on disk; None when it is not there, damaged, or without one of these fields."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= set(fields) else None
