"""`compare`: methods side by side on the same pictures and seeds; the same command continues where it stopped."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from wsss_platform.api import experiments
from wsss_platform.api.recording import Recording
from wsss_platform.api.runners import runner
from wsss_platform.cli import options
from wsss_platform.cli.output import StageBars, console, note, output
from wsss_platform.config import fingerprint
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.documents import ComparisonPlan, PlannedRun
from wsss_platform.plan.experiment import Experiment, Stage, needed
from wsss_platform.plan.jobs import Runner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store, check_name

if TYPE_CHECKING:
    from wsss_platform.report.comparison import ScoredArm, Where

Arms = Annotated[
    list[str],
    typer.Argument(
        metavar="ARM...",
        help="METHOD, METHOD,path=value,... or LABEL=METHOD,path=value,...; the first is what the others are held to.",
    ),
]


def compare(
    arms: Arms,
    data: options.Data = "sample",
    root: options.Root = "",
    train_list: options.TrainList = None,
    score_list: options.ScoreList = None,
    seeds: Annotated[str, typer.Option("--seeds", help="A number of seeds, or a list such as 0,2,5 (one: 2,).")] = "3",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            help="best: each run's maps where its sweep is best; masks: as made; background: each where it takes as "
            "much of the background as the first arm does where that is best (as nearly as its sweep allows).",
            metavar="AT",
        ),
    ] = "best",
    preset: options.Preset = None,
    changes: options.Set = None,
    pictures: Annotated[int, typer.Option("--pictures", help="Pictures to draw where the arms differ.", min=0)] = 6,
    storage: options.Storage = options.STORAGE,
    workers: options.Workers = 1,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    name: options.Name = None,
    wandb: options.Wandb = "auto",
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train and score several methods over several seeds; a table with paired intervals, bars and pictures."""
    from wsss_platform.report.comparison_folder import summarise, write
    from wsss_platform.report.tables.comparison import AT, comparison_plan, comparison_result

    if at not in AT:
        raise unknown("--at", at, list(AT))
    numbers = _seeds(seeds)
    with output(as_json) as out:
        planned: dict[str, tuple[Experiment, ...]] = {}
        for text in arms:
            label, method, own = parse_arm(text)
            if label in planned:
                raise InputError(f"two arms are called {label!r}; write LABEL=METHOD,path=value,... to tell them apart")
            try:
                first = experiments.build_experiment(
                    method,
                    data=data,
                    root=root,
                    train_list=train_list,
                    score_list=score_list,
                    preset=preset,
                    file=None,
                    changes=[*(changes or []), *own],
                    seed=numbers[0],
                    workers=workers,
                )
            except InputError as error:
                raise InputError(f"{error} (in arm {label!r})") from None
            planned[label] = tuple(replace(first, seed=seed) for seed in numbers)
        _check_truth(planned)
        store = Store(storage, max_failures)
        keys = sorted(experiment.key for arm in planned.values() for experiment in arm)
        title = check_name(name or _title(planned, data, fingerprint(keys)[:8]), "comparison name")
        where = cast("Where", at)
        if dry_run:
            plan = _plan(title, planned, store, where)
            out.result(plan, comparison_plan(plan))
            return
        _run(planned, store, title, wandb, where, runner(local=local, workers=workers, gpus_per_worker=gpus_per_worker))
        scored = _scored(planned, store, where)
        folder = store.root / "comparisons" / (title if at == "best" else f"{title}-{at}")
        document = summarise(title, folder, scored, where)
        write(document, scored, pictures)
        out.result(document, *comparison_result(document))


def parse_arm(text: str) -> tuple[str, str, list[str]]:
    """`LABEL=METHOD,path=value,...` -> (label, method, assignments); the label defaults to the text itself.

    Commas inside brackets belong to a value: `maps.scales=[1.0,2.0]`.
    """
    items, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            items.append("")
        else:
            items[-1] += letter
    head, *assignments = [item.strip() for item in items]
    label, equals, method = head.partition("=")
    if not equals:
        label, method = text.strip(), head
    if not method or any("=" not in item for item in assignments):
        raise InputError(f"arm {text!r}: expected METHOD, or LABEL=METHOD,path=value,...")
    return label.strip(), method.strip(), assignments


def _seeds(text: str) -> list[int]:
    try:
        found = [int(item) for item in text.removesuffix(",").split(",")] if "," in text else list(range(int(text)))
    except ValueError:
        found = []
    if not found or min(found) < 0 or len(set(found)) != len(found):
        raise InputError(f"--seeds {text!r}: expected a number of seeds, or different numbers such as 0,2,5")
    return found


def _check_truth(planned: dict[str, tuple[Experiment, ...]]) -> None:
    """Differences are paired over pictures, so all arms must be scored with the same truth."""
    (first, *_), *others = planned.values()
    for label, (other, *_) in zip(list(planned)[1:], others, strict=True):
        if other.truth_fingerprint(other.data.score_list) != first.truth_fingerprint(first.data.score_list):
            raise InputError(
                f"arm {label!r} is scored on other pictures or another truth than {next(iter(planned))!r}; expected "
                "the same for all arms (--data, --score-list and --set data. count for each of them)"
            )


def _title(planned: dict[str, tuple[Experiment, ...]], data: str, digest: str) -> str:
    """A name for a folder from labels that may hold settings."""
    labels = re.sub(r"(?:[^A-Za-z0-9_+.]|\.\.)+", "-", "-".join(planned))[:60].strip("+._-")
    return f"{labels or 'arms'}-{data}-{digest}"


def _missing(experiment: Experiment, store: Store, at: Where) -> list[Stage]:
    """The stages that must run for the score and for what is looked at beside it."""
    from wsss_platform.report.comparison import looked_at

    stages = experiment.stages
    wanted = [stage.key for end in (stages[-1], looked_at(experiment, at)) for stage in needed(stages, store, end)]
    return [stage for stage in stages if stage.key in wanted]


def _plan(title: str, planned: dict[str, tuple[Experiment, ...]], store: Store, at: Where) -> ComparisonPlan:
    """What would run."""
    runs = []
    for label, runs_of in planned.items():
        for experiment in runs_of:
            todo = tuple(stage.name for stage in _missing(experiment, store, at))
            stored = len(experiment.stages) - len(todo)
            run = PlannedRun(arm=label, seed=experiment.seed, run=todo, stored=stored, key=experiment.key)
            runs.append(run)
    return ComparisonPlan(comparison=title, runs=tuple(runs))


def _run(
    planned: dict[str, tuple[Experiment, ...]],
    store: Store,
    title: str,
    wandb: str,
    at: Where,
    engine: AbstractContextManager[Runner],
) -> None:
    """Every run of which something is not in the store, seed by seed, each with its own record."""
    from wsss_platform.report.comparison import looked_at

    todo = [
        (f"{title}-{place}-{experiment.seed}", label, experiment)
        for place, (label, runs_of) in enumerate(planned.items())
        for experiment in runs_of
        if _missing(experiment, store, at)
    ]
    todo.sort(key=lambda item: item[2].seed)
    if not todo:
        note("every run is in the store")
        return
    with engine as where:
        for number, (run_name, label, experiment) in enumerate(todo, 1):
            console.print(f"run {number} of {len(todo)}: {label}, seed {experiment.seed}")
            with Recording(experiment, store, run_name, wandb) as recording, StageBars() as bars:
                recording.run(where, experiment.stages[-1], bars)
                looked = looked_at(experiment, at)
                if needed(experiment.stages, store, looked):  # scored before, and dropped since
                    run(experiment, store, where, bars, until=looked)


def _scored(planned: dict[str, tuple[Experiment, ...]], store: Store, at: Where) -> list[ScoredArm]:
    from rich.markup import escape
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    from wsss_platform.report.comparison import Arm, score_arms

    scored = score_arms([Arm(label, runs_of) for label, runs_of in planned.items()], store, at)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for arm in scored:
            task = progress.add_task(f"looking at {escape(arm.arm.label)}", total=len(arm.ids) * len(arm.scores))
            arm.count_effects(partial(progress.advance, task))
    return scored
