"""Deletions are looked at once more, under the lock of what goes: the store is not what it was when it was judged."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stored_runs import DAY, chain, key, kinds, leave_partial, made, record, trial
from wsss_platform.run.records import write_record
from wsss_platform.store.artefacts import MANIFEST, Store
from wsss_platform.upkeep.retention import Verdict, carry_out, drop_losers, judge


def _nobodys(store: Store) -> list[Verdict]:
    """The verdicts on a run's stages that no record tells of, a week later: all four may go."""
    chain(store, "x")
    verdicts = judge(store, now=time.time() + 8 * DAY)
    assert [verdict.goes for verdict in verdicts] == [True] * 4
    return verdicts


def test_what_got_a_record_since_it_was_judged_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    verdicts = _nobodys(store)
    mine = {"train:cam": key("tx"), "maps:cam": key("mx")}
    write_record(store, record("new", None, stages=mine, status="running", finished=None))
    done, kept = carry_out(store, verdicts)
    assert {verdict.entry.kind for verdict in kept} == {"train", "maps"}
    assert {verdict.entry.kind for verdict in done} == {"masks", "score"}


def test_a_record_that_comes_in_the_middle_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written after the first deletion: what is left is looked at anew."""
    store = Store(tmp_path)
    verdicts = _nobodys(store)
    remove = Store.remove

    def late(self: Store, kind: str, one: str, *arguments: Any, **more: Any) -> bool:
        gone = remove(self, kind, one, *arguments, **more)
        stages = {f"{kind}:cam": key(f"{letter}x") for kind, letter in zip(kinds_in_order, "mkst", strict=True)}
        write_record(self, record("new", None, stages=stages, status="running", finished=None))
        return gone

    kinds_in_order = [verdict.entry.kind for verdict in verdicts]
    assert kinds_in_order == ["maps", "masks", "score", "train"]
    monkeypatch.setattr(Store, "remove", late)
    done, kept = carry_out(store, verdicts)
    assert [verdict.entry.kind for verdict in done] == ["maps"]
    assert [verdict.entry.kind for verdict in kept] == ["masks", "score", "train"]


def test_what_was_made_again_since_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    verdicts = _nobodys(store)
    store.remove("maps", key("mx"))
    made(store, "maps", "mx", weights="tx")
    os.utime(store.folder("maps", key("mx")) / MANIFEST, (time.time() + 60, time.time() + 60))
    _, kept = carry_out(store, verdicts)
    assert [verdict.entry.kind for verdict in kept] == ["maps"]


def test_a_study_that_began_since_protects_what_it_may_have_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    verdicts = _nobodys(store)
    store.study_folder("s").mkdir(parents=True)
    with FileLock(store.study_folder("s") / "driver.lock"):
        assert carry_out(store, verdicts)[0] == []
    assert len(carry_out(store, verdicts)[0]) == 4


def test_unfinished_work_that_went_on_since_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = leave_partial(store)
    verdicts = judge(store, now=time.time() + 8 * DAY)
    os.utime(partial / "state.pt", (time.time() + 60, time.time() + 60))
    assert carry_out(store, verdicts)[0] == []
    assert partial.is_dir()


def test_losers_maps_that_a_run_took_up_meanwhile_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    lost = trial(store, 0, 0.1)
    trial(store, 1, 0.9)
    remove = Store.remove

    def late(self: Store, kind: str, one: str, *arguments: Any, **more: Any) -> bool:
        write_record(self, record("mine", None, stages=lost, status="running", finished=None))
        return remove(self, kind, one, *arguments, **more)

    monkeypatch.setattr(Store, "remove", late)
    assert drop_losers(store, "s", 1) == []
    assert kinds(store, lost) == {"train", "maps", "masks", "score"}
