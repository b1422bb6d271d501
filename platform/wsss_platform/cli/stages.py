"""What `train`, `maps`, `masks` and `score` have in common: plan, run, record and print one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsss_platform.api import experiments
from wsss_platform.api.plans import plan_document
from wsss_platform.api.recording import Recording
from wsss_platform.api.runners import runner
from wsss_platform.api.runs import last_stage, load_run
from wsss_platform.cli.output import Output, StageBars, note, output, print_shown
from wsss_platform.plan.experiment import Experiment, needed
from wsss_platform.plan.protocol import Selection, strongest
from wsss_platform.report.tables.run import plan_table, run_plan, run_result
from wsss_platform.run.documents import Export
from wsss_platform.run.interrupts import Interrupts, interruptible
from wsss_platform.run.records import read_record
from wsss_platform.store.artefacts import Store
from wsss_platform.store.disk import check_writable, explained

Also = Callable[[Experiment], Export]
"""What a verb does after its last stage."""
FINISHING = "finishing: ends after the current epoch or chunk of pictures, and keeps it"


def continue_run(
    until: str,
    run: str,
    store: Store,
    *,
    score_list: str | None,
    changes: list[str] | None,
    workers: int | None,
    gpus_per_worker: float | None,
    local: bool,
    dry_run: bool,
    as_json: bool,
    wandb: str = "disabled",
    config: Path | None = None,
    also: Also | None = None,
) -> None:
    """Load a run, apply what was asked, and go on to a later stage. `workers` is how many make chunks."""
    with output(as_json) as out:
        experiment, name = load_run(store, run, score_list, changes, config)
        execute(
            out,
            experiment,
            store,
            name,
            until,
            local=local,
            gpus_per_worker=gpus_per_worker,
            wandb=wandb,
            dry_run=dry_run,
            producers=workers,
            selection=strongest(experiments.chosen_with(config), read_record(store, run).protocol.selection),
            also=also,
        )


def execute(
    out: Output,
    experiment: Experiment,
    store: Store,
    name: str,
    until: str,
    *,
    local: bool,
    gpus_per_worker: float | None,
    wandb: str,
    dry_run: bool,
    producers: int | None = None,
    selection: Selection = "none",
    also: Also | None = None,
) -> None:
    """Plan, run, record and print one run; `also` adds to its result."""
    wanted = last_stage(experiment, until)
    plan = plan_document(name, experiment, store, wanted, gpus_per_worker)
    if dry_run:
        out.result(plan, *run_plan(plan))
        return
    print_shown(plan_table(plan))
    with explained(store.root), Recording(experiment, store, name, wandb, selection) as recording:
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
    document = recording.result(outcome, wanted)
    if also is not None:
        document = document.model_copy(update={"export": also(experiment)})
    out.result(document, *run_result(document))
