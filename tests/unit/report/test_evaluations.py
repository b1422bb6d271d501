"""Evaluations at ground truth, read off what a storage holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import stored_runs
from wsss_platform.config import MasksConfig
from wsss_platform.report.evaluations import Evaluations, evaluations, evaluations_of
from wsss_platform.run.records import write_record
from wsss_platform.run.trial_rows import TrialRow, write_rows
from wsss_platform.search.masks.table import FILE, Table
from wsss_platform.store.artefacts import MANIFEST, Store

TRUTH, OTHER = "0123456789ab", "ba9876543210"


def score(store: Store, name: str, list_name: str = "val_bal", kind: str = "score", **said: Any) -> str:
    """A finished count against truth."""
    key = (name.encode().hex() + "0" * 64)[:64]
    with store.building(kind, key) as folder:
        assert folder is not None
        store.commit(kind, key, {"list": list_name, "inputs": {}, **said})
    return key


def study(store: Store, name: str, rows: list[TrialRow], **said: Any) -> Path:
    folder = store.study_folder(name)
    folder.mkdir(parents=True)
    identity = {"truth": TRUTH + "f" * 52, "data": {"score_list": "val_bal"}, **said}
    (folder / "study.json").write_text(json.dumps(identity))
    write_rows(folder, rows)
    return folder


def row(number: int, key: str | None, rungs: int = 0, state: str = "complete", **more: Any) -> TrialRow:
    return stored_runs.row(number, state, key, rungs=dict.fromkeys(range(rungs), 0.1), **more)


def test_nothing_was_looked_at(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert evaluations(store) == ()
    assert evaluations_of(evaluations(store), "val", TRUTH).total == 0


def test_one_score_is_one_look_whoever_tells_of_it(tmp_path: Path, record: Any) -> None:
    store = Store(tmp_path)
    key = score(store, "a", truth=TRUTH)
    write_record(store, record("one", 0.4, stages={"score:cam": key}))
    write_record(store, record("two", 0.4, stages={"score:cam": key}))
    study(store, "s", [row(0, key)])
    study(store, "t", [row(0, key)])
    assert evaluations(store) == (Evaluations("val_bal", TRUTH, scores=1),)
    assert "evaluated on ground truth once in this storage (1 score)" in evaluations(store)[0].words


def test_studies_runs_and_searches_add_up_by_list_and_truth(tmp_path: Path, record: Any) -> None:
    store = Store(tmp_path)
    seeds = [score(store, f"seed{index}", truth=TRUTH) for index in range(3)]
    study(store, "s", [row(0, seeds[0], rungs=1, keys=seeds), row(1, None, rungs=2, state="pruned")])
    score(store, "other", "train", truth=OTHER)
    score(store, "pairs", kind="saliency-sweep", truth=TRUTH)
    write_record(store, record("begun", None, stages={"score:cam": "f" * 64}, status="running", finished=None))
    search = store.study_folder("crf")
    search.mkdir(parents=True)
    table = Table(["cat"])
    table.describe("maps", "train", OTHER + "f" * 52)
    for key in ("none", "irn", "afa"):
        table.put("maps", key, MasksConfig(), {"a": np.ones((3, 2), np.int64)}, 1.0)
    table.write(search / FILE)
    found = evaluations(store)
    assert found == (
        Evaluations("train", OTHER, scores=1, settings=3),
        Evaluations("val_bal", TRUTH, scores=4, rungs=3),
    )
    assert [one.total for one in found] == [4, 7]
    assert evaluations_of(found, "val_bal", TRUTH).words.endswith(
        "evaluated on ground truth 7 times in this storage (4 scores, 3 rungs)"
    )


def test_a_score_that_is_gone_was_looked_at_all_the_same(tmp_path: Path, record: Any) -> None:
    store = Store(tmp_path)
    write_record(store, record("one", 0.4, stages={"train:cam": "a" * 64, "score:cam": "b" * 64}))
    study(store, "s", [row(0, "c" * 64)])
    store.remove("score", score(store, "dropped", truth=TRUTH), "nobody wants it")
    assert evaluations(store) == (Evaluations("val_bal", TRUTH, scores=3),)


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.folder("score", score(store, "a", truth=TRUTH)) / MANIFEST).write_text("{")
    folder = study(store, "s", [row(0, score(store, "b", truth=TRUTH), rungs=1)])
    with (folder / "trials.jsonl").open("a") as stream:
        stream.write('{"number": 1, "rungs"')
    assert evaluations(store) == (Evaluations("val_bal", TRUTH, scores=1, rungs=1),)
