"""What verbs that plan first have in common: the data that options name, and carrying a planned run out."""

from __future__ import annotations

from collections.abc import Callable

from wsss_platform.api._data import Data, data_named
from wsss_platform.api._run import Run
from wsss_platform.api._train import PlannedRun
from wsss_platform.cli.output import Output, print_shown
from wsss_platform.config.verb_options import DataOptions
from wsss_platform.report.tables.run import plan_table, run_plan, run_result


def data_from(options: DataOptions) -> Data:
    """The data set that options name."""
    return data_named(options.data, options.root, options.train_split, options.score_split)


def carried_out(
    planned: PlannedRun, dry_run: bool, out: Output, run: Callable[[PlannedRun], Run] | None = None
) -> None:
    """Print the plan, and unless it is a dry run, do it and print what came out."""
    plan = planned.document()
    if dry_run:
        out.result(plan, *run_plan(plan))
        return
    print_shown(plan_table(plan))
    result = (planned.run() if run is None else run(planned)).result
    out.result(result, *run_result(result))
