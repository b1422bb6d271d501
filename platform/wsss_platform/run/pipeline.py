"""Runs a plan: skip what the store has, call the stage, commit. No Ray here; a `Runner` says where.

The whole pipeline in one sentence: every stage that is needed is built in its partial folder, a training by
`_train`, stages of images chunk by chunk one behind the other, and committed under its content key.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment, Stage, check_truth, needed
from wsss_platform.plan.jobs import METRICS, WEIGHTS, ChunkReport, EpochEnd, Runner, TrainJob
from wsss_platform.plan.speed import like
from wsss_platform.run.chunks.images import ImageWork, chunks_of
from wsss_platform.run.chunks.maps import MapsWork
from wsss_platform.run.chunks.masks import MasksWork
from wsss_platform.run.chunks.score import ScoreWork
from wsss_platform.run.imported import ImportWork, finish, import_work
from wsss_platform.store.artefacts import Artefact, Store, write_atomic

if TYPE_CHECKING:
    from wsss_platform.scores.score import Score

SUMMARY = "score.json"
"""In a score artefact: what `Score.summary()` says."""
FAILURES = "failures.json"
"""In the folder of a stage that lacks images, finished or not: [[image id, reason], ...]."""


@dataclass(frozen=True)
class StageStart:
    """A stage begins; `total` counts epochs or images."""

    stage: Stage
    total: int


@dataclass(frozen=True)
class StageProgress:
    """Part of a stage is done."""

    stage: Stage
    done: int
    """Epochs or images since the stage began (images of resumed chunks count)."""
    epoch: EpochEnd | None = None
    failures: int = 0
    """Images that failed so far."""


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
        InputError: images, masks or maps that cannot be used, each named with its reason.
        RunError: a training that failed.
    """
    wanted = until or experiment.stages[-1]
    check_truth(experiment, wanted)
    todo = {stage.key for stage in needed(experiment.stages, store, wanted)}
    stages = experiment.stages[: experiment.stages.index(wanted) + 1]
    ends: list[StageEnd] = []
    for (kind, _, to_make), group in groupby(stages, lambda one: (_kind(one), one.list_name, one.key in todo)):
        for line in [tuple(group)] if kind == "chunks" else [(stage,) for stage in group]:
            if not to_make:
                made = [StageEnd(stage, 0.0, True) for stage in line]
            elif kind == "train":
                made = [_trained(experiment, line[0], store, runner, on_event)]
            else:
                made = _produced(experiment, line, store, runner, on_event)
            for end in made:
                on_event(end)
            ends += made
    score = None
    if wanted.kind == "score":
        score = read_summary(store.open("score", wanted.key))
    return Outcome(experiment, tuple(ends), score)


def read_summary(artefact: Artefact) -> dict[str, Any]:
    """The summary in a score artefact."""
    summary: dict[str, Any] = json.loads((artefact.folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def failed(store: Store, stage: Stage) -> frozenset[str]:
    """Ids of the images that a finished stage lacks, as they failed and were allowed to (--max-failures)."""
    file = store.open(stage.kind, stage.key).folder / FAILURES
    return frozenset(id for id, _ in json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else frozenset()


def read_score(experiment: Experiment, store: Store, whose: str) -> Score:
    """The stored counts of an experiment's score.

    Args:
        experiment: scored before.
        store: where the score is.
        whose: for the error, such as "run 'mine'".

    Raises:
        InputError: it has no score.
    """
    from wsss_platform.scores.score import Score

    stage = experiment.stage("score")
    if not store.finished("score", stage.key):
        raise InputError(f"{whose} has no score yet; `wsss-platform score RUN` makes it")
    return Score.read(store.open("score", stage.key).folder, swept="maps" in stage.inputs)


def _kind(stage: Stage) -> Literal["train", "import", "chunks"]:
    """Stages of images that follow each other are one line: a chunk need not wait for the others. An import is
    checked as a whole before anything is made of it."""
    if stage.kind == "train":
        return "train"
    return "chunks" if stage.inputs else "import"


def _trained(experiment: Experiment, stage: Stage, store: Store, runner: Runner, on_event: OnEvent) -> StageEnd:
    started = time.monotonic()
    with store.building(stage.kind, stage.key) as folder:
        if folder is None:  # another process made it while we waited
            return StageEnd(stage, 0.0, True)
        inputs = {role: store.open(source.kind, source.key).folder for role, source in stage.inputs.items()}
        _train(experiment, stage, inputs, folder, runner, on_event)
        end = StageEnd(stage, time.monotonic() - started, False)
        _commit(experiment, end, store)
    return end


def _commit(experiment: Experiment, end: StageEnd, store: Store, **said: Any) -> None:
    stage = end.stage
    manifest = {
        "stage": stage.name,
        "method": experiment.method.name,
        "identity": experiment.identity(stage.phase),
        "list": stage.list_name,
        "inputs": {role: source.key for role, source in stage.inputs.items()},
        "seconds": round(end.seconds, 3),
        "like": like(experiment, stage),
    }
    store.commit(stage.kind, stage.key, {**manifest, **said})


def _train(
    experiment: Experiment, stage: Stage, inputs: dict[str, Path], folder: Path, runner: Runner, on_event: OnEvent
) -> None:
    released = experiment.config.released_file(stage.phase.name)
    if released is not None:
        _take(experiment, stage, Path(released), folder, on_event)
        return
    job = TrainJob(experiment, stage.phase, stage.key, inputs)
    on_event(StageStart(stage, experiment.train_config(stage.phase).epochs))
    runner.train(job, folder, lambda epoch: on_event(StageProgress(stage, epoch.epoch, epoch)))


def _take(experiment: Experiment, stage: Stage, source: Path, folder: Path, on_event: OnEvent) -> None:
    """Weights from a file in the place of a training; InputError when they do not fit the phase's network."""
    from wsss_platform.train.checkpoint import trained_network

    on_event(StageStart(stage, 1))
    trained_network(stage.phase, experiment.config, len(experiment.dataset.classes), source)
    shutil.copyfile(source, folder / f"{WEIGHTS}.part")
    (folder / f"{WEIGHTS}.part").rename(folder / WEIGHTS)
    write_atomic(folder / METRICS, "")
    on_event(StageProgress(stage, 1))


@dataclass
class _Making:
    """A stage of a line while it is made."""

    stage: Stage
    work: ImageWork
    started: float
    done: int = 0
    ended: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)


def _produced(
    experiment: Experiment, line: Sequence[Stage], store: Store, runner: Runner, on_event: OnEvent
) -> list[StageEnd]:
    """Make stages of images, one behind the other; images that fail are named, and fail it when there are more
    than the store allows (training allows none). What the failures do not touch is kept."""
    with ExitStack() as held:
        partial: dict[str, Path] = {}
        for stage in line:
            folder = held.enter_context(store.building(stage.kind, stage.key))
            if folder is not None:  # else another process made it while we waited
                partial[stage.key] = folder
        ids = experiment.dataset.split(line[0].list_name).ids
        making = []
        for stage in line:
            if stage.key in partial:
                on_event(StageStart(stage, len(ids)))
                making.append(_Making(stage, _work(experiment, stage, store, partial), time.monotonic()))

        def report(place: int, chunk: ChunkReport) -> None:
            now, one = time.monotonic(), making[place]
            one.done += chunk.images
            one.ended = now
            one.failures.extend(chunk.failures)
            if chunk.images and place + 1 < len(making) and not making[place + 1].done:
                making[place + 1].started = now
            on_event(StageProgress(one.stage, one.done, failures=len(one.failures)))

        runner.chunks([one.work for one in making], chunks_of(ids), report)
        ends = {stage.key: StageEnd(stage, 0.0, True) for stage in line}
        last = line[-1].phase.name == experiment.phases[-1].name
        allowed = store.max_failures if last else 0
        for one in making:
            check_failures(one.stage.name, one.work.folder, one.failures, len(ids), allowed)
            if one.stage.kind == "score":
                _summarise(experiment, one)
            elif _kind(one.stage) == "import":
                assert isinstance(one.work, ImportWork)
                finish(one.work, ids)
            end = ends[one.stage.key] = StageEnd(one.stage, max(0.0, one.ended - one.started), False)
            said = (
                {"truth": experiment.truth_fingerprint(end.stage.list_name)[:12]} if end.stage.kind == "score" else {}
            )
            _commit(experiment, end, store, images=one.done, failures=len(one.failures), **said)
        return list(ends.values())


def _work(experiment: Experiment, stage: Stage, store: Store, partial: Mapping[str, Path]) -> ImageWork:
    """The chunk work of a stage; what it reads is finished, or made before it in the same line."""

    def folder_of(role: str) -> Path:
        source = stage.inputs[role]
        return partial.get(source.key) or store.open(source.kind, source.key).folder

    common = (experiment, stage.phase, stage.list_name, partial[stage.key])
    if _kind(stage) == "import":
        return import_work(*common)
    if stage.kind == "maps":
        refined = folder_of("maps") if "maps" in stage.inputs else None
        return MapsWork(*common, weights=folder_of("weights") / WEIGHTS, maps=refined)
    if stage.kind == "masks":
        return MasksWork(*common, maps=folder_of("maps"))
    swept = folder_of("maps") if "maps" in stage.inputs else None  # imported masks have none
    return ScoreWork(*common, maps=swept, masks=folder_of("masks"))


def _summarise(experiment: Experiment, one: _Making) -> None:
    from wsss_platform.scores.score import Score

    masks = experiment.masks_config(one.stage.phase)
    swept = "maps" in one.stage.inputs
    score = Score.read(one.work.folder, swept=swept)
    summary = score.summary(masks.background if swept and masks.rule == "constant" else None)
    interval = score.interval()
    summary["interval"] = [interval.low, interval.high]
    write_atomic(one.work.folder / SUMMARY, json.dumps(summary, indent=1))


def check_failures(what: str, folder: Path, failures: list[tuple[str, str]], images: int, allowed: int) -> None:
    """Write the failures down; InputError naming them when there are more than allowed, or nothing is left."""
    failures, file = sorted(failures), folder / FAILURES
    if not failures:
        file.unlink(missing_ok=True)
        return
    write_atomic(file, json.dumps(failures, indent=1))
    if len(failures) > allowed or len(failures) == images:
        listed = "\n  ".join(reason for _, reason in failures[:20])
        more = f"\n  and {len(failures) - 20} more in {file}" if len(failures) > 20 else ""
        raise InputError(
            f"{what}: {len(failures)} of {images} images failed, {allowed} may (--max-failures; what a later "
            f"training reads must be whole):\n  {listed}{more}",
            field=failures[0][0] if len(failures) == 1 else None,
        )
