"""`tune`: a study on Ray Tune and Optuna, each trial a pipeline run with its trainings nested in it.

The journal in the study's folder is the only state. Each call starts a fresh Tune run for the trials
that are still missing (Tuner.restore would replay trials that Optuna already holds), so a killed study is
continued by the same command, and more trials are added by a larger number.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import optuna
import ray
from ray import tune as ray_tune

from wsss_platform.config import look_up
from wsss_platform.engine.cluster import cluster_info, environment
from wsss_platform.engine.memory_deaths import memory_deaths_survived
from wsss_platform.engine.runner import RayRunner
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import Runner
from wsss_platform.run.interrupts import interruptible
from wsss_platform.run.pipeline import run
from wsss_platform.run.trial_events import (
    OnStudyEvent,
    SharedStage,
    StudyState,
    TrialFinished,
    Warned,
)
from wsss_platform.search.effects import shared_stages
from wsss_platform.store.disk import check_writable, explained
from wsss_platform.tune.comparison import compare_rows, rows_of
from wsss_platform.tune.halting import UNLIMITED, Halt
from wsss_platform.tune.progress import Listener, Progress
from wsss_platform.tune.request import StudyRequest, StudyResult
from wsss_platform.tune.search_algorithm import make_pruner
from wsss_platform.tune.searcher import StudySearcher, default_params
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.trial import TrialPlan, run_trial

__all__ = ["StudyRequest", "StudyResult", "concurrency", "tune"]

TRIAL_MEMORY = 1024 * 1024
"""Bytes Tune reserves for a trial's own process. Tune wants some resource, and a hundredth of a CPU would keep
the last worker of a trial that needs every CPU waiting for ever."""


def tune(
    request: StudyRequest, on_event: OnStudyEvent = lambda event: None, asked: Callable[[], bool] = lambda: False
) -> StudyResult:
    """Run the trials that a study still lacks. Ray must be initialised (engine.cluster.connect).

    Args:
        request: the study.
        on_event: is called with what happens.
        asked: whether the user wants an end (`interrupts.Interrupts.asked`): then no trial starts any more, and those
            that run end at their next safe place.

    Raises:
        InputError: the study's name belongs to another search, another process drives it, one trial asks for more
            than the cluster has, or nothing can be stored.
        RunError: a shared stage failed, every trial did, or the disk is full.
        Interrupted: ended because `asked` said so; the same call continues.
    """
    on_event = Listener(on_event)
    at_once, started = concurrency(request), time.monotonic()
    check_writable(request.store.root)
    database = request.options.storage.study_storage
    folder = StudyFolder(request.store.study_folder(request.name), request.identity(), database)
    with folder.driving(), explained(request.store.root):
        request = going_on(request, folder)
        base = request.experiment.config
        halt = Halt(folder.folder, asked)
        if len(folder.finished()) < request.trials:
            _warn_outside(request, on_event)
            _make_shared(request, on_event, halt)
            _run_trials(request, folder, at_once, started, on_event, halt)
        rows = folder.write_tables(base)
        comparison, compared, finished = None, {}, len(folder.finished())
        ended = halt.wanted and finished < request.trials
        if request.report_list is not None and folder.best() is not None and not ended:
            compared = {row.name: row.on(request.reported_on) for row in rows_of(request, folder, rows)}
            runner = runner_of(request, _cpus_alone(request))
            comparison = compare_rows(request, folder, rows, runner, on_event, asked)
    if ended:
        halt.end(finished, request.trials)
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
        evaluations=folder.evaluations(),
        comparison=comparison,
        compared=compared,
        objectives=request.objectives,
    )


def concurrency(request: StudyRequest) -> int:
    """How many trials may train at once without waiting for each other's resources.

    Raises:
        InputError: not even one fits into the cluster as it is now.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    wanted, gpus_per_worker = request.options.resources, request.options.resources.gpus_per_worker or 0.0
    room = sum(_workers_on(node, request.cpus_per_worker, gpus_per_worker) for node in nodes)
    if room < wanted.workers:
        cpus = sum(node.get("CPU", 0.0) for node in nodes)
        gpus = sum(node.get("GPU", 0.0) for node in nodes)
        raise InputError(
            f"one trial needs room for {wanted.workers} workers with {request.cpus_per_worker} CPUs and "
            f"{gpus_per_worker:g} GPUs each, but the cluster ({len(nodes)} nodes, {cpus:g} CPUs, "
            f"{gpus:g} GPUs) has room for {room}; ask for fewer workers, or add nodes first"
        )
    fits = room // wanted.workers
    return fits if wanted.concurrent is None else min(fits, wanted.concurrent)


def going_on(request: StudyRequest, folder: StudyFolder) -> StudyRequest:
    """Without outer axes one trial is the whole search; asked for more settings than it tried, a further one goes on
    where it stopped, as the study's table of settings says."""
    if request.levels.outer.axes:
        return request
    finished = folder.finished()
    tried = max((int(trial.user_attrs.get("settings", 0)) for trial in finished), default=0)
    more = tried < request.levels.settings
    return replace(request, goal=max(1, len(finished) + more))


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _workers_on(node: dict[str, float], cpus: int, share: float) -> int:
    """How many workers with so many CPUs and such a share of GPUs a node has room for."""
    rooms, gpus = [node.get("CPU", 0.0) // cpus], node.get("GPU", 0.0)
    if share:  # a part lies on one GPU: 0.6 finds three rooms on three GPUs, not five; and 1 / 0.1 is ten
        rooms.append(int(gpus) * int(1 / share + 1e-9) if share < 1 else gpus // share)
    return int(min(rooms))


def runner_of(request: StudyRequest, cpus: int | None = None) -> Runner:
    """Where the stages of a study run; `cpus` per worker in place of the request's."""
    resources = request.options.resources
    cpus = request.cpus_per_worker if cpus is None else cpus
    return request.runner or RayRunner(resources.workers, resources.gpus_per_worker or 0.0, cpus)


def _cpus_alone(request: StudyRequest) -> int:
    """CPUs of a worker while no trial runs."""
    return max(request.cpus_per_worker, cluster_info().cpus_for(request.options.resources.workers))


def _make_shared(request: StudyRequest, on_event: OnStudyEvent, halt: Halt) -> None:
    shared = shared_stages(request.experiment, request.space)
    for offset in range(request.seeds if shared else 0):
        experiment = request.experiment.of_seed(offset)
        run(
            experiment,
            request.store,
            runner_of(request, _cpus_alone(request)),
            interruptible(lambda event: on_event(SharedStage(event)), halt.look, experiment),
            until=experiment.stages[request.experiment.stages.index(shared[-1])],
        )


def _warn_outside(request: StudyRequest, on_event: OnStudyEvent) -> None:
    for path in default_params(request.space, request.experiment.config)[1]:
        value = look_up(request.experiment.config, path)
        on_event(Warned(f"{path}: the default {value!r} lies outside its axis; trial 0 runs it all the same"))


def _run_trials(
    request: StudyRequest, folder: StudyFolder, at_once: int, started: float, on_event: OnStudyEvent, halt: Halt
) -> None:
    budget, retries = request.options.budget.limits, request.options.resources.retries
    searcher = StudySearcher(
        folder,
        request.levels.outer,
        request.experiment.config,
        request.options,
        pruner=make_pruner(request.rungs, request.options.search.reduction),
        started=started,
        on_finish=lambda number: _finished(request, folder, number, on_event),
        halt=halt,
    )
    missing = request.trials - len(folder.finished())
    if missing <= 0:
        return
    if len(request.objectives) > 1:
        on_event(Warned(f"several objectives ({', '.join(request.objectives)}): no trial is stopped early"))
    on_event(_state(request, folder))
    plan = TrialPlan(
        experiment=request.experiment,
        storage=request.store.root,
        study=folder.folder,
        runner=runner_of(request),
        objective=request.objective,
        objectives=request.objectives,
        rungs=request.rungs,
        levels=request.levels,
        search=request.options.search,
        retries=retries,
        max_failures=request.store.max_failures,
    )
    scratch = folder.folder / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(run_trial, plan=plan), ray_tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY}])
    )
    progress = Progress(searcher, on_event, halt)
    searcher.why_died = progress.why_died
    with _quiet(), memory_deaths_survived(), searcher.handing_over():
        ray_tune.Tuner(
            trainable,
            tune_config=ray_tune.TuneConfig(
                search_alg=searcher,
                num_samples=missing,
                max_concurrent_trials=at_once,
                reuse_actors=True,  # the next trial finds the packages imported
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:04d}-{trial.trial_id}",
            ),
            run_config=ray_tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                failure_config=ray_tune.FailureConfig(max_failures=retries),
                callbacks=[progress],
            ),
        ).fit()
    shutil.rmtree(scratch, ignore_errors=True)
    if halt.wanted:
        return
    if len(folder.finished()) < request.trials and searcher.out_of_time:
        on_event(Warned(f"{budget.hours:g} hours are over; the same command goes on where it stopped"))
    elif len(folder.finished()) < request.trials and searcher.out_of_gpu_hours:
        on_event(Warned(f"{budget.gpu_hours:g} GPU-hours are used up; a larger --budget goes on where it stopped"))
    elif len(folder.finished()) < request.trials:
        raise RunError(f"Ray Tune ended after {len(folder.finished())} of {request.trials} trials; run it again")


def _finished(request: StudyRequest, folder: StudyFolder, number: int, on_event: OnStudyEvent) -> None:
    """After each trial: the table, the best config, and two events."""
    rows = folder.write_tables(request.experiment.config)
    row = rows[number]
    on_event(TrialFinished(number, row.state, row.objective, row.fixed, row.seconds, row.reason, row.key))
    other = twin(folder, number)
    if other is not None:
        on_event(
            Warned(
                f"trials {other} and {number} trained different configs to identical losses: "
                "something that was sampled is not used"
            )
        )
    on_event(_state(request, folder))


def _state(request: StudyRequest, folder: StudyFolder) -> StudyState:
    best = folder.best()
    return StudyState(
        finished=len(folder.finished()),
        total=None if request.trials == UNLIMITED else request.trials,
        running=len(folder.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))),
        best=None if best is None else best.number,
        objective=None if best is None else best.values[0],
    )


def twin(folder: StudyFolder, number: int) -> int | None:
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
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is heard by `interrupts`
    }
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with environment(wanted):
            yield
    finally:
        logger.setLevel(level)
