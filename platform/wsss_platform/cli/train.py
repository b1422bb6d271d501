"""`train`: a method's networks, and with `--until` what comes after them."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import output

Until = Annotated[str, typer.Option("--until", help="Last stage: train, maps, masks or score.")]


def train(
    method: options.MethodName,
    data: options.Data = "sample",
    root: options.Root = "",
    train_list: options.TrainList = None,
    score_list: options.ScoreList = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    weights: options.Weights = None,
    until: Until = "train",
    storage: options.Storage = options.STORAGE,
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    name: options.Name = None,
    wandb: options.Wandb = "auto",
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train a method with Ray Train; `--until score` also makes and scores its pseudo masks."""
    from wsss_platform.api import experiments
    from wsss_platform.api.runs import default_name
    from wsss_platform.cli.stages import execute
    from wsss_platform.plan.protocol import strongest
    from wsss_platform.store.artefacts import Store, check_name

    with output(as_json) as out:
        experiment = experiments.build_experiment(
            method,
            data=data,
            root=root,
            train_list=train_list,
            score_list=score_list,
            preset=preset,
            file=config,
            changes=[*(changes or []), *experiments.taken(weights)],
            seed=seed,
            workers=workers,
        )
        execute(
            out,
            experiment,
            Store(storage, max_failures),
            check_name(name or default_name(experiment)),
            until,
            local=local,
            gpus_per_worker=gpus_per_worker,
            wandb=wandb,
            dry_run=dry_run,
            selection=strongest(experiments.chosen_with(config), experiments.check_released(experiment)),
        )
