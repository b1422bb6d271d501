"""What `train`, `maps`, `masks` and `score` have in common: plan, run, record and print one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.text import Text

from wsss_platform.api import experiments
from wsss_platform.api.plans import plan_document
from wsss_platform.api.recording import Recording
from wsss_platform.api.runners import runner
from wsss_platform.api.runs import last_stage, load_run
from wsss_platform.cli.output import Output, StageBars, console, note, output
from wsss_platform.cli.plan import plan_table
from wsss_platform.plan.experiment import Experiment, Stage, needed
from wsss_platform.plan.protocol import Protocol, Selection, strongest
from wsss_platform.report.terminal import protocol_line, score_table
from wsss_platform.run.interrupts import Interrupts, interruptible
from wsss_platform.run.pipeline import FAILURES
from wsss_platform.run.records import read_record
from wsss_platform.search.costs import cost_words
from wsss_platform.store.artefacts import Store
from wsss_platform.store.disk import check_writable, explained

Also = Callable[[Experiment], tuple[dict[str, Any], list[Any]]]
"""What a verb does after its last stage: more of the document, more lines."""
FINISHING = "finishing: ends after the current epoch or chunk of pictures, and keeps it"
_NEXT = {"train": "score", "maps": "masks", "masks": "score", "score": "show"}


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
    resources = {"workers": experiment.workers, "gpus per worker": gpus_per_worker or 0, "storage": str(store.root)}
    plan = {"run": name, **plan_document(experiment, store, wanted, resources)}
    if dry_run:
        out.result(plan, f"run {name}", plan_table(plan), cost_words(plan["cost"]))
        return
    console.print(plan_table(plan))
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
    renderables = _shown(document, wanted)
    if also is not None:
        more, lines = also(experiment)
        document, renderables = {**document, **more}, [*renderables, *lines]
    out.result(document, *renderables)


def _shown(document: dict[str, Any], wanted: Stage) -> list[Any]:
    """A run's result for a person."""
    name, shown = document["run"], []
    if document["score"] is not None:
        protocol = Protocol.model_validate(document["protocol"])
        shown += [score_table(name, document["score"]), protocol_line(protocol)]
    if document["failures"]:
        listed = Path(document["folder"]) / FAILURES
        shown.append(Text(f"{document['failures']} pictures failed and are missing: {listed}", "red"))
    shown.append(f"{wanted.name} of run {name}: {document['folder']}")
    if (following := _NEXT.get(wanted.kind)) is not None:
        shown.append(f"next: wsss-platform {following} {name}")
    return shown
