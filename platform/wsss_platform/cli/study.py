"""A running study for a reader: live bars, a W&B run per trial, a record per finished trial."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wsss_platform.api.recording import score_summary, scores_of
from wsss_platform.cli.output import StageBars, console, note
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol
from wsss_platform.run.pipeline import SUMMARY
from wsss_platform.run.records import RECORD, RunRecord, read_record, start_record, write_record
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tracking.weights_and_biases import Tracker
from wsss_platform.tune import events
from wsss_platform.tune.halting import UNLIMITED
from wsss_platform.upkeep.retention import KEEP_BEST, drop_losers

if TYPE_CHECKING:
    from wsss_platform.run.trial_rows import TrialRow
    from wsss_platform.tune.tuner import StudyRequest


class StudyView:
    """Called with every event of a study."""

    def __init__(self, request: StudyRequest, wandb: str, keep_best: int = KEEP_BEST) -> None:
        """
        Args:
            request: the study's.
            wandb: mode of its trackers.
            keep_best: trials that keep their maps and masks; 0: all.
        """
        self._request, self._wandb, self._keep_best = request, wandb, keep_best
        self._records: dict[str, RunRecord] = {}
        self._shared = StageBars()
        self._trackers: dict[int, Tracker] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._study: TaskID | None = None
        self._bars: dict[int, TaskID] = {}
        self._told: set[str] = set()
        self._gone: set[tuple[str, str, str]] = set()
        self._opened: Any = None

    def __enter__(self) -> StudyView:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        for tracker in self._trackers.values():
            tracker.finish({"status": "interrupted"})

    def __call__(self, event: events.StudyEvent) -> None:
        """Show one event."""
        match event:
            case events.SharedStage():
                self._shared.start()
                self._shared(event.event)
            case events.TrialStarted():
                self._started(event)
            case events.TrialEpoch():
                self._epoch(event)
            case events.TrialRung():
                self._say(event.number, f"rung at epoch {event.epoch}: {100 * event.value:.2f}")
            case events.TrialFinished():
                self._finished(event)
            case events.StudyState():
                best = "" if event.objective is None else f"best: trial {event.best}, {100 * event.objective:.2f}"
                self._progress.update(self._study_bar(), completed=event.finished, total=event.total, detail=best)
            case events.Reporting():
                console.print(f"scoring fixed, selected and oracle on {event.list_name}")
            case events.Warned():
                console.print(Text.assemble(("warning:", "yellow"), f" {event.message}"))

    def record(self, rows: Iterable[TrialRow]) -> None:
        """Write the record of every finished trial; what an earlier, killed driver left out is made up for."""
        for row in rows:
            if row.state in ("complete", "pruned", "fail") and not self._is_recorded(row.number):
                self._write_record(row)

    def drop_losers(self) -> None:
        """Drop the maps and masks of trials that lost. The study goes on when that cannot be done."""
        try:
            dropped = drop_losers(
                self._request.store, self._request.name, self._keep_best, self._shared_keys, self._gone
            )
        except (InputError, OSError) as error:
            self._tell(f"maps of losing trials are kept for now: {error}")
            return
        if dropped:
            console.print(f"dropped, as their trials lost: {', '.join(dropped)}")

    def _is_recorded(self, number: int) -> bool:
        """Whether a trial's record says how it ended; a damaged one does not."""
        store = self._request.store
        names = [name for name, _ in self._seeds(number, self._request.experiment)]
        try:
            return all(
                (store.run_folder(name) / RECORD).is_file() and read_record(store, name).status != "running"
                for name in names
            )
        except InputError:
            return False

    def _seeds(self, number: int, experiment: Experiment) -> Iterator[tuple[str, Experiment]]:
        """The runs of a trial: name and experiment, one per seed."""
        for offset in range(self._request.seeds):
            seeded = experiment.of_seed(offset)
            yield self._name(number) + (f"-seed{seeded.seed}" if offset else ""), seeded

    @cached_property
    def _shared_keys(self) -> frozenset[str]:
        """What the trials to come will need, too."""
        from wsss_platform.search.effects import shared_stages

        seeds = [self._request.experiment.of_seed(offset) for offset in range(self._request.seeds)]
        return frozenset(stage.key for each in seeds for stage in shared_stages(each, self._request.space))

    def _tell(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            note(warning)

    def _study_bar(self) -> TaskID:
        if self._study is None:
            self._shared.stop()
            self._progress.start()
            total = None if self._request.trials == UNLIMITED else self._request.trials
            self._study = self._progress.add_task(f"study {self._request.name}", total=total, detail="")
        return self._study

    def _started(self, event: events.TrialStarted) -> None:
        self._study_bar()
        if event.number not in self._bars:
            experiment = self._experiment(dict(event.changes))
            epochs = sum(experiment.train_config(phase).epochs for phase in experiment.phases[-1:])
            self._bars[event.number] = self._progress.add_task(f"  trial {event.number}", total=epochs, detail="")
            tracker = Tracker(
                name=self._name(event.number),
                group=self._request.name,
                config={**experiment.config.model_dump(mode="json"), "seed": experiment.seed, "trial": event.number},
                protocol=protocol(experiment, selection=self._request.selection).model_dump(),
                folder=self._request.store.root,
                mode=self._wandb,
                id=f"{self._run_ids()}-{event.number:04d}",
            )
            tracker.start()
            self._trackers[event.number] = tracker
            for name, seeded in self._seeds(event.number, experiment):  # from now on their stages are in use
                self._records[name] = self._start_record(name, seeded)
                write_record(self._request.store, self._records[name])
        told = ", ".join(
            f"{path} {value:.4g}" if isinstance(value, float) else f"{path} {value}"
            for path, value in event.changes.items()
        )
        self._say(event.number, told or "the default config", detail="starting")

    def _epoch(self, event: events.TrialEpoch) -> None:
        total = event.epoch.losses["total"]
        detail = f"{event.phase}: loss {total:.4f}, {event.epoch.pictures_per_second:.1f} pictures/s"
        bar = self._bars.get(event.number)
        if bar is not None:
            self._progress.update(bar, completed=event.epoch.epoch, detail=detail)
        tracker = self._trackers.get(event.number)
        if tracker is not None:
            tracker.log({f"{event.phase}/loss/{term}": value for term, value in event.epoch.losses.items()})

    def _finished(self, event: events.TrialFinished) -> None:
        words = event.state if event.objective is None else f"{event.state}, {100 * event.objective:.2f}"
        if event.reason:
            words += f" ({event.reason})"
        self._say(event.number, words)
        bar = self._bars.pop(event.number, None)
        if bar is not None:  # its line stays; hundreds of bars would fill the screen
            self._progress.remove_task(bar)
        self.record(row for row in self._rows() if row.number == event.number)
        tracker = self._trackers.pop(event.number, None)
        if tracker is not None:
            self._track_end(event, tracker)
        self.drop_losers()

    def _track_end(self, event: events.TrialFinished, tracker: Tracker) -> None:
        summary: dict[str, Any] = {"state": event.state, "objective": event.objective, "seconds": event.seconds}
        if event.state == "fail":
            summary |= {"status": "failed", "reason": event.reason}
        if event.key is not None and (score := self._score(event.key)) is not None:
            summary |= score_summary(score)
            self._pictures(event, tracker)
        tracker.finish({name: value for name, value in summary.items() if value is not None})
        if tracker.mode == "offline":  # do not wait for the service again
            self._wandb = "offline"
        for warning in tracker.warnings:
            self._tell(warning)

    def _pictures(self, event: events.TrialFinished, tracker: Tracker) -> None:
        if not tracker.running:
            return
        from wsss_platform.report.show import panels

        changes = next(row.changes for row in self._rows() if row.number == event.number)
        for title, picture in panels(self._experiment(dict(changes)), self._request.store, count=1):
            tracker.picture(title, picture)

    def _rows(self) -> list[Any]:
        from wsss_platform.tune.study import table
        from wsss_platform.tune.study_storage import open_study

        folder = self._request.store.study_folder(self._request.name)
        study = self._opened = self._opened or open_study(folder, self._request.study_storage)
        return list(table(study))

    def _say(self, number: int, text: str, detail: str | None = None) -> None:
        bar = self._bars.get(number)
        if bar is not None and detail is not None:
            self._progress.update(bar, detail=detail)
        console.print(f"trial {number}: {text}")

    def _experiment(self, changes: dict[str, Any]) -> Experiment:
        return self._request.experiment.with_changes(changes, "trial")

    def _name(self, number: int) -> str:
        return f"{self._request.name}-{number:04d}"

    def _run_ids(self) -> str:
        """What the ids of this study's W&B runs begin with: a trial that is taken over continues its run."""
        path = self._request.store.study_folder(self._request.name) / "wandb-runs"
        if not path.is_file():
            write_atomic(path, secrets.token_hex(4))
        return path.read_text(encoding="utf-8").strip()

    def _score(self, key: str) -> dict[str, Any] | None:
        path = self._request.store.folder("score", key) / SUMMARY
        if not path.is_file():
            return None
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summary

    def _start_record(self, name: str, experiment: Experiment) -> RunRecord:
        return start_record(
            experiment,
            name,
            protocol(experiment, selection=self._request.selection),
            study=self._request.name,
            command=sys.argv,
        )

    def _write_record(self, row: TrialRow) -> None:
        experiment = self._experiment(dict(row.changes))
        spent = {"trial": row.seconds or 0.0}
        keys: list[str | None] = [*row.keys] if row.keys else [row.key]
        keys += [None] * self._request.seeds  # a failed or stopped trial has not all
        for (name, seeded), key in zip(self._seeds(row.number, experiment), keys, strict=False):
            record = started = self._records.pop(name, None) or self._start_record(name, seeded)
            if started.config != seeded.config.model_dump(mode="json"):  # an inner setting won
                record = self._start_record(name, seeded).model_copy(update={"started": started.started})
            self._write_run(row, record, key, spent if name == self._name(row.number) else {})

    def _write_run(self, row: TrialRow, record: RunRecord, key: str | None, spent: dict[str, float]) -> None:
        if row.state == "fail":
            write_record(self._request.store, record.failed(row.reason or "", spent))
            return
        summary = None if key is None else self._score(key)
        write_record(
            self._request.store, record.done(None if summary is None else scores_of(summary), spent, row.objective)
        )
