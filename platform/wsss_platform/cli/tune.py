"""`tune`: search a method's settings, or the rule and CRF of a run's stored maps.

The same command continues, a larger --trials adds trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from wsss_platform.cli import crf, options, population
from wsss_platform.cli.engine import check_resources, default_gpus
from wsss_platform.cli.output import Output, note, output
from wsss_platform.cli.study_plan import default_study, plan_tables, study_plan
from wsss_platform.config import MethodConfig, look_up
from wsss_platform.errors import InputError, unknown
from wsss_platform.protocol import strongest
from wsss_platform.retention import KEEP_BEST
from wsss_platform.selection import SelectionRule, judged_by, read_rule
from wsss_platform.space import load_space
from wsss_platform.store import Store, check_name

if TYPE_CHECKING:
    from wsss_platform.engine.request import StudyRequest
    from wsss_platform.engine.study import TrialRow
    from wsss_platform.engine.tuner import StudyResult

TRIALS = 6
"""Default number of trials: what two cores do in about five minutes on the sample."""
UNLIMITED = 10_000
"""Trials where hours are the budget."""


def tune(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD|RUN", help="A method, or a run whose stored maps get a search of rule and CRF."),
    ],
    data: options.Data = "sample",
    root: options.Root = "",
    train_list: options.TrainList = None,
    score_list: options.ScoreList = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            help=f"In total, earlier ones of this study included. Default: {TRIALS}, with --hours no limit, for a run "
            f"{crf.SETTINGS} settings.",
            min=1,
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option("--hours", help="No new trial starts after so many; the same command goes on.", min=0.0),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="What proposes.", metavar="tpe|random|gp|cmaes")] = "tpe",
    seeds: Annotated[
        int,
        typer.Option("--seeds", help="Runs per trial, each with a seed of its own; the objective is the mean.", min=1),
    ] = 1,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            "--warm-start", help="An earlier study whose trials are told to a new one; repeatable.", metavar="STUDY"
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", help="Search space; default search_spaces/METHOD.toml, for a run crf.toml.", metavar="FILE"
        ),
    ] = None,
    pictures: crf.Pictures = crf.PICTURES,
    confirm: crf.Confirm = crf.CONFIRM,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            help="Whose pixel truth may choose: none (label-free proxies), held-out:K (K pictures per class of the "
            "training list, told on the rest), train or val. Default: train where that list is scored, else val.",
            metavar="none|held-out:K|train|val",
        ),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Score every trial on the list of the report, also where that needs new maps."),
    ] = False,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            help="asha stops trials that lag behind; none; pbt copies better ones in the middle of a training.",
            metavar="asha|none|pbt",
        ),
    ] = "asha",
    members: population.Members = None,
    interval: population.Interval = None,
    concurrent: Annotated[
        int | None,
        typer.Option("--concurrent", help="Trials (pictures of a run) at once; default: all there is room for.", min=1),
    ] = None,
    keep_best: Annotated[
        int, typer.Option("--keep-best", help="Trials that keep their maps and masks; 0: all do.", min=0)
    ] = KEEP_BEST,
    study_storage: Annotated[
        str | None,
        typer.Option(
            "--study-storage",
            help="Database in which the study lives: sqlite:///FILE or postgresql://...; default: a journal in its "
            "folder. A password is better off in the environment.",
            metavar="URL",
            envvar="WSSS_STUDY_STORAGE",
        ),
    ] = None,
    storage: options.Storage = options.STORAGE,
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    gpus_per_worker: options.GpusPerWorker = None,
    name: options.Name = None,
    wandb: options.Wandb = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Search loss weights, sampling ratios and thresholds with Ray Tune and Optuna; of a RUN, its rule and CRF."""
    if crf.is_run(Store(storage), method):
        given = {"--data": data != "sample", "--root": root, "--train-list": train_list, "--preset": preset}
        crf.refuse(method, given | {"--config": config, "--workers": workers != 1})
        with output(as_json) as out:
            crf.tune(
                out,
                Store(storage),
                method,
                space=space or find_space("crf"),
                score_list=score_list,
                changes=changes,
                settings=trials or crf.SETTINGS,
                pictures=pictures,
                confirm=confirm,
                seed=seed,
                threads=concurrent,
                name=name,
                dry_run=dry_run,
            )
        return
    if scheduler not in population.SCHEDULERS:
        raise unknown("scheduler (--scheduler)", scheduler, population.SCHEDULERS)
    with output(as_json) as out:
        given = {"--trials": trials, "--hours": hours, "--sampler": sampler != "tpe", "--seeds": seeds != 1}
        people = population.read_population(scheduler, members, interval, given | {"--warm-start": warm_start})
        trials = people.members if people else trials or (TRIALS if hours is None else UNLIMITED)
        experiment = options.build_experiment(
            method,
            data=data,
            root=root,
            train_list=train_list,
            score_list=score_list,
            preset=preset,
            file=config,
            changes=changes,
            seed=seed,
            workers=workers,
        )
        check_search(sampler, scheduler)
        if study_storage is not None:
            from wsss_platform.engine.study_storage import without_secrets

            note(f"the study lives in {without_secrets(study_storage)}")
        rule = read_rule(selection, experiment.data)
        check_base(rule, strongest(options.chosen_with(config), options.check_released(experiment)))
        whole, experiment = experiment, judged_by(rule, experiment)
        options.check_lists(experiment)
        searched = load_space(space or find_space(experiment.method.name), experiment.config)
        searched = population.moving(people, experiment, searched)
        store = Store(storage)
        how = str(people.identity()) if people else scheduler
        study = check_name(name or default_study(experiment, searched, how, rule, sampler, seeds), "study name")
        document = study_plan(experiment, searched, store, study, trials, gpus_per_worker, keep_best)
        reported = rule.reported(whole.data)
        options.check_lists(replace(whole, data=whole.data.model_copy(update={"score_list": reported})))
        document |= {"selection": rule.stamp, "judged on": experiment.data.score_list, "reported on": reported}
        if dry_run:
            words = [population.plan_words(people, experiment)] if people else []
            out.result(document, *words, *plan_tables(document))
            return
        from wsss_platform.engine.cluster import connect
        from wsss_platform.engine.request import StudyRequest

        note("starting Ray")
        with connect() as cluster:
            gpus = default_gpus(gpus_per_worker, cluster.gpus)
            check_resources(workers, gpus, cluster.cpus, cluster.gpus)
            result = _search(
                StudyRequest(
                    experiment=experiment,
                    space=searched,
                    trials=trials,
                    store=store,
                    name=study,
                    seed=seed,
                    workers=workers,
                    gpus_per_worker=gpus,
                    cpus_per_worker=cluster.cpus_beside(gpus),
                    scheduler="asha" if scheduler == "asha" else "none",
                    max_concurrent=concurrent,
                    population=people,
                    rule=rule,
                    report_list=reported,
                    oracle=oracle,
                    sampler=sampler,
                    hours=hours,
                    seeds=seeds,
                    study_storage=study_storage,
                    warm_start=tuple(warm_start or ()),
                ),
                wandb,
                keep_best,
            )
        _print(out, store, study, result, experiment.config)


def check_search(sampler: str, scheduler: str) -> None:
    """Both must exist and have the packages that they need, before anything starts."""
    if scheduler not in population.SCHEDULERS:
        raise unknown("scheduler (--scheduler)", scheduler, population.SCHEDULERS)
    if sampler != "tpe":
        from wsss_platform.engine.samplers import check_sampler

        check_sampler(sampler)


def check_base(rule: SelectionRule, base: str) -> None:
    """A search cannot claim to have seen less than what chose the settings or weights it starts from."""
    if strongest(base, rule.stamp) != rule.stamp:
        raise InputError(
            f"--selection: the search would say {rule.stamp!r}, but what it starts from was chosen with {base!r}; "
            "start from settings and weights that were not, or let the search see as much"
        )


def find_space(method: str) -> Path:
    """The shipped search space of a method: beside the package in a wheel, in search_spaces/ of a checkout."""
    import wsss_platform

    package = Path(wsss_platform.__file__).parent
    folders = [package / "search_spaces", package.parents[1] / "search_spaces"]
    for folder in folders:
        if (folder / f"{method}.toml").is_file():
            return folder / f"{method}.toml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise InputError(f"{unknown('search space', method, known)}; name one with --space FILE")


def _search(request: StudyRequest, wandb: str, keep_best: int) -> StudyResult:
    from wsss_platform.cli.study import StudyView
    from wsss_platform.engine.study_page import write_page
    from wsss_platform.engine.study_storage import open_study
    from wsss_platform.engine.tuner import tune as run_study

    with StudyView(request, wandb, keep_best) as view:
        result = run_study(request, view)
        view.record(result.rows)
        view.drop_losers()
    write_page(open_study(result.folder, request.study_storage), result.folder, note)
    return result


def _print(out: Output, store: Store, study: str, result: StudyResult, default: MethodConfig) -> None:
    """The table of trials, the best config, and where everything is."""
    from dataclasses import asdict

    out.result(
        {
            "study": study,
            "folder": str(result.folder),
            "objective": result.objective,
            "selection": result.selection,
            "looks": result.looks,
            "report": result.told,
            "best": None if result.best is None else asdict(result.best),
            "best_config": None if result.best_config is None else str(result.best_config),
            "trials": [asdict(row) for row in result.rows],
        },
        trials_table(study, result.rows, result.objective),
        *([best_table(result, default)] if result.best is not None and result.best.changes else []),
        *([told_table(result.told)] if result.told is not None else []),
        f"chosen by: {result.objective}, with {result.selection}, looked at {result.looks} times; the number of the "
        "best trial is a selected one",
        f"best config: {result.best_config or 'none, no trial was completed'}",
        "train it with: wsss-platform train METHOD --config FILE",
        f"study, its journal, table, plots and page: {result.folder / 'study.html'}",
        "next: wsss-platform leaderboard --storage " + str(store.root),
    )


def trials_table(study: str, rows: tuple[TrialRow, ...], objective: str) -> Table:
    """One line per trial, best first."""
    table = Table(title=f"{study}: {objective}, percent", title_justify="left")
    for heading in ("trial", "state", "objective", "masks", "threshold", "seconds", "note"):
        table.add_column(heading, justify="left" if heading in ("state", "note") else "right")
    for row in sorted(rows, key=lambda row: (row.state != "complete", -(row.objective or 0), row.number)):
        numbers = [None if value is None else f"{100 * value:.2f}" for value in (row.objective, row.fixed)]
        if row.spread is not None:
            numbers[0] = f"{numbers[0]} ± {100 * row.spread:.2f}"
        table.add_row(
            str(row.number),
            row.state,
            *[number or "-" for number in numbers],
            "-" if row.threshold is None else f"{row.threshold:g}",
            "-" if row.seconds is None else f"{row.seconds:.0f}",
            row.reason or ("" if row.changes else "the default config"),
        )
    return table


def told_table(told: Mapping[str, Any]) -> Table:
    """Fixed, selected and oracle on the list of the report."""
    title = f"on {told['report_list']}, {told['pictures']} pictures; mean IoU in percent"
    table = Table("what", "trial", "mean IoU", "95 %", "threshold", "chosen with", title=title, title_justify="left")
    with_what = {
        "fixed": "nothing",
        "selected": told["selection"] + (", the truth of this very list" if told["biased"] else ""),
        "oracle": f"the truth of this very list, over {told['oracle_over']} trials",
    }
    for name, choice in with_what.items():
        line = told[name]
        if line is None:
            continue
        span = "" if line["interval"] is None else " .. ".join(f"{100 * value:.2f}" for value in line["interval"])
        threshold = "-" if line["threshold"] is None else f"{line['threshold']:.3g}"
        table.add_row(name, str(line["trial"]), f"{100 * line['mean_iou']:.2f}", span, threshold, choice)
    gap = told["difference"]
    if gap is not None:
        span = f"{100 * gap['low']:+.2f} .. {100 * gap['high']:+.2f}"
        table.add_row("selected - fixed", "", f"{100 * gap['value']:+.2f}", span, "", "paired over pictures")
    return table


def best_table(result: StudyResult, default: MethodConfig) -> Table:
    """What the best trial has that the default config has not."""
    assert result.best is not None
    if "schedule" in result.best.changes:
        return population.schedule_table(result.best.changes["schedule"])
    table = Table("field", "default", "best", title=f"trial {result.best.number}, the best", title_justify="left")
    for path, value in result.best.changes.items():
        table.add_row(path, _shown(look_up(default, path)), _shown(value))
    return table


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
