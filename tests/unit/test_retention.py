"""What may leave the store: never what a recorded run needs, and of trials that lost only what can be made again."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from wsss_platform.errors import InputError
from wsss_platform.inventory import entries, references
from wsss_platform.protocol import Protocol
from wsss_platform.retention import Verdict, carry_out, drop_losers, judge, losers
from wsss_platform.store import MANIFEST, Store
from wsss_platform.tracking.records import FixedScore, RunRecord, Scores, write_record

DAY = 86400
WORDS = "data train_list score_list supervision labels_from selection backbone initial_weights scales background crf"
PROTOCOL: dict[str, Any] = dict.fromkeys([*WORDS.split(), "affinity", "segmenter", "truth"], "x") | {
    "train_pictures": 1,
    "score_pictures": 1,
    "label_gate": True,
    "supervision": "labels",
    "selection": "none",
}


def record(name: str, mean: float | None, **changes: Any) -> RunRecord:
    """A finished record, scored when a mean is given."""
    made: dict[str, Any] = {
        "name": name,
        "method": "cam",
        "revision": 1,
        "config": {},
        "data": {},
        "seed": 0,
        "workers": 1,
        "protocol": Protocol.model_validate(PROTOCOL),
        "scores": None if mean is None else Scores(fixed=FixedScore(mean_iou=mean, per_class={})),
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:17+00:00",
        "status": "finished",
    }
    return RunRecord(**{**made, **changes})


def key(name: str) -> str:
    """A content key that begins with a readable name's hex."""
    return (name.encode().hex() + "0" * 64)[:64]


def made(store: Store, kind: str, name: str, **inputs: str) -> str:
    """A finished artefact of that name."""
    with store.building(kind, key(name)) as folder:
        assert folder is not None
        (folder / "data").write_text("x" * 1000)
        said = {"method": "cam", "stage": f"{kind}:cam", "inputs": {role: key(one) for role, one in inputs.items()}}
        store.commit(kind, key(name), said)
    return key(name)


def chain(store: Store, name: str, weights: str | None = None) -> dict[str, str]:
    """The stages of a run, all finished; `weights` are another run's."""
    train = key(f"t{weights}") if weights else made(store, "train", f"t{name}")
    return {
        "train:cam": train,
        "maps:cam": made(store, "maps", f"m{name}", weights=f"t{weights or name}"),
        "masks:cam": made(store, "masks", f"k{name}", maps=f"m{name}"),
        "score:cam": made(store, "score", f"s{name}", maps=f"m{name}", masks=f"k{name}"),
    }


def trial(store: Store, number: int, objective: float | None, study: str = "s", **changes: object) -> dict[str, str]:
    """A trial with stages of its own and a record."""
    stages = chain(store, f"{study}{number}")
    write_trial(store, number, objective, stages, study, **changes)
    return stages


def write_trial(
    store: Store, number: int, objective: float | None, stages: dict[str, str], study: str = "s", **changes: object
) -> None:
    write_record(
        store,
        record(
            f"{study}-{number:04d}", objective, kind="trial", study=study, stages=stages, objective=objective, **changes
        ),
    )


def kinds(store: Store, stages: dict[str, str]) -> set[str]:
    """The kinds that are still there."""
    return {kind for name, one in stages.items() if store.has(kind := name.split(":")[0], one)}


def by_key(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.entry.key: verdict for verdict in verdicts}


def test_the_best_are_by_objective_and_of_equals_the_earliest() -> None:
    def ended(number: int, objective: float | None, **changes: object) -> RunRecord:
        return record(f"s-{number:04d}", objective, kind="trial", study="s", objective=objective, **changes)

    trials = [ended(0, 0.4), ended(1, 0.6), ended(2, 0.6), ended(3, None), ended(4, 0.1)]
    failed = ended(5, None, status="failed", reason="NaN")
    running = ended(6, None, status="running", finished=None)
    everyone = [*trials, failed, running, record("a-run", 0.01)]
    assert losers(everyone, {}, 1) == {"s-0000", "s-0002", "s-0003", "s-0004", "s-0005"}
    assert losers(everyone, {}, 3) == {"s-0003", "s-0004", "s-0005"}
    assert losers(everyone, {}, 0) == frozenset(), "0 keeps all"
    pruned = record("s-0007", None, kind="trial", study="s", objective=0.99)
    assert "s-0007" in losers([*everyone, pruned], {}, 3), "a rung's value is no score"
    states = {"s-0000": "complete", "s-0001": "pruned"}
    assert losers([ended(0, 0.2), ended(1, 0.4)], states, 1) == {"s-0001"}, "the study's table decides"


def test_the_seeds_of_a_trial_are_kept_or_dropped_together() -> None:
    def ended(name: str, objective: float) -> RunRecord:
        return record(name, objective, kind="trial", study="s", objective=objective)

    names = {0: ("s-0000", "s-0000-seed1", "s-0000-seed2"), 1: ("s-0001", "s-0001-seed1"), 2: ("s-0002",)}
    objectives = {0: 0.6, 1: 0.5, 2: 0.4}
    everyone = [ended(name, objectives[number]) for number in names for name in names[number]]
    assert losers(everyone, {}, 2) == {"s-0002"}
    assert losers(everyone, {}, 1) == {*names[1], *names[2]}


def test_what_a_later_trial_makes_again_is_dropped_again(tmp_path: Path) -> None:
    store, gone = Store(tmp_path), set[tuple[str, str, str]]()
    trial(store, 0, 0.5)
    lost = trial(store, 1, 0.1)
    assert len(drop_losers(store, "s", 1, gone=gone)) == 2
    assert drop_losers(store, "s", 1, gone=gone) == []
    for name in ("maps:cam", "masks:cam"):
        kind = name.split(":")[0]
        with store.building(kind, lost[name]) as folder:
            assert folder is not None
            store.commit(kind, lost[name], {"inputs": {}})
    write_trial(store, 2, 0.2, lost)
    assert len(drop_losers(store, "s", 1, gone=gone)) == 2


def test_losing_trials_lose_maps_and_masks_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = [trial(store, number, objective) for number, objective in enumerate([0.5, 0.1, 0.7, 0.3])]
    whole = {"train", "maps", "masks", "score"}
    assert len(drop_losers(store, "s", 2)) == 4
    assert [kinds(store, one) for one in stages] == [whole, {"train", "score"}, whole, {"train", "score"}]
    assert drop_losers(store, "s", 2) == [], "what is gone is gone"
    assert drop_losers(store, "s", 0) == []
    remade = key("ms1")
    with store.building("maps", remade) as folder:
        assert folder is not None, "what was dropped can be made again"


def test_what_another_run_or_a_running_trial_refers_to_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lost, borrowed = trial(store, 1, 0.1), trial(store, 2, 0.2)
    trial(store, 0, 0.9)
    write_record(store, record("mine", 0.2, stages=borrowed))
    write_trial(store, 3, None, {**lost, "masks:cam": key("other")}, status="running", finished=None)
    assert drop_losers(store, "s", 1) == [f"masks {lost['masks:cam'][:12]}"], "the running trial reads these maps"
    assert kinds(store, borrowed) == {"train", "maps", "masks", "score"}
    write_trial(store, 3, 0.05, {**lost, "masks:cam": key("other")})
    assert drop_losers(store, "s", 1, shared={lost["maps:cam"]}) == [], "the trials to come read these maps"
    assert drop_losers(store, "s", 1) == [f"maps {lost['maps:cam'][:12]}"]


def _unfinished(store: Store, name: str) -> dict[str, str]:
    """The stages of a run whose training was begun."""
    with store.building("train", key(f"t{name}")) as folder:
        assert folder is not None
        (folder / "state.pt").write_text("x")
    return {"train:cam": key(f"t{name}"), "maps:cam": key(f"m{name}")}


def test_of_trials_that_were_stopped_early_no_checkpoint_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trial(store, 0, 0.5)
    stopped, failed, shared = (_unfinished(store, name) for name in ("stopped", "failed", "shared"))
    write_record(store, record("s-0001", None, kind="trial", study="s", stages=stopped, objective=0.2))
    write_record(store, record("s-0003", None, kind="trial", study="s", stages=shared, objective=0.2))
    write_record(store, record("mine", None, stages=shared, status="running", finished=None))
    failure = {"status": "failed", "reason": "out of memory"}
    write_record(store, record("s-0002", None, kind="trial", study="s", stages=failed, **failure))
    store.study_folder("s").mkdir(parents=True)
    states = ["complete", "pruned", "fail", "pruned"]
    rows = [{"number": number, "state": state, "key": None} for number, state in enumerate(states)]
    (store.study_folder("s") / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert drop_losers(store, "s", 0) == []
    assert drop_losers(store, "s", 3) == [f"unfinished train {stopped['train:cam'][:12]}"]
    assert [store.partial("train", one["train:cam"]).is_dir() for one in (stopped, failed, shared)] == [
        False,
        True,
        True,
    ]


def test_the_trials_of_another_study_that_kept_them_protect_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = trial(store, 0, 0.1)
    trial(store, 1, 0.9)
    write_trial(store, 0, 0.1, stages, study="other")
    assert drop_losers(store, "s", 1) == []
    write_trial(store, 1, 0.9, chain(store, "o1"), study="other")
    gone = by_key([verdict for verdict in judge(store, keep_best=1) if verdict.goes])
    assert set(gone) == {stages["maps:cam"], stages["masks:cam"]}, "they lost in both"


def test_only_what_nobody_refers_to_goes_and_only_when_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mine, nobody = chain(store, "mine"), chain(store, "nobody")
    write_record(store, record("first", 0.5, stages=mine))
    assert not [verdict for verdict in judge(store) if verdict.goes], "a run may be about to be recorded"
    later = time.time() + 8 * DAY
    verdicts = by_key(judge(store, now=later))
    assert {one for one, verdict in verdicts.items() if verdict.goes} == set(nobody.values())
    assert verdicts[mine["train:cam"]].owners == ("run first",)
    assert "no run" in verdicts[nobody["maps:cam"]].reason
    done, kept = carry_out(store, verdicts.values())
    assert (len(done), kept) == (4, [])
    assert (kinds(store, mine), kinds(store, nobody)) == ({"train", "maps", "masks", "score"}, set())
    assert store.dropped("maps", nobody["maps:cam"]) is None, "nobody will ask"


def test_a_studys_table_counts_also_where_a_trial_has_no_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = chain(store, "x")
    folder = store.study_folder("s")
    folder.mkdir(parents=True)
    rows = [
        {"number": 0, "state": "complete", "key": stages["score:cam"]},
        {"number": 1, "state": "running", "key": None},
    ]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store.remove("maps", stages["maps:cam"], "dropped before")
    verdicts = by_key(judge(store, now=time.time() + 8 * DAY))
    assert verdicts[stages["train:cam"]].owners == ("study s",), "the way from score to weights leads over the note"
    assert not any(verdict.goes for verdict in verdicts.values())
    (folder / "trials.jsonl").write_text("{")
    with pytest.raises(InputError, match="line 1"):
        references(store)


def test_nothing_is_judged_when_a_record_cannot_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = trial(store, 0, 0.1)
    (store.run_folder("s-0000") / "run.json").write_text("{")
    for attempt in (lambda: judge(store), lambda: drop_losers(store, "s", 1)):
        with pytest.raises(InputError, match="s-0000"):
            attempt()
    assert kinds(store, stages) == {"train", "maps", "masks", "score"}


def _leave_partial(store: Store) -> Path:
    with pytest.raises(RuntimeError), store.building("train", key("p")) as folder:
        assert folder is not None
        (folder / "state.pt").write_text("x")
        raise RuntimeError("killed")
    return store.partial("train", key("p"))


def test_unfinished_work_goes_when_it_is_old_and_nobody_is_at_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = _leave_partial(store)
    later = time.time() + 8 * DAY
    assert not judge(store)[0].goes
    assert judge(store, now=later)[0].goes
    os.utime(partial / "state.pt", (later - 60, later - 60))
    assert not judge(store, now=later)[0].goes, "a checkpoint was written a minute ago"
    assert judge(store, now=later, days=0)[0].goes
    with store.building("train", key("p")):
        (verdict,) = judge(store, now=later, days=0)
        assert (verdict.goes, verdict.reason) == (False, "is being made")
    done, _ = carry_out(store, judge(store, now=later, days=0))
    assert len(done) == 1
    assert not partial.exists()
    assert [entry.state for entry in entries(store)] == ["lock"]
    assert not judge(store, now=later)[0].goes


def _build(root: Path) -> None:
    with Store(root).building("train", key("p")):
        (root / "held").touch()
        time.sleep(60)


def test_what_another_process_took_up_since_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = _leave_partial(store)
    verdicts = judge(store, now=time.time() + 8 * DAY)
    process = multiprocessing.get_context("spawn").Process(target=_build, args=(tmp_path,))
    process.start()
    try:
        for _ in range(600):
            if (tmp_path / "held").exists():
                break
            time.sleep(0.05)
        done, kept = carry_out(store, verdicts)
    finally:
        process.kill()
        process.join(10)
    assert (done, len(kept)) == ([], 1)
    assert (partial / "state.pt").is_file()


def test_what_a_running_study_may_be_making_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made(store, "train", "between")
    store.study_folder("s").mkdir(parents=True)
    later = time.time() + 8 * DAY
    with FileLock(store.study_folder("s") / "driver.lock"):
        (verdict,) = judge(store, now=later)
        assert (verdict.goes, "study s is running" in verdict.reason) == (False, True)
    assert judge(store, now=later)[0].goes


def _cut_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made(store, "maps", "x")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        store.remove("maps", key("x"))


def _unreadable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made(store, "maps", "x")
    (store.folder("maps", key("x")) / MANIFEST).write_text("{")


@pytest.mark.parametrize(("leave", "state"), [(_cut_off, "trash"), (_unreadable, "damaged")])
def test_rubbish_goes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[Store, pytest.MonkeyPatch], None],
    state: str,
) -> None:
    store = Store(tmp_path)
    leave(store, monkeypatch)
    verdicts = judge(store, now=time.time() + 8 * DAY)
    assert [verdict.entry.state for verdict in verdicts if verdict.goes] == [state]
    assert len(carry_out(store, verdicts)[0]) == 1
    assert [entry.state for entry in entries(store)] == ["lock"]
    assert entries(store)[0].size == 0


def test_counts_made_from_a_runs_maps_stay_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = chain(store, "x")
    write_record(store, record("first", 0.5, stages=stages))
    made(store, "saliency-sweep", "c", maps="mx")
    made(store, "saliency-sweep", "d", maps="gone")
    verdicts = by_key(judge(store, now=time.time() + 8 * DAY))
    assert (verdicts[key("c")].goes, verdicts[key("d")].goes) == (False, True)


def test_a_damaged_artefact_of_a_run_is_left_to_a_person(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = chain(store, "x")
    write_record(store, record("first", 0.5, stages=stages))
    (store.folder("train", stages["train:cam"]) / MANIFEST).write_text("{")
    verdict = by_key(judge(store, now=time.time() + 80 * DAY))[stages["train:cam"]]
    assert (verdict.goes, "verify" in verdict.reason) == (False, True)


def test_entries_say_size_and_age(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made(store, "maps", "x")
    (entry,) = entries(store)
    manifest = entry.path / MANIFEST
    assert entry.size == 1000 + manifest.stat().st_size
    assert abs(entry.changed - time.time()) < 60
    (entry.path.parent / "notes.txt").write_text("a stranger's file is not ours to judge")
    assert len(entries(store)) == 1
    assert entries(Store(tmp_path / "nothing")) == []
