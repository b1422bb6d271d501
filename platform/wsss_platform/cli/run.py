"""`train`, `maps`, `masks`, `score`: one run, stage by stage or all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from wsss_platform.cli import options
from wsss_platform.cli.engine import runner
from wsss_platform.cli.output import Output, StageBars, console, note, output
from wsss_platform.config import fingerprint
from wsss_platform.disk import check_writable, explained
from wsss_platform.errors import InputError, unknown
from wsss_platform.experiment import Experiment, Kind, Stage, needed
from wsss_platform.interrupts import Interrupts, interruptible
from wsss_platform.protocol import Selection, strongest
from wsss_platform.sharing import Sharing
from wsss_platform.store import Store, check_name

Producers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes for maps, masks and counts; default: what there is room for.", min=1),
]
Also = Callable[[Experiment], tuple[dict[str, Any], list[Any]]]
"""What a verb does after its last stage: more of the document, more lines."""
FINISHING = "finishing: ends after the current epoch or chunk of pictures, and keeps it"
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
    mirror: options.MirrorUrl = None,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train a method with Ray Train; `--until score` also makes and scores its pseudo masks."""
    with output(as_json) as out:
        experiment = options.build_experiment(
            method,
            data=data,
            root=root,
            train_list=train_list,
            score_list=score_list,
            preset=preset,
            file=config,
            changes=[*(changes or []), *options.taken(weights)],
            seed=seed,
            workers=workers,
        )
        run_name = check_name(name or default_name(experiment))
        selection = strongest(options.chosen_with(config), options.check_released(experiment))
        execute(
            out,
            experiment,
            options.open_store(storage, max_failures, mirror),
            run_name,
            until,
            local,
            gpus_per_worker,
            wandb,
            dry_run,
            selection=selection,
        )


def maps(
    run: options.RunName,
    score_list: options.ScoreList = None,
    changes: options.Set = None,
    storage: options.Storage = options.STORAGE,
    workers: Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    mirror: options.MirrorUrl = None,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Turn a run's weights into class activation maps of a list."""
    where = options.open_store(storage, max_failures, mirror)
    _continue("maps", run, score_list, changes, where, workers, gpus_per_worker, "disabled", local, dry_run, as_json)


def masks(
    run: options.RunName,
    score_list: options.ScoreList = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    storage: options.Storage = options.STORAGE,
    workers: Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    mirror: options.MirrorUrl = None,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    layout: Annotated[
        str | None, typer.Option("--format", help="With --out: voc (the default) or coco.", metavar="voc|coco")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Also write them for other codebases into this folder.", metavar="DIR")
    ] = None,
) -> None:
    """Turn a run's maps into pseudo masks (VOC palette PNG)."""
    from wsss_platform.cli.exports import exporter

    where = options.open_store(storage, max_failures, mirror)
    _continue(
        *("masks", run, score_list, changes, where, workers, gpus_per_worker, "disabled", local, dry_run, as_json),
        config=config,
        also=exporter(where, layout, folder),
    )


def score(
    run: options.RunName,
    against: Annotated[
        str | None, typer.Option("--against", help="A second run, for a paired bootstrap interval.", metavar="RUN")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            help="Solve a background rule on the stored counts: constant, power, per-class or saliency.",
            metavar="RULE",
        ),
    ] = None,
    fitted_on: Annotated[
        str | None,
        typer.Option("--fitted-on", help="With --rule: the list that chooses; default the scored one.", metavar="LIST"),
    ] = None,
    subsets: Annotated[
        list[str] | None,
        typer.Option(
            "--subset",
            help="With --rule: only these pictures, such as class=cat, object=small, object=0.05..0.25 (share), "
            "picture=0..150000 (pixels), all; repeatable.",
            metavar="SUBSET",
        ),
    ] = None,
    score_list: options.ScoreList = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    storage: options.Storage = options.STORAGE,
    workers: Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    wandb: options.Wandb = "auto",
    mirror: options.MirrorUrl = None,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Score a run's maps at every threshold and its masks, against pixel truth."""
    if rule is not None or fitted_on is not None or subsets:
        from wsss_platform.cli.rules import by_rule

        if against is not None or dry_run:
            raise InputError("--rule, --fitted-on and --subset go with neither --against nor --dry-run")
        with output(as_json) as out:
            by_rule(
                out,
                Store(storage, max_failures),
                run,
                rule=rule or "constant",
                fitted_on=fitted_on,
                subsets=subsets or (),
                score_list=score_list,
                changes=changes,
                config=config,
                local=local,
            )
        return
    if against is None:
        where = options.open_store(storage, max_failures, mirror)
        _continue(
            *("score", run, score_list, changes, where, workers, gpus_per_worker, wandb, local, dry_run, as_json),
            config=config,
        )
        return
    from wsss_platform.cli.compare import compare

    with output(as_json) as out:
        compare(out, Store(storage), run, against)


def default_name(experiment: Experiment) -> str:
    """Method, data and a hash of all settings: the same command continues the same run."""
    settings = fingerprint(
        {
            "config": experiment.config,
            "data": experiment.data,
            "seed": experiment.seed,
            "workers": experiment.workers,
            "revision": experiment.method.revision,
        }
    )
    return f"{experiment.method.name.replace(':', '.')}-{experiment.data.kind}-{settings[:8]}"


def _continue(
    until: str,
    run: str,
    score_list: str | None,
    changes: list[str] | None,
    store: Store,
    workers: int | None,
    gpus_per_worker: float | None,
    wandb: str,
    local: bool,
    dry_run: bool,
    as_json: bool,
    config: Path | None = None,
    also: Also | None = None,
) -> None:
    """Load a run, apply what was asked, and go on to a later stage. `workers` is how many make chunks."""
    with output(as_json) as out:
        from wsss_platform.tracking.records import read_record

        experiment, name = load_run(store, run, score_list, changes, config)
        selection = strongest(options.chosen_with(config), read_record(store, run).protocol.selection)
        execute(
            out,
            experiment,
            store,
            name,
            until,
            local,
            gpus_per_worker,
            wandb,
            dry_run,
            producers=workers,
            selection=selection,
            also=also,
        )


def load_run(
    store: Store,
    run: str,
    score_list: str | None = None,
    changes: list[str] | None = None,
    file: Path | None = None,
) -> tuple[Experiment, str]:
    """A recorded run's experiment with changes, and its name: RUN, or RUN+list+hash when something differs.

    `file` holds fields as `train --config` takes them; `changes` come after it.

    Raises:
        InputError: no such run, or a change that would train again.
    """
    from wsss_platform.tracking.records import read_record

    record = read_record(store, run)
    base = options.reload_experiment(
        record.method, record.config, record.data, record.seed, record.workers, f"run {run}"
    )
    config_changes, data_changes = options.assignments(changes)
    config_changes = options.fields_of(file) | config_changes
    if not config_changes and not data_changes and score_list in (None, base.data.score_list):
        return base, run
    data = options.build_data(base.data, data_changes, score_list=score_list or base.data.score_list)
    config = options.with_changes(base.config, config_changes) if config_changes else base.config
    changed = Experiment(base.method, config, data, base.seed, base.workers)
    options.check_lists(changed)
    options.check_gates(changed)
    if changed.source.key != base.source.key:
        if changed.source.kind == "maps":
            raise InputError(f"run {run}: this changes what was imported; use `wsss-platform import-maps`")
        given = " ".join([*(["--config", str(file)] if file else []), *(changes or [])])
        raise InputError(f"--set {given}: this changes the training; use `wsss-platform train`")
    suffix = f"+{data.score_list}" if data.score_list != base.data.score_list else ""
    if config != base.config or data_changes:
        suffix += f"+{fingerprint([config, data])[:6]}"
    return changed, run + suffix


def last_stage(experiment: Experiment, until: str) -> Stage:
    """The stage a verb ends with."""
    if until not in ("train", "maps", "masks", "score"):
        raise unknown("stage (--until)", until, ["train", "maps", "masks", "score"])
    return experiment.stage(cast("Kind", until))


def execute(
    out: Output,
    experiment: Experiment,
    store: Store,
    name: str,
    until: str,
    local: bool,
    gpus_per_worker: float | None,
    wandb: Literal["auto"] | str,
    dry_run: bool,
    producers: int | None = None,
    selection: Selection = "none",
    also: Also | None = None,
) -> None:
    """Plan, run, record and print one run; `also` adds to its result."""
    from wsss_platform.cli.plan import plan_document, plan_table
    from wsss_platform.cli.recording import Recording
    from wsss_platform.search.costs import cost_words

    wanted = last_stage(experiment, until)
    resources = {"workers": experiment.workers, "gpus per worker": gpus_per_worker or 0, "storage": str(store.root)}
    plan = {"run": name, **plan_document(experiment, store, wanted, resources)}
    if dry_run:
        out.result(plan, f"run {name}", plan_table(plan), cost_words(plan["cost"]))
        return
    console.print(plan_table(plan))
    with explained(store.root), Recording(experiment, store, name, wandb, selection) as recording:
        Sharing(store, lambda shared: note(shared.words)).bring(wanted)  # what the mirror has needs no engine
        if needed(experiment.stages, store, wanted):
            check_writable(store.root)
            engine = runner(
                local=local, workers=experiment.workers, gpus_per_worker=gpus_per_worker, producers=producers
            )
            with Interrupts(FINISHING) as interrupts, engine as where, StageBars() as bars:
                outcome = recording.run(where, wanted, interruptible(bars, interrupts.asked, experiment))
        else:
            note("everything is in the store")
            outcome = recording.run(None, wanted, lambda event: None)
    document, renderables = recording.result(outcome, wanted)
    if also is not None:
        more, lines = also(experiment)
        document, renderables = {**document, **more}, [*renderables, *lines]
    out.result(document, *renderables)
