"""Search rule and CRF of a run's stored maps; nothing is trained or extracted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._run import Run, run_of
from wsss_platform.config.options import build, documented, typed_only
from wsss_platform.search.masks.options import RunSearchOptions

if TYPE_CHECKING:
    from wsss_platform.search.documents import SearchDocument, SearchPlan
    from wsss_platform.search.masks.searches import RunSearch
    from wsss_platform.store.artefacts import Store


@dataclass(frozen=True)
class PlannedSearch:
    """A search that can begin."""

    search: RunSearch
    store: Store
    threads: int | None

    def document(self) -> SearchPlan:
        """What would be tried. Starts nothing."""
        return self.search.document()

    def run(self, progress: bool = True) -> SearchDocument:
        """Do it, with progress on standard error."""
        from wsss_platform.report.progress import counting
        from wsss_platform.search.masks.searches import run_search

        with counting(progress, "images") as bar:

            def watch(what: str, done: int, total: int, settings: int) -> None:
                bar(f"{what}, {settings} settings", done, total)

            return run_search(self.search, self.store, watch, self.threads)[1]


def plan_search(run: Run | str, settings: Mapping[str, Any], given: RunSearchOptions) -> PlannedSearch:
    """What `search` does before it starts."""
    from wsss_platform.api._tune import find_space
    from wsss_platform.api.runs import load_run
    from wsss_platform.search.masks.searches import plan_search as planned
    from wsss_platform.search.space_file import load_space
    from wsss_platform.store.artefacts import Store

    named, place = run_of(run, given.storage.storage)
    store = Store(place)
    experiment, _ = load_run(store, named, given.split, settings)
    experiment.stage("maps")  # imported masks have none
    axes = load_space(given.space or find_space("crf"), experiment.config, solved={})  # after a CRF no sweep solves it
    search = planned(
        named,
        experiment,
        store,
        axes,
        settings=given.trials,
        images=given.images,
        confirm=given.confirm,
        seed=given.seed,
        name=given.storage.name,
    )
    return PlannedSearch(search, store, given.threads)


@documented(RunSearchOptions, without=("storage", *typed_only(RunSearchOptions)))
def search(
    run: Run | str,
    settings: Mapping[str, Any] | None = None,
    *,
    storage: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> SearchDocument:
    """Search the background rule and the CRF of a run on its stored maps, and confirm the winner on other images.

    Args:
        run: a run whose maps are stored, or its name.
        settings: of the masks, before the search: dotted path -> value.
        storage: of a run that is given by name.
        progress: bars on standard error.
        options: any other option, listed below.

    Returns:
        What was found: `.winner`, `.masks`, `.confirmation`, `.best` (a file for `wsss-platform score --config`).

    Raises:
        InputError: no such run, no stored maps, or too few images.

    Options:
    """
    given = build(
        RunSearchOptions,
        {**({} if storage is None else {"storage": storage}), **options},
        "option of search",
        without=typed_only(RunSearchOptions),
        environment=True,
    )
    return plan_search(run, settings or {}, given).run(progress)
