"""Runs a plan: skip what the store has, call the stage, commit. No Ray here; a `Runner` says where.

The whole pipeline in one sentence: every stage that is needed is built in its partial folder by
`_train`, `_maps`, `_masks` or `_score`, and committed under its content key.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment, Stage, needed
from wsss_platform.stages import METRICS, WEIGHTS, ChunkReport, ChunkWork, EpochEnd, Runner, TrainJob
from wsss_platform.store import Artefact, Store, write_atomic
from wsss_platform.work import MapsWork, MasksWork, ScoreWork, chunks_of

SUMMARY = "score.json"
"""In a score artefact: what `Score.summary()` says."""
FAILURES = "failures.json"
"""In the partial folder of a stage that failed: [[picture id, reason], ...]."""


@dataclass(frozen=True)
class StageStart:
    """A stage begins; `total` counts epochs or pictures."""

    stage: Stage
    total: int


@dataclass(frozen=True)
class StageProgress:
    """Part of a stage is done."""

    stage: Stage
    done: int
    """Epochs or pictures since the stage began (pictures of resumed chunks count)."""
    epoch: EpochEnd | None = None


@dataclass(frozen=True)
class StageEnd:
    """A stage is in the store."""

    stage: Stage
    seconds: float
    cached: bool


Event = StageStart | StageProgress | StageEnd
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What a run of the pipeline leaves."""

    experiment: Experiment
    stages: tuple[StageEnd, ...]
    """Every stage of the plan up to the wanted one; upstream stages that nobody needed count as cached."""
    score: dict[str, Any] | None
    """`Score.summary()` when the score was wanted."""


def run(
    experiment: Experiment,
    store: Store,
    runner: Runner,
    on_event: OnEvent = lambda event: None,
    *,
    until: Stage | None = None,
) -> Outcome:
    """Make `until` (default: the score) and all that it needs.

    Raises:
        InputError: pictures, masks or maps that cannot be used, each named with its reason.
        RunError: a training that failed.
    """
    wanted = until or experiment.stages[-1]
    todo = {stage.key for stage in needed(experiment.stages, store, wanted)}
    ends: list[StageEnd] = []
    for stage in experiment.stages[: experiment.stages.index(wanted) + 1]:
        end = _make(experiment, stage, store, runner, on_event) if stage.key in todo else StageEnd(stage, 0.0, True)
        on_event(end)
        ends.append(end)
    score = None
    if wanted.kind == "score":
        score = read_summary(store.open("score", wanted.key))
    return Outcome(experiment, tuple(ends), score)


def read_summary(artefact: Artefact) -> dict[str, Any]:
    """The summary in a score artefact."""
    summary: dict[str, Any] = json.loads((artefact.folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def _make(experiment: Experiment, stage: Stage, store: Store, runner: Runner, on_event: OnEvent) -> StageEnd:
    started = time.monotonic()
    with store.building(stage.kind, stage.key) as folder:
        if folder is None:  # another process made it while we waited
            return StageEnd(stage, 0.0, True)
        inputs = {role: store.open(source.kind, source.key).folder for role, source in stage.inputs.items()}
        {"train": _train, "maps": _maps, "masks": _masks, "score": _score}[stage.kind](
            experiment, stage, inputs, folder, runner, on_event
        )
        seconds = time.monotonic() - started
        store.commit(
            stage.kind,
            stage.key,
            {
                "stage": stage.name,
                "method": experiment.method.name,
                "list": stage.list_name,
                "inputs": {role: source.key for role, source in stage.inputs.items()},
                "seconds": round(seconds, 3),
            },
        )
    return StageEnd(stage, seconds, False)


def _train(
    experiment: Experiment, stage: Stage, inputs: dict[str, Path], folder: Path, runner: Runner, on_event: OnEvent
) -> None:
    released = experiment.config.released_file(stage.phase.name)
    if released is not None:
        _take(experiment, stage, Path(released), folder, on_event)
        return
    on_event(StageStart(stage, experiment.train_config(stage.phase).epochs))
    job = TrainJob(experiment, stage.phase, stage.key, inputs)
    runner.train(job, folder, lambda epoch: on_event(StageProgress(stage, epoch.epoch, epoch)))


def _take(experiment: Experiment, stage: Stage, source: Path, folder: Path, on_event: OnEvent) -> None:
    """Weights from a file in the place of a training; InputError when they do not fit the phase's network."""
    from wsss_platform.train.checkpoint import load_weights

    on_event(StageStart(stage, 1))
    load_weights(stage.phase.build(experiment.config, len(experiment.dataset.classes)), source)
    shutil.copyfile(source, folder / f"{WEIGHTS}.part")
    (folder / f"{WEIGHTS}.part").rename(folder / WEIGHTS)
    write_atomic(folder / METRICS, "")
    on_event(StageProgress(stage, 1))


def _maps(
    experiment: Experiment, stage: Stage, inputs: dict[str, Path], folder: Path, runner: Runner, on_event: OnEvent
) -> None:
    weights = inputs["weights"] / WEIGHTS
    work = MapsWork(experiment, stage.phase, stage.list_name, weights, folder, inputs.get("maps"))
    _produce(experiment, stage, work, runner, on_event)


def _masks(
    experiment: Experiment, stage: Stage, inputs: dict[str, Path], folder: Path, runner: Runner, on_event: OnEvent
) -> None:
    work = MasksWork(experiment, stage.phase, stage.list_name, inputs["maps"], folder)
    _produce(experiment, stage, work, runner, on_event)


def _score(
    experiment: Experiment, stage: Stage, inputs: dict[str, Path], folder: Path, runner: Runner, on_event: OnEvent
) -> None:
    from wsss_platform.metrics.score import Score

    _produce(
        experiment,
        stage,
        ScoreWork(experiment, stage.phase, stage.list_name, inputs["maps"], inputs["masks"], folder),
        runner,
        on_event,
    )
    masks = experiment.masks_config(stage.phase)
    score = Score.read(folder)
    summary = score.summary(masks.background if masks.rule == "constant" else None)
    interval = score.interval()
    summary["interval"] = [interval.low, interval.high]
    write_atomic(folder / SUMMARY, json.dumps(summary, indent=1))


def _produce(
    experiment: Experiment,
    stage: Stage,
    work: MapsWork | MasksWork | ScoreWork,
    runner: Runner,
    on_event: OnEvent,
) -> None:
    """Run chunk work over the stage's list; a picture that fails is named, and fails the stage at its end."""
    ids = experiment.dataset.split(stage.list_name).ids
    on_event(StageStart(stage, len(ids)))
    done = 0
    failures: list[tuple[str, str]] = []

    def report(chunk: ChunkReport) -> None:
        nonlocal done
        done += chunk.pictures
        failures.extend(chunk.failures)
        on_event(StageProgress(stage, done))

    call: ChunkWork = work
    runner.chunks(call, chunks_of(ids), report)
    if failures:
        failures.sort()
        write_atomic(work.folder / FAILURES, json.dumps(failures, indent=1))
        listed = "\n  ".join(reason for _, reason in failures[:20])
        more = f"\n  and {len(failures) - 20} more in {work.folder / FAILURES}" if len(failures) > 20 else ""
        raise InputError(f"{stage.name}: {len(failures)} of {len(ids)} pictures failed:\n  {listed}{more}")
    (work.folder / FAILURES).unlink(missing_ok=True)
