"""A study on disk: what it is, who drives it, its Optuna journal, its table and its best config.

storage/studies/<name>/
    study.json      identity: another identity under the same name is refused
    journal.log     Optuna's own journal, the one record of every trial; or
    storage.json    which database holds that record (study_storage)
    trials.jsonl    a table of it, rewritten after every trial
    best.toml       the best config so far, as `train --recipe` reads it
    front-<n>.toml  of several objectives: the same for each trial that no other one beats (objectives)
    comparison.json baseline, host, default settings and best trial at the end (comparison)
    study.html      all of it on one page, with Optuna's plots, which are also here as PNG (figures)
    stop/<number>   written when a trial shall stop early; the trial sees it and ends by itself
    driver.lock     held by the living driver
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from wsss_platform.config import MethodConfig, flatten, override, to_toml
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.protocol import current_selection
from wsss_platform.run.trial_rows import Lines, TrialRow, write_rows
from wsss_platform.search.masks.table import evaluations as inner_evaluations
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.identity import BEST
from wsss_platform.tune.objectives import DIRECTIONS, SINGLE
from wsss_platform.tune.study_storage import open_study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
"""A trial in one of these states is never run again."""


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
        names = identity.get("objectives", SINGLE)
        self._lines: Lines = {}
        self.study = open_study(folder, storage, {name: DIRECTIONS[name] for name in names})

    def _check(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / "study.json"
        wanted = json.loads(json.dumps(identity))
        if not path.exists():
            write_atomic(path, json.dumps(wanted, indent=1))
            return
        found = read_json(path)
        old, new = flatten(found), flatten(wanted)
        old |= {name: current_selection(value) for name, value in old.items() if name == "selection"}
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
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def best(self) -> FrozenTrial | None:
        """The most accurate complete trial; of equals the cheapest by the other objectives, and the earliest."""
        complete = [trial for trial in self.finished() if trial.state is TrialState.COMPLETE]
        return max(complete, key=_rank, default=None)

    def stop_file(self, number: int) -> Path:
        """Exists when a trial shall stop early."""
        return stop_file(self.folder, number)

    def write_tables(self, base: MethodConfig) -> tuple[TrialRow, ...]:
        """Rewrite trials.jsonl, best.toml and the front's files from the journal.

        The best config gets the background threshold that the sweep found best, selected with the same ground truth.
        """
        rows = table(self.study)
        write_rows(self.folder, rows, self._lines)
        best = self.best()
        if best is not None:
            self._write_config("best.toml", base, best)
        self._write_front(base, [item.number for item in rows if item.front])
        return rows

    def _write_config(self, name: str, base: MethodConfig, trial: FrozenTrial) -> None:
        config = override(base, self._changes_of(base, trial), f"trial {trial.number}")
        note = f'\n[chosen]\nstudy = "{self.folder.name}"\ntrial = {trial.number}\nselection = "{self._selection}"\n'
        write_atomic(self.folder / name, f"{to_toml(config)}{note}evaluations = {self.evaluations()}\n")

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

    def evaluations(self) -> int:
        """How often trials were evaluated on ground truth to choose: once per run that was scored, once per rung, and
        once per setting that was searched within a trial (with each random seed).

        A sweep is one evaluation, which gives the score at all its thresholds.
        """
        return sum(row.evaluations for row in table(self.study)) + inner_evaluations(self.folder)


def stop_file(folder: Path, number: int) -> Path:
    """Exists when a trial shall stop early."""
    return folder / "stop" / str(number)


def _rank(trial: FrozenTrial) -> tuple[float, tuple[float, ...], int]:
    """Larger is better. All objectives but the first are costs."""
    accuracy, *costs = trial.values
    return accuracy, tuple(-cost for cost in costs), -trial.number


def table(study: optuna.Study) -> tuple[TrialRow, ...]:
    """Every trial of a study, in order, with the front."""
    names = study.metric_names or ()
    rows = tuple(row(trial, names) for trial in study.get_trials(deepcopy=False))
    if not names:
        return rows
    front = {trial.number for trial in study.best_trials}
    return tuple(replace(item, front=item.number in front) for item in rows)


def row(trial: FrozenTrial, names: Sequence[str] = ()) -> TrialRow:
    """A trial of the journal as a line of the table.

    Args:
        trial: of the journal.
        names: of its objectives, where there are several.
    """
    notes, values = trial.user_attrs, trial.values
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        changes=notes.get("changes", {}),
        objective=None if values is None else values[0],
        fixed=notes.get("fixed"),
        threshold=notes.get("threshold"),
        rungs=dict(trial.intermediate_values),
        seconds=notes.get("seconds"),
        key=notes.get("key"),
        reason=notes.get("reason"),
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
