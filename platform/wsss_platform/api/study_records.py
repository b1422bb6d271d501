"""What a running study leaves besides its journal: a record and a W&B run for each trial, and no maps of losers."""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wsss_platform.api.recording import log_sweep, note_tracked, score_summary, scores_of
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol
from wsss_platform.run import trial_events as events
from wsss_platform.run.pipeline import SUMMARY
from wsss_platform.run.records import RECORD, RunRecord, read_record, start_record, write_record
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tracking.weights_and_biases import Tracker
from wsss_platform.upkeep.retention import drop_losers

if TYPE_CHECKING:
    from wsss_platform.run.trial_rows import TrialRow
    from wsss_platform.tune.request import StudyRequest

log = logging.getLogger(__name__)

EACH, SOME = 32, 8
"""Dropping what lost looks at every run of the storage: it follows each of so many trials, then every eighth."""


class StudyRecords:
    """Called with every event of a study."""

    def __init__(self, request: StudyRequest, command: Sequence[str] = ()) -> None:
        """
        Args:
            request: the study's.
            command: what was typed or called, for the records; none: what started this process.
        """
        self._command = command or sys.argv
        self._request, self._store = request, request.store
        self._wandb, self._keep_best = request.options.output.wandb, request.options.storage.keep_best
        self._records: dict[str, RunRecord] = {}
        self._trackers: dict[int, Tracker] = {}
        self._told: set[str] = set()
        self._gone: set[tuple[str, str, str]] = set()
        self._opened: Any = None
        self._ended = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for tracker in self._trackers.values():
            tracker.finish({"status": "interrupted"})

    def __call__(self, event: events.StudyEvent) -> None:
        """Keep what one event says."""
        match event:
            case events.TrialStarted():
                self._started(event)
            case events.TrialEpoch():
                tracker = self._trackers.get(event.number)
                if tracker is not None:
                    tracker.log({f"{event.phase}/loss/{term}": value for term, value in event.epoch.losses.items()})
            case events.TrialFinished():
                self._finished(event)

    def record(self, rows: Iterable[TrialRow]) -> None:
        """Write the record of every finished trial; what an earlier, killed driver left out is made up for."""
        for row in rows:
            if row.state in ("complete", "pruned", "fail") and not self._is_recorded(row.number):
                self._write_record(row)

    def record_compared(self, compared: Mapping[str, Experiment]) -> None:
        """Write the records of the rows of the comparison: what they made is in use from now on.

        Args:
            compared: row -> its experiment, scored on the reported split.
        """
        for row, first in compared.items():
            for offset in range(self._request.seeds):
                experiment = first.of_seed(offset)
                name = f"{self._request.name}-{row.replace(' ', '-')}" + (f"-seed{experiment.seed}" if offset else "")
                summary = self._score(experiment.key)
                stamp = protocol(experiment, selection=self._request.selection)
                record = start_record(experiment, name, stamp, command=self._command)  # no trial: its maps stay
                write_record(self._store, record.done(None if summary is None else scores_of(summary), {}, None))

    def drop_losers(self) -> None:
        """Drop the maps and masks of trials that lost. The study continues when that cannot be done."""
        try:
            dropped = drop_losers(self._store, self._request.name, self._keep_best, self._shared_keys, self._gone)
        except (InputError, OSError) as error:
            self._tell(f"maps of losing trials are kept for now: {error}")
            return
        if dropped:
            log.info("dropped, as their trials lost: %s", ", ".join(dropped))

    def _is_recorded(self, number: int) -> bool:
        """Whether a trial's record says how it ended; a damaged one does not."""
        names = [name for name, _ in self._seeds(number, self._request.experiment)]
        try:
            return all(
                (self._store.run_folder(name) / RECORD).is_file() and read_record(self._store, name).status != "running"
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
            log.warning(warning)

    def _started(self, event: events.TrialStarted) -> None:
        if event.number in self._trackers:
            return
        experiment = self._experiment(dict(event.changes))
        tracker = Tracker(
            name=self._name(event.number),
            group=self._request.name,
            config={**experiment.config.model_dump(mode="json"), "seed": experiment.seed, "trial": event.number},
            protocol=protocol(experiment, selection=self._request.selection).tracked(),
            folder=self._store.root,
            mode=self._wandb,
            id=f"{self._run_ids()}-{event.number:04d}",
        )
        tracker.start()
        self._trackers[event.number] = tracker
        for name, seeded in self._seeds(event.number, experiment):  # from now on their stages are in use
            self._records[name] = self._start_record(name, seeded)
            write_record(self._store, self._records[name])

    def _finished(self, event: events.TrialFinished) -> None:
        self.record(row for row in self._rows() if row.number == event.number)
        tracker = self._trackers.pop(event.number, None)
        if tracker is not None:
            self._track_end(event, tracker)
        self._ended += 1
        if self._ended <= EACH or self._ended % SOME == 0:
            self.drop_losers()

    def _track_end(self, event: events.TrialFinished, tracker: Tracker) -> None:
        summary: dict[str, Any] = {"state": event.state, "objective": event.objective, "seconds": event.seconds}
        if event.state == "fail":
            summary |= {"status": "failed", "reason": event.reason}
        if event.key is not None and (score := self._score(event.key)) is not None:
            summary |= score_summary(score)
            log_sweep(tracker, score)
        tracker.finish({name: value for name, value in summary.items() if value is not None})
        note_tracked(self._store, self._name(event.number), tracker, scored=event.key is not None)
        if tracker.mode == "offline":  # do not wait for the service again
            self._wandb = "offline"
        for warning in tracker.warnings:
            self._tell(warning)

    def _rows(self) -> list[Any]:
        from wsss_platform.tune.study import table
        from wsss_platform.tune.study_storage import open_study

        folder, database = self._store.study_folder(self._request.name), self._request.options.storage.study_storage
        study = self._opened = self._opened or open_study(folder, database)
        return list(table(study))

    def _experiment(self, changes: dict[str, Any]) -> Experiment:
        return self._request.experiment.with_changes(changes, "trial")

    def _name(self, number: int) -> str:
        return f"{self._request.name}-{number:04d}"

    def _run_ids(self) -> str:
        """What the ids of this study's W&B runs begin with: a trial that is taken over continues its run."""
        path = self._store.study_folder(self._request.name) / "wandb-runs"
        if not path.is_file():
            write_atomic(path, secrets.token_hex(4))
        return path.read_text(encoding="utf-8").strip()

    def _score(self, key: str) -> dict[str, Any] | None:
        path = self._store.folder("score", key) / SUMMARY
        if not path.is_file():
            return None
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summary

    def _start_record(self, name: str, experiment: Experiment) -> RunRecord:
        stamp = protocol(experiment, selection=self._request.selection)
        return start_record(experiment, name, stamp, study=self._request.name, command=self._command)

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
            write_record(self._store, record.failed(row.reason or "", spent))
            return
        summary = None if key is None else self._score(key)
        scores = None if summary is None else scores_of(summary)
        write_record(self._store, record.done(scores, spent, row.objective))
