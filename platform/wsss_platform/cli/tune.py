"""`tune`: search a method's settings. The same command continues, a larger --trials adds trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from wsss_platform.api._tune import plan_study
from wsss_platform.cli import search
from wsss_platform.cli.options import MethodName, method_of, settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import data_from
from wsss_platform.config.options import build, flat, group
from wsss_platform.config.recipes import Recipe
from wsss_platform.config.verb_options import DataOptions, MethodOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.study import study_plan, study_result
from wsss_platform.search.masks.options import RunSearchOptions
from wsss_platform.tune.options import StudyOptions


@dataclass(frozen=True)
class TuneOptions:
    """Of `tune`."""

    data: DataOptions = group(DataOptions)
    method: MethodOptions = group(MethodOptions)
    study: StudyOptions = group(StudyOptions)


Images = Annotated[int | None, typer.Option("--images", "--pictures", hidden=True)]
Confirm = Annotated[int | None, typer.Option("--confirm", hidden=True)]


@verb("tune", TuneOptions)
def tune(
    method: MethodName = None,
    images: Images = None,
    confirm: Confirm = None,
    *,
    options: TuneOptions,
    recipe: Recipe,
    out: Output,
) -> None:
    """Search a method's loss weights, sampling ratios and thresholds with Ray Tune and Optuna.

    Rarer options (algorithm, early stopping, objectives, retries, database) stand in the
    study table of a recipe; docs/options.md lists them.
    """
    wanted, study = method_of(method, recipe), options.study
    if search.is_run(study.storage.storage, wanted):
        _search(wanted, options, images, confirm, out)
        return
    planned = plan_study(
        wanted,
        data_from(options.data),
        settings(options.method.changes),
        seed=options.method.seed,
        preset=options.method.preset,
        options=study,
        recipe=recipe,
    )
    if study.output.dry_run:
        plan = planned.document()
        out.result(plan, *study_plan(plan))
        return
    found = planned.run()
    document = found.document()
    out.result(document, *study_result(document, wanted, found.request.asked, study.storage.storage))


def _search(run: str, options: TuneOptions, images: int | None, confirm: int | None, out: Output) -> None:
    """`tune RUN`, the old form of `search RUN`."""
    study = options.study
    taken = {
        "trials": study.search.trials,
        "space": study.search.space,
        "images": images,
        "confirm": confirm,
        "changes": options.method.changes,
        "split": options.data.score_split,
        "seed": options.method.seed,
        "threads": study.resources.concurrent,
        "storage": study.storage.storage,
        "name": study.storage.name,
        "dry_run": study.output.dry_run,
        "as_json": study.output.as_json,
        "quiet": study.output.quiet,
    }
    settled = (*taken, "score_split", "concurrent", "wandb")
    defaults = flat(TuneOptions())
    for name, value in flat(options).items():
        if name not in settled and value != defaults[name]:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag}: run {run!r} has its own; a search of its stored maps takes --set masks.* only", field=flag
            )
    given = {name: value for name, value in taken.items() if value is not None}
    search.searched(run, build(RunSearchOptions, given), {}, out)
