"""One run from start to record: the pipeline, the local record and W&B around it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from wsss_platform.config import validated
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.plan.jobs import Runner
from wsss_platform.plan.protocol import Protocol, Selection, protocol
from wsss_platform.run.documents import RunResult
from wsss_platform.run.pipeline import Event, OnEvent, Outcome, StageProgress, run
from wsss_platform.run.records import (
    RECORD,
    BestScore,
    FixedScore,
    RunRecord,
    Scores,
    read_record,
    start_record,
    write_record,
)
from wsss_platform.scores.documents import Summary
from wsss_platform.store.artefacts import Store, write_atomic
from wsss_platform.tracking.reports import CURVE
from wsss_platform.tracking.weights_and_biases import Tracker

log = logging.getLogger(__name__)


class Recording:
    """Holds a run's record and tracker while it runs; a failure is recorded with its reason.

    What an earlier command recorded under the same name (its score, the ground truth that selected its settings, its
    study) is kept.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        name: str,
        wandb: str,
        selection: Selection = "none",
        *,
        command: Sequence[str] = (),
        images: int = 0,
    ) -> None:
        """
        Args:
            experiment: what runs.
            store: where.
            name: of the run.
            wandb: mode of tracking.
            selection: the ground truth that chose its settings.
            command: what was typed or called, for the record; none: what started this process.
            images: how many worst, best and random ones W&B gets.
        """
        self._image_count = images
        self._experiment, self._store, self._name = experiment, store, name
        self._earlier = earlier_record(experiment, store, name)
        if self._earlier is not None and selection == "none":
            selection = self._earlier.protocol.selection
        self._protocol: Protocol = protocol(experiment, selection=selection)
        study = None if self._earlier is None else self._earlier.study
        self._record: RunRecord = start_record(
            experiment, name, self._protocol, study=study, command=command or sys.argv
        )
        self._tracker = tracker_of(self._record, store, wandb)

    def __enter__(self) -> Recording:
        if self._earlier is None or self._earlier.status != "finished":
            write_record(self._store, self._record)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            reason = str(error) or (kind.__name__ if kind else "unknown")
            if self._earlier is None or self._earlier.status != "finished":
                write_record(self._store, self._record.failed(reason))
            self._tracker.finish({"status": "failed", "reason": reason})

    def run(self, runner: Runner | None, wanted: Stage, on_event: OnEvent) -> Outcome:
        """Run the pipeline to `wanted`. Without a runner every stage must be in the store."""
        if runner is not None:
            self._tracker.start()

        def watch(event: Event) -> None:
            if isinstance(event, StageProgress) and event.epoch is not None:
                phase, epoch = event.stage.phase.name, event.epoch
                values = {f"{phase}/loss/{term}": value for term, value in epoch.losses.items()}
                values |= {f"{phase}/learning_rate": epoch.learning_rate}
                values |= {f"{phase}/images_per_second": epoch.images_per_second}
                self._tracker.log(values)
            on_event(event)  # last: it may end the run

        outcome = run(self._experiment, self._store, runner or _Cached(), watch, until=wanted)
        if outcome.score is not None:  # fewer than the split has when images were allowed to fail
            counted = {"score_images": int(outcome.score["images"])}
            self._protocol = self._protocol.model_copy(update=counted)
            self._record = self._record.model_copy(update={"protocol": self._protocol})
            self._tracker.change_config({"protocol": self._protocol.tracked()})
        seconds = stage_seconds(outcome, self._store)
        scores = None if outcome.score is None else scores_of(outcome.score)
        objective = None
        if self._earlier is not None:
            scores = scores or self._earlier.scores
            seconds = {**self._earlier.seconds, **seconds}
            objective = self._earlier.objective
        self._record = self._record.done(scores, seconds, objective)
        write_record(self._store, self._record)
        if outcome.score is not None:
            log_sweep(self._tracker, outcome.score)
            self._images(outcome)
        self._tracker.finish(_tracked_summary(outcome))
        note_tracked(self._store, self._name, self._tracker, scored=outcome.score is not None)
        return outcome

    def _images(self, outcome: Outcome) -> None:
        """The bars per class for W&B, and as many panels of images as were asked for."""
        drawn = [stage for stage in outcome.experiment.stages[-3:] if stage.kind in ("maps", "masks")]
        if not self._tracker.running or any(not self._store.has(stage.kind, stage.key) for stage in drawn):
            return  # a scored trial that lost has no maps to draw
        from wsss_platform.report.show import panels

        for title, image in panels(outcome.experiment, self._store, count=self._image_count):
            self._tracker.image(title, image)

    def result(self, outcome: Outcome, wanted: Stage) -> RunResult:
        """What came out."""
        artefact = self._store.open(wanted.kind, wanted.key)
        for warning in self._tracker.warnings:
            log.warning(warning)
        return RunResult(
            run=self._name,
            stage=wanted.name,
            folder=str(artefact.folder),
            seconds={end.stage.name: round(end.seconds, 2) for end in outcome.stages},
            protocol=self._protocol,
            score=None if outcome.score is None else Summary.model_validate(outcome.score),
            failures=int(artefact.manifest.get("failures", 0)),
        )


def earlier_record(experiment: Experiment, store: Store, name: str) -> RunRecord | None:
    """What is recorded under this name, or None.

    Raises:
        InputError: another experiment is recorded under it.
    """
    if not (store.run_folder(name) / RECORD).is_file():
        return None
    record = read_record(store, name)
    mine = start_record(experiment, name, record.protocol)
    for field in ("method", "seed", "workers", "config", "data"):
        stored = _in_words_of_today(record, experiment) if field == "config" else getattr(record, field)
        if stored != getattr(mine, field):
            raise InputError(
                f"run {name!r} exists with another {field}; give this one another --name, or delete "
                f"{store.run_folder(name)}"
            )
    return record


def _in_words_of_today(record: RunRecord, experiment: Experiment) -> dict[str, Any]:
    """Its config; values that earlier versions wrote otherwise as they are written now."""
    try:
        return validated(experiment.method.config, record.config, record.name).model_dump(mode="json")
    except InputError:
        return record.config


class _Cached:
    """A runner that is never asked."""

    def train(self, *_: Any) -> None:
        raise AssertionError("a stage that was in the store is gone")

    chunks = train


def scores_of(summary: dict[str, Any]) -> Scores:
    """The record's scores from a score artefact's summary."""
    low, high = summary["interval"]
    sweep = summary["sweep"]
    best = sweep and BestScore(threshold=sweep["best_threshold"], mean_iou=sweep["best_mean_iou"])
    return Scores(
        fixed=FixedScore(
            mean_iou=summary["mean_iou"],
            per_class={name: values["iou"] for name, values in summary["classes"].items()},
            interval=(low, high),
        ),
        best=best,
    )


def _tracked_summary(outcome: Outcome) -> dict[str, Any]:
    summary: dict[str, Any] = {f"seconds/{end.stage.name}": end.seconds for end in outcome.stages}
    if outcome.score is not None:
        summary |= score_summary(outcome.score)
    return summary


TRACKED = "wandb.json"
"""In a run's folder: where W&B has it."""


def tracker_of(record: RunRecord, store: Store, mode: str, **more: Any) -> Tracker:
    """A tracker of a recorded run; `more` are arguments of `Tracker`."""
    return Tracker(
        name=record.name,
        group=record.study or record.method,
        config={**record.config, "data": record.data, "seed": record.seed},
        protocol=record.protocol.tracked(),
        folder=store.root,
        mode=mode,
        **more,
    )


def note_tracked(store: Store, name: str, tracker: Tracker, *, scored: bool) -> None:
    """Write down where W&B has a run, so that it is not sent twice; nothing of one that was not closed in time."""
    if tracker.run_folder is not None and tracker.ended:
        said = {"mode": tracker.mode, "folder": str(tracker.run_folder), "scored": scored}
        said |= {"project": tracker.target.project, "entity": tracker.target.entity}
        write_atomic(store.run_folder(name) / TRACKED, json.dumps(said))


def log_sweep(tracker: Tracker, summary: dict[str, Any]) -> None:
    """A point of a curve for each threshold of a score's sweep, where it has one."""
    sweep = summary["sweep"]
    if sweep is None or not tracker.running:
        return
    for values in zip(sweep["thresholds"], sweep["mean_iou"], strict=True):
        if None not in values:
            tracker.log(dict(zip(CURVE, values, strict=True)))


def score_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that W&B sorts by."""
    sweep, (low, high) = summary["sweep"], summary["interval"]
    best = {"best/mean_iou": sweep["best_mean_iou"], "best/threshold": sweep["best_threshold"]} if sweep else {}
    return {"mean_iou": summary["mean_iou"], "low": low, "high": high, **best}


def stage_seconds(outcome: Outcome, store: Store) -> dict[str, float]:
    """What each stage took when it was made, by this run or an earlier one: seconds, from the manifests."""
    made = [end.stage for end in outcome.stages if store.has(end.stage.kind, end.stage.key)]
    return {stage.name: float(store.open(stage.kind, stage.key).manifest["seconds"]) for stage in made}
