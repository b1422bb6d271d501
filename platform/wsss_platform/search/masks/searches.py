"""The search over stored maps in its two uses: of a run (`search RUN`), confirmed on other
images, and within a trial of a study.

In its folder, which of a run is its study's:

    counts.parquet    what each setting counted on each image
    search.json       what the search found
    best.toml         of a run: the winner's masks section, as `masks` and `score --config` read it
    curves.png        of a run: how the settings fared
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from wsss_platform.config import fingerprint
from wsss_platform.config.recipes import CHOSEN
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import ChunkRunner
from wsss_platform.run.interrupts import Interrupted
from wsss_platform.search.documents import SearchDocument, SearchPlan, TrialSearchDocument
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.masks.count import Threads
from wsss_platform.search.masks.halving import Found, Search, Watch, source_of
from wsss_platform.search.masks.images import Plan, plan, with_maps
from wsss_platform.search.masks.settings import Setting, settings_of
from wsss_platform.search.masks.table import FILE, INNER
from wsss_platform.search.space import SearchSpace
from wsss_platform.store.artefacts import Store, check_name, write_atomic

RESULT, CURVES, BEST = "search.json", "curves.png", "best.toml"


@dataclass(frozen=True)
class RunSearch:
    """A search that can begin."""

    experiment: Experiment
    space: SearchSpace
    settings: tuple[Setting, ...]
    """Without "no CRF", which the search adds."""
    images: Plan
    folder: Path
    """Of its study."""

    def document(self) -> SearchPlan:
        """What it would do."""
        data, list_name = self.experiment.data, self.experiment.stage("maps").list_name
        return SearchPlan(
            study=self.folder.name,
            folder=str(self.folder),
            split=list_name,
            ground_truth=self.experiment.truth_fingerprint(list_name)[:12],
            settings=len(self.settings) + 1,
            rungs=tuple(self.images.rungs),
            confirmed_on=len(self.images.confirm),
            selection="train ground truth" if data.score_list == data.train_list else "val ground truth",
            candidates=tuple(setting.name for setting in self.settings),
        )


def plan_search(
    run: str,
    experiment: Experiment,
    store: Store,
    space: SearchSpace,
    *,
    settings: int,
    images: int,
    confirm: int,
    seed: int = 0,
    name: str | None = None,
) -> RunSearch:
    """Draw settings and images. Starts and writes nothing.

    Args:
        run: its name.
        experiment: the run's; its maps are in the store.
        store: of the maps and the study.
        space: axes of the masks section alone.
        settings: how many to try, "as configured" among them.
        images: to choose on.
        confirm: other ones, at most, to confirm the winner on.
        seed: of both draws.
        name: of the study; None: one by the maps, so that every search of them shares its counts.

    Raises:
        InputError: no stored maps, an axis that needs more than those, no setting that has a CRF, or too few images.
    """
    maps = experiment.stage("maps")
    if not store.finished("maps", maps.key):
        make = f"wsss-platform maps {run} --score-split {maps.list_name}"
        raise InputError(f"run {run!r} has no stored maps of split {maps.list_name!r}: `{make}`", field=run)
    levels = split(experiment, space, settings, seed)
    for axis in levels.outer.axes:
        raise InputError(
            f"axis {axis.path!r}: a search on stored maps can only change {maps.phase.masks}.*", field=axis.path
        )
    drawn = settings_of(experiment, levels, refined=True)
    shares = plan(with_maps(experiment, store), images, confirm, seed)
    study = check_name(name or f"{run}-crf-{source_of(experiment)[:8]}", "study name")
    return RunSearch(experiment, space, drawn, shares, store.study_folder(study))


def run_search(
    search: RunSearch, store: Store, watch: Watch = lambda *_: None, threads: int | None = None
) -> tuple[Found, SearchDocument]:
    """Search, and write the study's folder; what was counted before on the same maps is not repeated.

    Args:
        search: see `plan_search`.
        store: of the maps.
        watch: is called after each chunk.
        threads: images at once; None: one for each CPU.

    Returns:
        What was found, and all of it with the files as a document.

    Raises:
        InputError: an image, map or mask that cannot be used, named.
    """
    from wsss_platform.search.masks.figure import curves

    folder, planned = search.folder, search.document()
    one = Search([search.experiment], store, Threads(threads), folder, watch)
    found = one.run(search.settings, search.images, against_no_crf=True)
    curves(found, [axis.path for axis in search.space.axes]).savefig(folder / CURVES)
    masks = found.winner.masks.model_dump(mode="json", exclude_none=True)
    data: dict[str, Any] = masks
    for part in reversed(search.experiment.phases[-1].masks.split(".")):
        data = {part: data}
    chosen: dict[str, Any] = {"study": planned.study, "selection": planned.selection, "setting": found.winner.name}
    chosen |= {"images": planned.rungs[-1], "confirmed": found.confirmed}
    write_atomic(folder / BEST, tomli_w.dumps(data | {CHOSEN: chosen}))
    files = {"best": str(folder / BEST), "results": str(folder / FILE), "curves": str(folder / CURVES)}
    same = planned.model_dump(exclude={"candidates"})
    document = SearchDocument.model_validate(same | {"masks": masks} | found.fields() | files)
    write_atomic(folder / RESULT, json.dumps(document.to_json(), indent=1))
    return found, document


@dataclass(frozen=True)
class Choice:
    """What the search within a trial came to."""

    changes: dict[str, Any]
    """What the best setting changes in the trial's config, its solved background among it."""
    found: Found


def choose(
    experiments: Sequence[Experiment],
    levels: Levels,
    store: Store,
    runner: ChunkRunner,
    study: Path,
    asked: Callable[[], bool] = lambda: False,
) -> Choice:
    """Search the inner settings of one trial; what was counted before on the same maps is not repeated.

    "As configured" stays to the end, so the choice is never worse than no search. Of equals the first wins.

    Args:
        experiments: the trial's, one per seed; their maps are in the store.
        levels: what is inner.
        store: of the maps.
        runner: where chunks are counted.
        study: the study's folder; the search has one in it, by the maps.
        asked: whether the user wants an end; called after each chunk.

    Raises:
        Interrupted: they do; the next call continues with the chunk after.
        InputError: an image or its ground truth that cannot be used, or an inner axis that changes these maps.
    """

    def watch(what: str, done: int, images: int, settings: int) -> None:
        if asked():
            raise Interrupted

    first = experiments[0]
    settings = settings_of(first, levels)
    listed = with_maps(first, store)
    images = plan(listed, len(listed.ids), 0, 0).for_settings(len(settings))
    folder = study / INNER / fingerprint([source_of(one) for one in experiments])[:12]
    found = Search(experiments, store, runner, folder, watch).run(settings, images)
    maps = [one.stage("maps").key for one in experiments]
    document = TrialSearchDocument.model_validate({"maps": maps, **found.fields()})
    write_atomic(folder / RESULT, json.dumps(document.to_json(), indent=1))
    solved = found.winner.solved(found.threshold, first.phases[-1].masks) or {}
    return Choice({**found.winner.changes, **solved}, found)
