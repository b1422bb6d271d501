"""Train a method, and with `until` what comes after."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._data import Data, data_of
from wsss_platform.api._run import Run
from wsss_platform.config.options import taken
from wsss_platform.config.verb_options import TrainOptions
from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.config.recipes import Recipe
    from wsss_platform.plan.documents import RunPlan
    from wsss_platform.plan.experiment import Experiment, Stage
    from wsss_platform.plan.protocol import Selection
    from wsss_platform.store.artefacts import Store

log = logging.getLogger(__name__)

FINISHING = "finishing: ends after the current epoch or chunk of images, and keeps it"


@dataclass(frozen=True)
class PlannedRun:
    """A run that can begin; everything that could be checked was."""

    experiment: Experiment
    store: Store
    name: str
    until: Stage
    local: bool
    gpus_per_worker: float | None
    producers: int | None
    wandb: str
    selection: Selection
    command: tuple[str, ...] = ()
    """For the record; none: what started this process."""
    wandb_images: int = 0
    """How many worst, best and random images W&B gets."""

    def document(self) -> RunPlan:
        """What would run, what is in the store, what it costs. Starts nothing."""
        from wsss_platform.api.plans import plan_document

        return plan_document(self.name, self.experiment, self.store, self.until, self.gpus_per_worker)

    def run(self, progress: bool = True) -> Run:
        """Do it, with records, and progress on standard error."""
        from wsss_platform.api.recording import Recording
        from wsss_platform.plan.experiment import needed
        from wsss_platform.report.progress import shown_log
        from wsss_platform.store.disk import explained

        with (
            shown_log(progress),
            explained(self.store.root),
            Recording(
                self.experiment,
                self.store,
                self.name,
                self.wandb,
                self.selection,
                command=self.command,
                images=self.wandb_images,
            ) as recording,
        ):
            if needed(self.experiment.stages, self.store, self.until):
                outcome = self._make(recording, progress)
            else:
                log.info("everything is in the store")
                outcome = recording.run(None, self.until, lambda event: None)
            return Run(self.experiment, self.store, self.name, recording.result(outcome, self.until))

    def _make(self, recording: Any, progress: bool) -> Any:
        from wsss_platform.api.runners import runner
        from wsss_platform.report.progress import StageBars
        from wsss_platform.run.interrupts import Interrupts, interruptible
        from wsss_platform.store.disk import check_writable

        check_writable(self.store.root)
        engine = runner(
            local=self.local,
            workers=self.experiment.workers,
            gpus_per_worker=self.gpus_per_worker,
            producers=self.producers,
        )
        bars: Any = StageBars() if progress else nullcontext(lambda event: None)
        with Interrupts(FINISHING) as interrupts, engine as where, bars as view:
            return recording.run(where, self.until, interruptible(view, interrupts.asked, self.experiment))


def plan_training(
    method: str,
    data: Data | str | Path | None,
    settings: Mapping[str, Any] | str | Path | None,
    options: TrainOptions,
    recipe: Recipe | None = None,
) -> PlannedRun:
    """What `train` does before it starts; `recipe` is one that was read."""
    from wsss_platform.api import experiments
    from wsss_platform.api.runs import default_name, last_stage
    from wsss_platform.plan.protocol import strongest
    from wsss_platform.store.artefacts import Store, check_name

    resources = options.resources
    resources.check_local()
    changes, recipe = settings_of(settings, recipe)
    experiment = experiments.build_experiment(
        method,
        data_of(data),
        {**changes, **experiments.released(options.weights)},
        preset=options.method.preset,
        recipe=recipe,
        seed=options.method.seed,
        workers=resources.workers,
    )
    return PlannedRun(
        experiment=experiment,
        store=Store(options.storage.storage, resources.max_failures),
        name=check_name(options.storage.name or default_name(experiment)),
        until=last_stage(experiment, options.until),
        local=resources.local,
        gpus_per_worker=resources.gpus_per_worker,
        producers=None,
        wandb=options.output.wandb,
        selection=strongest(experiments.chosen_in(recipe), experiments.check_released(experiment)),
        wandb_images=options.wandb_images,
    )


def workers_or_local(workers: int | None) -> dict[str, Any]:
    """`workers` of Python's functions as options: None is this process alone."""
    return {"local": True} if workers is None else {"workers": workers}


def settings_of(
    given: Mapping[str, Any] | str | Path | None, recipe: Recipe | None = None, verb: str = "train"
) -> tuple[Mapping[str, Any], Recipe]:
    """Settings by path, and what a file of settings (such as a study's best.toml) or a recipe says below them.

    Raises:
        InputError: a file that says more than settings, which are arguments here.
    """
    from wsss_platform.config.recipes import Recipe, read_recipe

    if not isinstance(given, str | Path):
        return given or {}, recipe or Recipe()
    found = read_recipe(Path(given), verb)
    for name in (*found.options, *(["method"] if found.method else [])):
        raise InputError(f"{given}: {name}: expected settings alone; give {name} as an argument", field=name)
    return {}, found


def train(
    method: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    *,
    until: str = "train",
    seed: int = 0,
    name: str | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    preset: str | None = None,
    weights: Mapping[str, str | Path] | None = None,
    gpus_per_worker: float | None = None,
    max_failures: int = 0,
    wandb: str | None = None,
    wandb_images: int = 0,
    progress: bool = True,
) -> Run:
    """Train a method, and with `until` make its CAMs and pseudo masks and score them.

    What is in the storage folder already is cached, and a call that was interrupted continues where it stopped.

    Args:
        method: of `wsss-platform methods`, such as "fbr", or module:ATTRIBUTE of another package.
        data: `wsss.sample()`, `wsss.voc12(...)` or another data set, or a folder; None: the built-in sample.
        settings: dotted path -> value, such as {"loss.contrast": 0.05}, or a TOML file of settings, such as the
            `best_config` of a study.
        until: last stage: "train", "maps", "masks" or "score".
        seed: random seed of initial weights and crops.
        name: of the run; None: method, data and a hash of the settings.
        storage: folder of stages, runs and studies; None: the variable WSSS_STORAGE, else wsss-storage.
        workers: None trains in this process, without Ray; 1 or more are processes of Ray Train.
        preset: a shipped partial config, such as "paper"; None: "sample" on the sample.
        weights: phase -> file of weights that stand in for its training.
        gpus_per_worker: with `workers`; None: 1 where there are GPUs.
        max_failures: images that may fail in maps, masks and scores; they are listed with the reason.
        wandb: "auto" (online when logged in), "online", "offline" or "disabled"; None: the variable WSSS_WANDB, else
            "auto".
        wandb_images: how many worst, best and random images W&B gets; none unless asked.
        progress: bars and notes on standard error.

    Returns:
        The run: `.score`, `.maps`, `.mask(...)`, `.show()`.

    Raises:
        InputError: something that was given is wrong; said before anything starts.
        RunError: the training failed, such as by a loss that is not finite.
    """
    given = {
        "until": until,
        "seed": seed,
        "name": name,
        "storage": storage,
        "preset": preset,
        "weights": None if weights is None else [f"{phase}={file}" for phase, file in weights.items()],
        "gpus_per_worker": gpus_per_worker,
        "max_failures": max_failures,
        "wandb": wandb,
        "wandb_images": wandb_images,
        **workers_or_local(workers),
    }
    planned = plan_training(method, data, settings, taken(TrainOptions, given))
    return replace(planned, command=("wsss.train", method)).run(progress)
