"""`train`: a method's networks, and with `--until` what comes after them."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_platform.api._train import plan_training
from wsss_platform.cli.options import MethodName, method_of, settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out, data_from, workers_of
from wsss_platform.config.options import group, option
from wsss_platform.config.recipes import Recipe
from wsss_platform.config.verb_options import (
    DataOptions,
    MethodOptions,
    OutputOptions,
    ResourceOptions,
    StorageOptions,
)


@dataclass(frozen=True)
class TrainOptions:
    """Of `train`."""

    data: DataOptions = group(DataOptions)
    method: MethodOptions = group(MethodOptions)
    until: str = option("train", "End with this stage: train, maps, masks or score.", "Method", metavar="STAGE")
    weights: list[str] | None = option(
        None,
        "Take a phase's weights from a file (import-weights, or another weights.pt) instead of training it.",
        "Method",
        metavar="PHASE=FILE",
    )
    resources: ResourceOptions = group(ResourceOptions)
    local: bool = option(False, "Use one process, without Ray; the same bytes with one worker.", "Resources")
    storage: StorageOptions = group(StorageOptions)
    output: OutputOptions = group(OutputOptions)


@verb("train", TrainOptions)
def train(method: MethodName = None, *, options: TrainOptions, recipe: Recipe, out: Output) -> None:
    """Train a method with Ray Train; `--until score` also makes and scores its pseudo masks."""
    planned = plan_training(
        method_of(method, recipe),
        data_from(options.data),
        settings(options.method.changes),
        until=options.until,
        seed=options.method.seed,
        name=options.storage.name,
        storage=options.storage.storage,
        workers=workers_of(options.resources.workers, options.local),
        preset=options.method.preset,
        weights=options.weights,
        gpus_per_worker=options.resources.gpus_per_worker,
        max_failures=options.resources.max_failures,
        wandb=options.output.wandb,
        recipe=recipe,
    )
    carried_out(planned, options.output.dry_run, out)
