"""One trial of a study: a Tune function that runs the pipeline, with its trainings nested in it.

A trial that is to stop early is not killed. Tune's way, killing the trial's process, leaves the placement
group of the Ray Train run inside it behind when Ray's state API cannot be reached, and the leaked CPUs stall
the study. Here the driver leaves a stop file; the trial sees it at the end of an epoch and ends its
training itself, so that the resources are back before the next trial asks for them.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from ray import tune

from wsss_platform.config import canonical, look_up
from wsss_platform.data.part import spread
from wsss_platform.engine.trainer import checkpoint_of
from wsss_platform.errors import InputError, RunError
from wsss_platform.method import Phase
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.plan.jobs import METRICS, WEIGHTS, Chunk, EpochEnd, Runner, TrainJob
from wsss_platform.run.interrupts import Interrupted, interruptible
from wsss_platform.run.pipeline import Event, OnEvent, StageProgress, run
from wsss_platform.search.levels import Levels
from wsss_platform.search.masks.searches import choose
from wsss_platform.store.artefacts import Store
from wsss_platform.store.disk import fault_behind
from wsss_platform.tune.halting import halt_file
from wsss_platform.tune.identity import BEST
from wsss_platform.tune.objectives import SINGLE
from wsss_platform.tune.options import SearchOptions
from wsss_platform.tune.study import stop_file
from wsss_platform.tune.trial_costs import measured


@dataclass(frozen=True)
class TrialPlan:
    """What all trials of a study have in common; picklable."""

    experiment: Experiment
    """The default config's."""
    storage: Path
    study: Path
    """The study's folder."""
    runner: Runner
    search: SearchOptions
    objective: str
    """`BEST` or `MASKS`."""
    rungs: tuple[int, ...]
    """Finished epochs of the last phase after which a trial is scored; empty: never stopped early."""
    retries: int
    objectives: tuple[str, ...] = SINGLE
    levels: Levels | None = None
    """With settings: a trial's masks are searched within it."""
    max_failures: int = 0
    """Images that may fail in a stage."""


class TrialStopped(Exception):
    """The driver wants this trial to stop early."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped early at epoch {epoch}")
        self.epoch = epoch


class NotAppliedError(RunError):
    """The training did not use a value that was sampled."""


def run_trial(config: dict[str, Any], plan: TrialPlan) -> None:
    """Tune's trainable. Every way it can end is a report; only a dying process is left to Tune.

    Args:
        config: {"number": int, "changes": JSON text of dotted path -> value}.
        plan: what all trials have in common.
    """
    number, changes = int(config["number"]), json.loads(config["changes"])
    started = time.monotonic()
    reason = ""
    for attempt in range(1, plan.retries + 2):
        try:
            _stop_if_told(plan, number)  # its last driver died after it had decided
            if halt_file(plan.study).exists():
                raise Interrupted
            result = _run(plan, number, changes)
        except TrialStopped as stop:
            result = {"event": "stopped", "epoch": stop.epoch}
        except Interrupted:
            result = {"event": "halted", "fault": ""}
        except Exception as error:  # noqa: BLE001  # whatever a method raises is this trial's failure, not the study's
            reason = str(error) if isinstance(error, InputError | RunError) else f"{type(error).__name__}: {error}"
            fault = fault_behind(reason, plan.storage)
            if fault is None and isinstance(error, InputError | NotAppliedError):  # would fail the same way again
                break
            if fault is None:
                continue
            result = {"event": "halted", "fault": fault}
        tune.report({**result, "seconds": round(time.monotonic() - started, 3), "attempts": attempt})
        return
    seconds = round(time.monotonic() - started, 3)
    tune.report({"event": "failed", "reason": reason[:2000], "seconds": seconds, "attempts": attempt})


def _stop_if_told(plan: TrialPlan, number: int) -> None:
    """TrialStopped when the driver decided to stop the trial at some epoch."""
    try:
        epoch = int(stop_file(plan.study, number).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    raise TrialStopped(epoch)


def _run(plan: TrialPlan, number: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    store, runs, experiments = Store(plan.storage, plan.max_failures), [], []
    inner = plan.levels if plan.levels is not None and plan.levels.settings else None
    traces: list[list[EpochEnd]] = []
    for offset in range(plan.search.seeds):
        seeded = plan.experiment.of_seed(offset)
        experiment = seeded.with_changes(changes, f"trial {number}")
        experiments.append(experiment)
        on_event = _watcher(plan, number, changes, experiment, offset)
        if inner is not None:
            run(experiment, store, plan.runner, on_event, until=experiment.stage("maps"))
        else:
            runs.append(_scored(experiment, store, plan.runner, on_event))
        for stage in (stage for stage in experiment.stages if stage.kind == "train"):
            traces.append(_epochs(store, stage))
            for end in traces[-1]:
                check_applied(changes, experiment, end)
    found: dict[str, Any] = {}
    key = experiments[0].stage("train").key
    if inner is not None:
        choice = choose(experiments, inner, store, plan.runner, plan.study, halt_file(plan.study).exists)
        found = {"inner": json.dumps(choice.changes), "settings": inner.settings}
        experiments = [one.with_changes(choice.changes, f"trial {number}") for one in experiments]
        for offset, one in enumerate(experiments):
            runs.append(_scored(one, store, plan.runner, _watcher(plan, number, changes, one, offset)))
    values = pooled(runs, plan.objective) | found | measured(experiments, store, plan.objectives)
    return {"event": "finished", **values, "train_key": key, "trace": trace(traces)}


def _watcher(plan: TrialPlan, number: int, changes: Mapping[str, Any], experiment: Experiment, offset: int) -> OnEvent:
    """What a run of a trial does at the end of each epoch: prove what was applied, report it, stop when asked."""
    store, last = Store(plan.storage, plan.max_failures), experiment.phases[-1].name

    def on_event(event: Event) -> None:
        if not isinstance(event, StageProgress) or event.epoch is None:
            return
        check_applied(changes, experiment, event.epoch)
        phase, epoch = event.stage.phase.name, event.epoch.epoch
        shown = phase if offset == 0 else f"{phase} seed {experiment.seed}"
        tune.report({"event": "epoch", "phase": shown, "end": asdict(event.epoch)})
        if offset == 0 and phase == last and epoch in plan.rungs and epoch < event.epoch.epochs:
            value = rung_value(experiment, event.stage, store, epoch, plan.search.rung_images)
            if value is not None:
                tune.report({"event": "rung", "epoch": epoch, "value": value})  # returns when the driver decided
        _stop_if_told(plan, number)

    return interruptible(on_event, halt_file(plan.study).exists, experiment)


def _scored(experiment: Experiment, store: Store, runner: Runner, on_event: OnEvent) -> dict[str, Any]:
    """One run's numbers with the ground truth of its scored split: its key and its score's summary."""
    outcome = run(experiment, store, runner, on_event)
    assert outcome.score is not None
    return {"key": experiment.key, "score": outcome.score}


def pooled(runs: Sequence[Mapping[str, Any]], objective: str) -> dict[str, Any]:
    """A trial's numbers from those of its runs, one per seed.

    The threshold is one for all seeds: the best of the mean of their curves. A seed without a number gives none.

    Args:
        runs: of each seed {"key", "score"}.
        objective: `BEST` or `MASKS`.
    """
    scores = [item["score"] for item in runs]
    masks = [number_or_nan(score["mean_iou"]) for score in scores]
    if len(scores) == 1:
        threshold, best = best_of(scores[0])
        swept = [best]
    else:
        curves = np.array([score["sweep"]["mean_iou"] for score in scores], dtype=np.float64)  # null becomes nan
        mean = curves.mean(0)
        place = int(np.nanargmax(mean)) if not np.isnan(mean).all() else 0
        threshold, best = float(scores[0]["sweep"]["thresholds"][place]), float(mean[place])
        swept = curves[:, place].tolist()
    fixed = fmean(masks)
    return {
        "objective": best if objective == BEST else fixed,
        "fixed": fixed,
        "threshold": threshold,
        "key": runs[0]["key"],
        **_spread(swept if objective == BEST else masks),
        **({"keys": [item["key"] for item in runs]} if len(runs) > 1 else {}),
    }


def _spread(each: Sequence[float]) -> dict[str, Any]:
    """Of several seeds: each one's objective, and their sample standard deviation."""
    if len(each) == 1:
        return {}
    plain = [None if math.isnan(value) else float(value) for value in each]
    return {"each": plain, "spread": float(np.std(each, ddof=1))}


def best_of(summary: Mapping[str, Any]) -> tuple[float, float]:
    """The sweep's best (threshold, mean IoU) of a score's summary; NaN where nothing could be scored."""
    sweep = summary["sweep"]
    return number_or_nan(sweep["best_threshold"]), number_or_nan(sweep["best_mean_iou"])


def number_or_nan(value: float | None) -> float:
    """JSON's null as NaN."""
    return math.nan if value is None else float(value)


def check_applied(changes: Mapping[str, Any], experiment: Experiment, end: EpochEnd) -> None:
    """Compare what a training says it used with what was sampled.

    Raises:
        NotAppliedError: a value in use differs from the sampled one.
    """
    for path in changes:
        if path not in end.applied:
            continue
        wanted, used = look_up(experiment.config, path), end.applied[path]
        numbers = isinstance(wanted, (int, float)) and isinstance(used, (int, float))
        if not (math.isclose(wanted, used, rel_tol=1e-6, abs_tol=1e-12) if numbers else wanted == used):
            raise NotAppliedError(f"{path}: {wanted!r} was sampled, but the training used {used!r}")


def trace(trainings: list[list[EpochEnd]]) -> str:
    """Hash of the unweighted losses of all epochs; equal for different configs when one was ignored."""
    losses = [
        [{name: float(value) for name, value in end.losses.items() if name != "total"} for end in epochs]
        for epochs in trainings
    ]
    return hashlib.sha256(canonical(losses).encode()).hexdigest()


def _epochs(store: Store, stage: Stage) -> list[EpochEnd]:
    from wsss_platform.train.record import read_epochs

    return read_epochs(store.folder("train", stage.key) / METRICS)


def quick_look(experiment: Experiment, phase: Phase) -> Experiment:
    """The experiment whose maps are made at one scale without flip, and its masks without CRF."""
    sizes = experiment.maps_config(phase).sizes
    one_view = {"scales": [1.0], "sizes": sizes[len(sizes) // 2 :][:1], "flip": False}
    changes = {f"{phase.maps}.{name}": value for name, value in one_view.items()}
    return experiment.with_changes({**changes, f"{phase.masks}.crf": "none"}, "rung")


def rung_value(experiment: Experiment, stage: Stage, store: Store, epoch: int, images: int) -> float | None:
    """Best mean IoU 0..1 of the sweep after some epochs, on a few images of the scored split.

    Unlike the loss, whose weights are what the study changes, it can be compared between trials. It is made
    from the epoch's checkpoint by the same code as the final score, at one scale without flip.

    Returns:
        None when the epoch's checkpoint is gone (epochs that end faster than they can be read).
    """
    from wsss_platform.run.chunks.maps import MapsWork
    from wsss_platform.run.chunks.masks import MasksWork
    from wsss_platform.run.chunks.score import ScoreWork
    from wsss_platform.scores.score import Score
    from wsss_platform.train.checkpoint import export_weights

    phase = stage.phase
    checkpoint = checkpoint_of(store.partial("train", stage.key), epoch)
    if checkpoint is None:
        return None
    quick = quick_look(experiment, phase)
    name = experiment.data.score_list
    chunk = Chunk(0, spread(experiment.dataset.split(name).ids, images))
    with tempfile.TemporaryDirectory(prefix="wsss-rung-") as text:
        folder = Path(text)
        weights = folder / WEIGHTS
        try:
            export_weights(checkpoint, weights, TrainJob(quick, phase, stage.key))
        except InputError:
            if checkpoint_of(store.partial("train", stage.key), epoch) is None:  # replaced while it was read
                return None
            raise
        for work in (
            MapsWork(quick, phase, name, folder, weights),
            MasksWork(quick, phase, name, folder, folder),
            ScoreWork(quick, phase, name, folder, folder, folder),
        ):
            failures = work(chunk).failures
            if failures:
                raise InputError("; ".join(reason for _, reason in failures))
        summary = Score.read(folder).summary()
    return best_of(summary)[1]
