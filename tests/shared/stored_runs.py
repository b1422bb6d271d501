"""A store of runs and trials whose artefacts are names without content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.records import FixedScore, RunRecord, Scores, write_record
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.store.artefacts import Store

DAY = 86400
WORDS = "data train_list score_list supervision labels_from selection backbone initial_weights scales background crf"
PROTOCOL: dict[str, Any] = dict.fromkeys([*WORDS.split(), "affinity", "segmenter", "truth"], "x") | {
    "train_images": 1,
    "score_images": 1,
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


def leave_partial(store: Store) -> Path:
    with pytest.raises(RuntimeError), store.building("train", key("p")) as folder:
        assert folder is not None
        (folder / "state.pt").write_text("x")
        raise RuntimeError("killed")
    return store.partial("train", key("p"))


def row(number: int, state: str = "complete", key: str | None = None, **more: Any) -> TrialRow:
    """A row of a study's table that says little."""
    empty = dict.fromkeys(("objective", "fixed", "threshold", "seconds", "reason"))
    return TrialRow(number, state, **{"changes": {}, "rungs": {}, **empty, "key": key, **more})
