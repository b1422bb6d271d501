"""What may leave the store, and why: trials that lost keep their weights and score, not their maps and masks.

Nothing that a recorded run needs goes. What goes can be made again from what stays: a stage that is missing
is simply needed again (`experiment.needed`).
"""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from wsss_platform.run.records import RunRecord
from wsss_platform.store.artefacts import Store
from wsss_platform.upkeep.inventory import Entry, References, driven, entries, references, stamp, unchanged

KEEP_BEST = 3
"""Trials of a study that keep their maps and masks."""
DAYS = 7.0
"""Age at which what nobody refers to may go."""
LARGE = ("maps", "masks")
"""The kinds that losing trials do not keep; they are made again from weights (or from what was imported)."""
PIPELINE = ("train", "maps", "masks", "score")


@dataclass(frozen=True)
class Verdict:
    """Whether an entry stays, and the reason."""

    entry: Entry
    goes: bool
    reason: str
    owners: tuple[str, ...] = ()
    """Runs and studies that refer to it."""


def losers(records: Iterable[RunRecord], states: Mapping[str, str], keep_best: int) -> frozenset[str]:
    """Names of the ended trials that are not among the best of their study.

    Args:
        records: of runs and trials, any order.
        states: of the trials in their studies' tables, by name; one that is in none is complete when it has a score.
        keep_best: trials per study that are none; 0: all.
    """
    studies: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records if keep_best else ():
        if record.kind == "trial" and record.study is not None and record.status != "running":
            studies[record.study].append(record)
    lost: set[str] = set()
    for trials in studies.values():
        reached: dict[str, float] = {}  # by trial; the seeds of one are kept or dropped together
        for trial in trials:
            state = states.get(_trial_of(trial.name), states.get(trial.name, "complete" if trial.scores else ""))
            if state == "complete" and trial.objective is not None:
                reached[_trial_of(trial.name)] = trial.objective
        best = sorted(reached, key=lambda name: (-reached[name], name))[:keep_best]
        lost |= {trial.name for trial in trials if _trial_of(trial.name) not in best}
    return frozenset(lost)


def _trial_of(name: str) -> str:
    """The trial's name in that of one of its seeds' records."""
    return re.sub(r"-seed\d+$", "", name)


def judge(store: Store, *, days: float = DAYS, keep_best: int | None = None, now: float | None = None) -> list[Verdict]:
    """Every entry of the store with its verdict.

    Args:
        store: to judge.
        days: age at which unfinished or unreferenced things may go.
        keep_best: per study, trials that keep maps and masks; None: all do.
        now: seconds since 1970; None: the clock's.

    Raises:
        InputError: a record that cannot be read.
    """
    found, known = entries(store), references(store)
    owners = known.owners()
    winners = known.owners(leave_out=losers(known.records, known.states, keep_best or 0))
    before = (time.time() if now is None else now) - days * 86400
    busy = f"study {known.driven[0]} is running" if known.driven else ""

    def verdict(entry: Entry) -> Verdict:
        mine = tuple(owners.get(entry.key, ()))
        if entry.state == "trash":
            held = store.held(entry.kind, entry.key)  # something is deleted, or pulled
            return Verdict(entry, not held, "is at work" if held else "a deletion or a fetch that was cut off")
        if entry.state == "lock":
            return Verdict(entry, False, "a lock of nothing: harmless, and unlinking it could split its waiters")
        if entry.state in ("partial", "damaged") and store.held(entry.kind, entry.key):
            return Verdict(entry, False, "is being made", mine)
        old = entry.changed < before
        if entry.state == "partial":
            why = f"unfinished and untouched for {days:g} days" if old else "unfinished, the next run continues from it"
            return Verdict(entry, old, why, mine)
        if mine and entry.state == "damaged":
            return Verdict(entry, False, "needed, and damaged: see `store verify`", mine)
        if mine:
            lost = entry.kind in LARGE and entry.key not in winners
            return Verdict(entry, lost, "only of trials that lost" if lost else "needed", mine)
        if entry.kind not in PIPELINE and any(key in owners for key in entry.inputs):
            return Verdict(entry, False, "made from what a run needs")
        if busy or not old:
            return Verdict(entry, False, f"no run refers to it, but {busy or f'younger than {days:g} days'}")
        return Verdict(entry, True, "no run or study refers to it")

    return [verdict(entry) for entry in found]


def carry_out(store: Store, verdicts: Iterable[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """Delete what may go. Each is judged once more when nobody else can take it up: what is in use by then, was
    written to, or has got a run or study that refers to it stays.

    Raises:
        InputError: a record that cannot be read by then.

    Returns:
        What was deleted, and what was not.
    """
    done: list[Verdict] = []
    kept: list[Verdict] = []
    current = _Current(store)
    for verdict in verdicts:
        if verdict.goes:
            (done if _remove(store, verdict, current) else kept).append(verdict)
    return done, kept


class _Current:
    """Who refers to what at this moment; read again only when a record or a table has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamp: object = None
        self._known: References
        self._owners: dict[frozenset[str], dict[str, list[str]]] = {}

    def known(self) -> References:
        """See `inventory.references`."""
        now = stamp(self._store)
        if now != self._stamp:
            self._known, self._stamp, self._owners = references(self._store), now, {}
        return self._known

    def owners(self, leave_out: frozenset[str] = frozenset()) -> dict[str, list[str]]:
        """See `References.owners`."""
        known = self.known()
        if leave_out not in self._owners:
            self._owners[leave_out] = known.owners(leave_out)
        return self._owners[leave_out]

    def still_goes(self, verdict: Verdict) -> bool:
        """Whether a verdict holds: nobody touched the entry since, and nobody refers to it who did not then."""
        entry = verdict.entry
        if not unchanged(entry):
            return False
        if entry.state == "partial":
            return True
        owners = self.owners()
        if not set(owners.get(entry.key, ())) <= set(verdict.owners):
            return False
        if verdict.owners:
            return True
        return not driven(self._store) and (entry.kind in PIPELINE or not any(key in owners for key in entry.inputs))


def drop_losers(
    store: Store,
    study: str,
    keep_best: int,
    shared: Collection[str] = (),
    gone: set[tuple[str, str, str]] | None = None,
) -> list[str]:
    """Delete maps and masks that only losing trials of a study refer to, and the checkpoints of those that were
    stopped early; to be called when a trial has ended.

    Args:
        store: of the study.
        study: its name.
        keep_best: trials that keep theirs; 0: all.
        shared: content keys that later trials will need.
        gone: trial, kind and key of what earlier calls found dropped, which is not sought again; this call adds its
            own. (A later trial that makes the same again is another one.)

    Raises:
        InputError: a record that cannot be read: nothing is deleted then.
    """
    gone = set() if gone is None else gone
    if not keep_best:
        return []
    current = _Current(store)
    known = current.known()
    lost = losers((record for record in known.records if record.study == study), known.states, keep_best)
    needed = current.owners(lost)
    dropped = []

    def unneeded(key: str) -> bool:
        return key not in current.owners(lost)

    for record in known.records:
        stopped = known.states.get(_trial_of(record.name)) == "pruned"  # early; it is never gone on with
        for stage, key in record.stages.items() if record.name in lost else ():
            kind = stage.split(":")[0]
            if key in needed or key in shared or (record.name, kind, key) in gone or not (kind in LARGE or stopped):
                continue
            if kind in LARGE and store.has(kind, key):
                reason = f"study {study} keeps the maps and masks of its best {keep_best} trials"
                if store.remove(kind, key, reason, still=functools.partial(unneeded, key)):
                    dropped.append(f"{kind} {key[:12]}")
            elif stopped and store.remove(kind, key, partial=True, still=functools.partial(unneeded, key)):
                dropped.append(f"unfinished {kind} {key[:12]}")
            if not store.finished(kind, key) and not store.partial(kind, key).exists():
                gone.add((record.name, kind, key))
    return dropped


def _remove(store: Store, verdict: Verdict, current: _Current) -> bool:
    entry = verdict.entry
    if entry.state == "trash":
        if store.held(entry.kind, entry.key):
            return False
        shutil.rmtree(entry.path, ignore_errors=True)  # whose it is may be at it, too
        return True
    reason = verdict.reason if verdict.owners and entry.state == "finished" else ""
    unfinished = entry.state == "partial"
    return store.remove(entry.kind, entry.key, reason, partial=unfinished, still=lambda: current.still_goes(verdict))
