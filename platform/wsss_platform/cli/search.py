"""`search`: rule and CRF of a run's stored maps, searched and confirmed on other images. No Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform.api._search import plan_search
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output, print_shown
from wsss_platform.config.recipes import Recipe
from wsss_platform.errors import InputError
from wsss_platform.report.tables.search import search_line, search_plan, search_result
from wsss_platform.run.records import RECORD
from wsss_platform.search.masks.options import RunSearchOptions

Run = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Name of a run whose maps are stored.", show_default=False)
]


@verb("search", RunSearchOptions)
def search(run: Run = None, *, options: RunSearchOptions, recipe: Recipe, out: Output) -> None:
    """Search the background rule and the CRF of a run on its stored maps; nothing is trained again."""
    wanted = run or recipe.run
    if wanted is None:
        raise InputError("RUN is missing; name a run whose maps are stored, or a --recipe that does", field="RUN")
    searched(wanted, options, recipe.settings, out)


def searched(run: str, options: RunSearchOptions, below: Mapping[str, Any], out: Output) -> None:
    """Search, write the study's folder and print the tables; `below` are settings under those that were typed."""
    planned = plan_search(run, {**below, **settings(options.changes)}, options)
    plan = planned.document()
    if options.dry_run:
        out.result(plan, *search_plan(plan))
        return
    print_shown(search_line(plan))
    found = planned.run()
    out.result(found, *search_result(found, run))


def is_run(storage: Path, name: str) -> bool:
    """Whether a name means a recorded run; the name of a method never does."""
    import wsss_methods

    return name not in wsss_methods.names() and (storage / "runs" / name / RECORD).is_file()
