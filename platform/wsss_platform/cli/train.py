"""`train`: a method's networks, and with `--until` what comes after them."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_platform.api._train import plan_training
from wsss_platform.cli.options import MethodName, method_of, settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out, data_from
from wsss_platform.config.options import group
from wsss_platform.config.recipes import Recipe
from wsss_platform.config.verb_options import DataOptions, TrainOptions


@dataclass(frozen=True)
class Options:
    """Of `train`."""

    data: DataOptions = group(DataOptions)
    train: TrainOptions = group(TrainOptions)


@verb("train", Options)
def train(method: MethodName = None, *, options: Options, recipe: Recipe, out: Output) -> None:
    """Train a method with Ray Train; `--until score` also makes and scores its pseudo masks."""
    changes = settings(options.train.method.changes)
    planned = plan_training(method_of(method, recipe), data_from(options.data), changes, options.train, recipe)
    carried_out(planned, options.train.output.dry_run, out)
