"""`tune`: a study on Ray Tune and Optuna, each trial a pipeline run with its trainings nested in it.

The journal in the study's folder is the only state. Each call starts a fresh Tune run for the trials
that are still missing (Tuner.restore would replay trials that Optuna already holds), so a killed study is
continued by the same command, and more trials are added by a larger number.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import ray
from ray import tune as ray_tune

from wsss_platform.config import look_up
from wsss_platform.engine.events import (
    OnStudyEvent,
    SharedStage,
    StudyState,
    TrialEpoch,
    TrialFinished,
    TrialRung,
    TrialStarted,
    Warned,
)
from wsss_platform.engine.runner import RayRunner
from wsss_platform.engine.searcher import StudySearcher, default_params
from wsss_platform.engine.study import StudyFolder, TrialRow
from wsss_platform.engine.trial import BEST, MASKS, TrialPlan, changed, run_trial
from wsss_platform.errors import InputError, RunError
from wsss_platform.experiment import Experiment, Stage
from wsss_platform.pipeline import run
from wsss_platform.protocol import Selection
from wsss_platform.space import SearchSpace
from wsss_platform.stages import EpochEnd
from wsss_platform.store import Store, check_name

TRIAL_MEMORY = 1024 * 1024
"""Bytes Tune reserves for a trial's own process. Tune wants some resource, and a hundredth of a CPU would keep
the last worker of a trial that needs every CPU waiting for ever."""


@dataclass(frozen=True)
class StudyRequest:
    """What to search, and with how much."""

    experiment: Experiment
    """With the default config, which is trial 0."""
    space: SearchSpace
    trials: int
    """In total, those of earlier calls included."""
    store: Store
    name: str
    seed: int = 0
    """Of the sampler; the experiment has its own."""
    workers: int = 1
    """Training processes of one trial."""
    gpus_per_worker: float = 0.0
    cpus_per_worker: int = 1
    scheduler: Literal["asha", "none"] = "asha"
    """"asha" stops trials early by asynchronous successive halving (Li et al. 2018; Optuna's rule)."""
    max_concurrent: int | None = None
    """At most this many trials at once; None: as many as the cluster has room for."""
    reduction: int = 3
    """Of the trials at a rung about one in this many goes on; rungs are this factor apart."""
    rung_pictures: int = 32
    """Pictures of the scored list on which a rung is decided."""
    retries: int = 1
    """How often a trial whose run failed is tried again."""

    def __post_init__(self) -> None:
        check_name(self.name, "study name")
        for field, low in (
            ("trials", 1),
            ("workers", 1),
            ("cpus_per_worker", 1),
            ("reduction", 2),
            ("rung_pictures", 1),
            ("retries", 0),
        ):
            if getattr(self, field) < low:
                raise InputError(f"{field}: expected at least {low}, got {getattr(self, field)}")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise InputError(f"max_concurrent: expected at least 1, got {self.max_concurrent}")
        if self.workers != self.experiment.workers:
            raise InputError(f"workers: {self.workers}, but the experiment was planned with {self.experiment.workers}")

    @property
    def objective(self) -> str:
        """What is maximised. The sweep sees the maps and not the masks, so a space that changes how masks are
        made is judged by the masks' mean IoU, any other by the best of the exact sweep."""
        return MASKS if "masks" in self.space.stages() else BEST

    @property
    def selection(self) -> Selection:
        """The pixel truth that chooses, as stamped in the protocol."""
        data = self.experiment.data
        return "train truth" if data.score_list == data.train_list else "val truth"

    @property
    def rungs(self) -> tuple[int, ...]:
        """Finished epochs of the last phase after which trials are compared; empty when none is stopped early."""
        if self.scheduler == "none" or "train" not in self.space.stages():
            return ()
        experiment = self.experiment
        train = experiment.train_config(experiment.phases[-1])
        rungs, epoch = [], first_rung(train.epochs, self.reduction)
        while epoch < train.epochs:
            rungs.append(epoch)
            epoch *= self.reduction
        return tuple(epoch for epoch in rungs if epoch % train.checkpoint_every == 0)

    def identity(self) -> dict[str, Any]:
        """What must not change when a study is continued; resources and the number of trials may."""
        experiment = self.experiment
        return {
            "method": [experiment.method.name, experiment.method.revision],
            "config": experiment.config.model_dump(mode="json"),
            "data": experiment.data.model_dump(mode="json"),
            "split": experiment.split_fingerprint(experiment.data.train_list),
            "truth": experiment.truth_fingerprint(experiment.data.score_list),
            "seed": experiment.seed,
            "workers": experiment.workers,
            "space": {axis.path: axis.model_dump(mode="json", exclude={"reason", "path"}) for axis in self.space.axes},
            "sampler_seed": self.seed,
            "objective": self.objective,
            "selection": self.selection,
            "rungs": list(self.rungs),
            "reduction": self.reduction,
            "rung_pictures": self.rung_pictures,
        }


@dataclass(frozen=True)
class StudyResult:
    """What a study came to."""

    folder: Path
    rows: tuple[TrialRow, ...]
    best: TrialRow | None
    """None when no trial was completed."""
    best_config: Path | None
    """best.toml, readable by `train --config`."""
    objective: str
    selection: Selection


def first_rung(epochs: int, reduction: int) -> int:
    """Finished epochs at the first of (at most) two rungs."""
    return max(1, epochs // reduction**2)


def tune(request: StudyRequest, on_event: OnStudyEvent = lambda event: None) -> StudyResult:
    """Run the trials that a study still lacks. Ray must be initialised (engine.cluster.connect).

    Raises:
        InputError: the study's name belongs to another search, another process drives it, or one trial asks
            for more than the cluster has.
        RunError: a shared stage failed, or every trial did.
        KeyboardInterrupt: stopped by the user; the same call continues.
    """
    at_once = concurrency(request)
    folder = StudyFolder(request.store.study_folder(request.name), request.identity())
    with folder.driving():
        base = request.experiment.config
        if len(folder.finished()) < request.trials:
            _warn_outside(request, on_event)
            _make_shared(request, on_event)
            _run_trials(request, folder, at_once, on_event)
        rows = folder.write_tables(base)
    best = folder.best()
    if best is None and rows and all(row.state == "fail" for row in rows):
        raise RunError(
            f"all {len(rows)} trials failed; the first: {rows[0].reason} (table: {folder.folder}/trials.jsonl)"
        )
    path = folder.folder / "best.toml"
    return StudyResult(
        folder=folder.folder,
        rows=rows,
        best=None if best is None else rows[best.number],
        best_config=path if best is not None else None,
        objective=request.objective,
        selection=request.selection,
    )


def concurrency(request: StudyRequest) -> int:
    """How many trials may train at once without waiting for each other's resources.

    Raises:
        InputError: not even one fits into the cluster as it is now.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    room = sum(_workers_on(node, request) for node in nodes)
    if room < request.workers:
        cpus = sum(node.get("CPU", 0.0) for node in nodes)
        gpus = sum(node.get("GPU", 0.0) for node in nodes)
        raise InputError(
            f"one trial needs room for {request.workers} workers with {request.cpus_per_worker} CPUs and "
            f"{request.gpus_per_worker:g} GPUs each, but the cluster ({len(nodes)} nodes, {cpus:g} CPUs, "
            f"{gpus:g} GPUs) has room for {room}; ask for fewer workers, or add nodes first"
        )
    fits = room // request.workers
    return fits if request.max_concurrent is None else min(fits, request.max_concurrent)


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _workers_on(node: dict[str, float], request: StudyRequest) -> int:
    rooms = [node.get("CPU", 0.0) // request.cpus_per_worker]
    if request.gpus_per_worker:
        rooms.append(node.get("GPU", 0.0) // request.gpus_per_worker)
    return int(min(rooms))


def shared_stages(experiment: Experiment, space: SearchSpace) -> tuple[Stage, ...]:
    """Stages whose key no axis changes: the same for every trial."""
    keys = {stage.key for stage in experiment.stages}
    for changes in space.variants():
        keys &= {stage.key for stage in changed(experiment, changes, "search space").stages}
    return tuple(stage for stage in experiment.stages if stage.key in keys)


def _make_shared(request: StudyRequest, on_event: OnStudyEvent) -> None:
    shared = shared_stages(request.experiment, request.space)
    if shared:
        runner = RayRunner(request.workers, request.gpus_per_worker, request.cpus_per_worker)
        run(request.experiment, request.store, runner, lambda event: on_event(SharedStage(event)), until=shared[-1])


def _warn_outside(request: StudyRequest, on_event: OnStudyEvent) -> None:
    for path in default_params(request.space, request.experiment.config)[1]:
        value = look_up(request.experiment.config, path)
        on_event(Warned(f"{path}: the default {value!r} lies outside its axis; trial 0 runs it all the same"))


def _run_trials(request: StudyRequest, folder: StudyFolder, at_once: int, on_event: OnStudyEvent) -> None:
    pruner = None
    if request.rungs:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=request.rungs[0], reduction_factor=request.reduction
        )
    searcher = StudySearcher(
        folder,
        request.space,
        request.experiment.config,
        seed=request.seed,
        pruner=pruner,
        on_finish=lambda number: _finished(request, folder, number, on_event),
    )
    missing = request.trials - len(folder.finished())
    if missing <= 0:
        return
    plan = TrialPlan(
        experiment=request.experiment,
        storage=request.store.root,
        study=folder.folder,
        workers=request.workers,
        gpus_per_worker=request.gpus_per_worker,
        cpus_per_worker=request.cpus_per_worker,
        objective=request.objective,
        rungs=request.rungs,
        rung_pictures=request.rung_pictures,
        retries=request.retries,
    )
    scratch = folder.folder / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(run_trial, plan=plan), ray_tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY}])
    )
    with _quiet():
        ray_tune.Tuner(
            trainable,
            tune_config=ray_tune.TuneConfig(
                search_alg=searcher,
                num_samples=missing,
                max_concurrent_trials=at_once,
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:04d}-{trial.trial_id}",
            ),
            run_config=ray_tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                failure_config=ray_tune.FailureConfig(max_failures=request.retries),
                callbacks=[_Progress(searcher, on_event)],
            ),
        ).fit()
    if len(folder.finished()) < request.trials:
        raise KeyboardInterrupt


class _Progress(ray_tune.Callback):
    """Tune's callbacks as study events."""

    def __init__(self, searcher: StudySearcher, on_event: OnStudyEvent) -> None:
        self._searcher, self._on_event = searcher, on_event

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_event(TrialStarted(trial.config["number"], self._searcher.changes(trial.trial_id)))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        if result.get("event") == "epoch":
            self._on_event(TrialEpoch(number, result["phase"], EpochEnd(**result["end"])))
        elif result.get("event") == "rung":
            self._on_event(TrialRung(number, result["epoch"], result["value"]))


def _finished(request: StudyRequest, folder: StudyFolder, number: int, on_event: OnStudyEvent) -> None:
    """After each trial: the table, the best config, and two events."""
    rows = folder.write_tables(request.experiment.config)
    row = rows[number]
    on_event(TrialFinished(number, row.state, row.objective, row.fixed, row.seconds, row.reason, row.key))
    twin = _twin(folder, number)
    if twin is not None:
        on_event(
            Warned(
                f"trials {twin} and {number} trained different configs to identical losses: "
                "something that was sampled is not used"
            )
        )
    best = folder.best()
    on_event(
        StudyState(
            finished=len(folder.finished()),
            total=request.trials,
            running=sum(row.state == "running" for row in rows),
            best=None if best is None else best.number,
            objective=None if best is None else best.value,
        )
    )


def _twin(folder: StudyFolder, number: int) -> int | None:
    """An earlier trial with the same losses in all epochs, but another training config."""
    trials = folder.study.get_trials(deepcopy=False)
    mine = trials[number].user_attrs
    if "trace" not in mine:
        return None
    for trial in trials[:number]:
        notes = trial.user_attrs
        if notes.get("trace") == mine["trace"] and notes.get("train_key") != mine["train_key"]:
            return trial.number
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune without its own console output, log files and change of directory."""
    wanted = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in wanted}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(wanted)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
