"""A study on disk: what it is, who drives it, its Optuna journal, its table and its best config.

storage/studies/<name>/
    study.json      identity: another identity under the same name is refused
    journal.log     Optuna's own journal, the one record of every trial; or
    storage.json    which database holds that record (study_storage)
    trials.jsonl    a table of it, rewritten after every trial
    best.toml       the best config so far, as `train --config` reads it
    front-<n>.toml  of several objectives: the same for each trial that no other one beats (objectives)
    selection.json  fixed, selected and oracle at the end (report)
    study.html      all of it on one page, with Optuna's plots, which are also here as PNG (study_page)
    stop/<number>   written when a trial shall stop early; the trial sees it and ends by itself
    driver.lock     held by the living driver
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from wsss_platform.config import MethodConfig, flatten, override, to_toml
from wsss_platform.engine.objectives import DIRECTIONS, SINGLE, front
from wsss_platform.engine.study_storage import open_study
from wsss_platform.errors import InputError, RunError
from wsss_platform.search.masks.table import looks as inner_looks
from wsss_platform.store import write_atomic

BEST, MASKS, LABEL_FREE = "best of the sweep", "masks", "label-free proxies"
"""What a study can maximise: the sweep's best mean IoU, the masks' own (which the sweep does not see), or proxies that
see no pixel truth (`label_free`)."""
FROM = "told from"
"""Note of a trial that was not run here but told by an earlier study ("NAME trial 3")."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
"""A trial in one of these states is never run again."""


@dataclass(frozen=True)
class TrialRow:
    """One line of trials.jsonl."""

    number: int
    """From 0, which is the default config."""
    state: str
    """"complete", "pruned" (stopped early), "fail", "running", "waiting", or "told" (by an earlier study)."""
    changes: Mapping[str, Any]
    """Sampled values by dotted path; empty for the default config."""
    objective: float | None
    """What the study maximises; of a pruned trial the value at its last rung."""
    fixed: float | None
    """Mean IoU 0..1 of the masks at the config's own background rule."""
    threshold: float | None
    """Background threshold 0..1 at which the sweep is best."""
    rungs: Mapping[int, float]
    """Finished epochs -> best mean IoU 0..1 on the rung's few pictures."""
    seconds: float | None
    key: str | None
    """Of the score in the store."""
    reason: str | None
    """Why it failed or was stopped."""
    proxies: Mapping[str, float | None] | None = None
    """Of a label-free objective: what was measured, by name, 0..1."""
    spread: float | None = None
    """Sample standard deviation of the objective over the trial's seeds; None for one seed."""
    keys: Sequence[str] = ()
    """Of the scores of all its seeds; empty for one seed."""
    values: Mapping[str, float] | None = None
    """Of a trial with several objectives: each by its name (`objectives`)."""
    front: bool | None = None
    """Of a study with several objectives: whether no other trial of this study beats it."""


class StudyFolder:
    """One study's folder; opening it creates what is missing.

    Raises:
        InputError: a study of this name that searched something else, with what differs.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], storage: str | None = None) -> None:
        """
        Args:
            folder: made when it is not there.
            identity: what the study is; see `StudyRequest.identity`.
            storage: URL of the database it lives in; None for a journal in the folder.
        """
        self.folder = folder
        (folder / "stop").mkdir(parents=True, exist_ok=True)
        self._check(identity)
        self._objective = identity.get("objective")
        self._selection = identity.get("selection", "none")
        names = identity.get("objectives") or SINGLE
        self.study = open_study(folder, storage, {name: DIRECTIONS[name] for name in names})

    def _check(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / "study.json"
        wanted = json.loads(json.dumps(identity))
        if not path.exists():
            write_atomic(path, json.dumps(wanted, indent=1))
            return
        found = read_json(path)
        old, new = flatten(found), flatten(wanted)
        differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        if differing:
            shown = "; ".join(
                f"{name} is {json.dumps(old.get(name))} there and {json.dumps(new.get(name))} here"
                for name in differing[:6]
            )
            more = f"; and {len(differing) - 6} more" if len(differing) > 6 else ""
            raise InputError(
                f"study {self.folder.name!r} exists and is another search: {shown}{more}. "
                f"Give this one another --name, or delete {self.folder}"
            )

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the only driver; the lock falls with the process, however it ends."""
        lock = FileLock(self.folder / "driver.lock")
        try:
            lock.acquire(timeout=2)
        except Timeout:
            raise InputError(
                f"study {self.folder.name!r} is being driven by another process; wait for it, or use another --name"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def finished(self) -> list[FrozenTrial]:
        """Trials of this study that are never run again."""
        return [
            trial for trial in self.study.get_trials(deepcopy=False, states=FINISHED) if FROM not in trial.user_attrs
        ]

    def best(self) -> FrozenTrial | None:
        """The most accurate complete trial; of equals the cheapest by the other objectives, and the earliest."""
        complete = [trial for trial in self.finished() if trial.state is TrialState.COMPLETE]
        return max(complete, key=_rank, default=None)

    def stop_file(self, number: int) -> Path:
        """Exists when a trial shall stop early."""
        return stop_file(self.folder, number)

    def write_tables(self, base: MethodConfig) -> tuple[TrialRow, ...]:
        """Rewrite trials.jsonl, best.toml and the front's files from the journal.

        The best config gets the background threshold that the sweep found best, selected with the same truth.
        """
        rows = table(self.study)
        write_atomic(self.folder / "trials.jsonl", "".join(json.dumps(vars(item)) + "\n" for item in rows))
        best = self.best()
        if best is not None:
            self._write_config("best.toml", base, best)
        self._write_front(base, [item.number for item in rows if item.front])
        return rows

    def _write_config(self, name: str, base: MethodConfig, trial: FrozenTrial) -> None:
        config = override(base, self._changes_of(base, trial), f"trial {trial.number}")
        note = f'\n[chosen]\nstudy = "{self.folder.name}"\ntrial = {trial.number}\nselection = "{self._selection}"\n'
        write_atomic(self.folder / name, f"{to_toml(config)}{note}looks = {self.looks()}\n")

    def _write_front(self, base: MethodConfig, numbers: Sequence[int]) -> None:
        trials = self.study.get_trials(deepcopy=False)
        wanted = {f"front-{number:04d}.toml": trials[number] for number in numbers}
        for name, trial in wanted.items():
            self._write_config(name, base, trial)
        for path in self.folder.glob("front-*.toml"):
            if path.name not in wanted:  # beaten since
                path.unlink(missing_ok=True)

    def selected_changes(self, base: MethodConfig) -> dict[str, Any]:
        """What the best config changes in `base`: the best trial's values and its threshold. Empty without a best."""
        best = self.best()
        return {} if best is None else self._changes_of(base, best)

    def _changes_of(self, base: MethodConfig, trial: FrozenTrial) -> dict[str, Any]:
        changes = dict(trial.user_attrs.get("changes", {}))
        threshold = trial.user_attrs.get("threshold")
        if threshold is not None and self._objective == BEST and base.masks.rule == "constant":
            changes["masks.background"] = threshold
        return changes

    def looks(self) -> int:
        """How often pixel truth was looked at to choose: once per run that was scored, and once per rung,
        and once per setting that was searched within a trial (on each of its seeds).

        One look at a sweep tells the score at all its thresholds.
        """
        if self._selection == "none":
            return 0
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if FROM not in trial.user_attrs]
        inner = inner_looks(self.folder)
        scored = [len(trial.user_attrs.get("keys", ())) or "key" in trial.user_attrs for trial in trials]
        return sum(map(int, scored)) + inner + sum(len(trial.intermediate_values) for trial in trials)


def stop_file(folder: Path, number: int) -> Path:
    """Exists when a trial shall stop early."""
    return folder / "stop" / str(number)


def _rank(trial: FrozenTrial) -> tuple[float, tuple[float, ...], int]:
    """Larger is better. All objectives but the first are costs."""
    accuracy, *costs = trial.values
    return accuracy, tuple(-cost for cost in costs), -trial.number


def table(study: optuna.Study) -> tuple[TrialRow, ...]:
    """Every trial of a study, in order, with the front of those that were run in it."""
    names, trials = study.metric_names or (), study.get_trials(deepcopy=False)
    rows = tuple(row(trial, names) for trial in trials)
    if not names:
        return rows
    complete = {item.number: trials[item.number].values for item in rows if item.state == "complete"}
    best = front(complete, names)
    return tuple(replace(item, front=item.number in best) for item in rows)


def row(trial: FrozenTrial, names: Sequence[str] = ()) -> TrialRow:
    """A trial of the journal as a line of the table.

    Args:
        trial: of the journal.
        names: of its objectives, where there are several.
    """
    notes, values = trial.user_attrs, trial.values
    return TrialRow(
        number=trial.number,
        state="told" if FROM in notes else trial.state.name.lower(),
        changes=notes.get("changes", {}),
        objective=None if values is None else values[0],
        fixed=notes.get("fixed"),
        threshold=notes.get("threshold"),
        rungs=dict(trial.intermediate_values),
        seconds=notes.get("seconds"),
        key=notes.get("key"),
        reason=notes.get(FROM) or notes.get("reason"),
        proxies=notes.get("proxies"),
        spread=notes.get("spread"),
        keys=notes.get("keys", ()),
        values=dict(zip(names, values, strict=True)) if names and values is not None else None,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object on disk; RunError when it is damaged."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: damaged ({error}); delete the study's folder to begin anew") from None
    return data
