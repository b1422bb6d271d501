"""`score`: a run against pixel truth; against another run; or under a background rule that is solved on its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import Output, output
from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.store.artefacts import Store


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
    workers: options.Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    wandb: options.Wandb = "auto",
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Score a run's maps at every threshold and its masks, against pixel truth."""
    from wsss_platform.store.artefacts import Store

    store = Store(storage, max_failures)
    if rule is not None or fitted_on is not None or subsets:
        from wsss_platform.api.background_rules import by_rule
        from wsss_platform.report.tables.run import rule_result

        if against is not None or dry_run:
            raise InputError("--rule, --fitted-on and --subset go with neither --against nor --dry-run")
        with output(as_json) as out:
            found = by_rule(
                store,
                run,
                rule=rule or "constant",
                fitted_on=fitted_on,
                subsets=subsets or (),
                score_list=score_list,
                changes=changes,
                config=config,
                local=local,
            )
            out.result(found, *rule_result(found))
        return
    if against is not None:
        with output(as_json) as out:
            _against(out, store, run, against)
        return
    from wsss_platform.cli.stages import continue_run

    continue_run(
        "score",
        run,
        store,
        score_list=score_list,
        changes=changes,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        local=local,
        dry_run=dry_run,
        as_json=as_json,
        wandb=wandb,
        config=config,
    )


def _against(out: Output, store: Store, first: str, second: str) -> None:
    """The difference of two scored runs on the same pictures, with a paired bootstrap interval.

    Raises:
        InputError: a run without a score, or runs scored on different pictures.
    """
    from wsss_platform.api.runs import load_run
    from wsss_platform.report.tables.run import difference_result
    from wsss_platform.run.documents import RunDifference
    from wsss_platform.run.pipeline import read_score
    from wsss_platform.scores.score import paired_bootstrap

    a, b = (read_score(load_run(store, run)[0], store, f"run {run!r}") for run in (first, second))
    masks, best = paired_bootstrap(a, b, "masks"), paired_bootstrap(a, b, "best")
    document = RunDifference(first=first, second=second, masks=masks, best=best)
    out.result(document, *difference_result(document))
