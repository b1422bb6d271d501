"""What a recipe needs that is not there yet, each with what makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.data.recognise import TITLES, fits, named
from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.config.recipes import Recipe
    from wsss_platform.plan.documents import MissingInputs


def lacking(recipe: Recipe, options: Mapping[str, Any], settings: Mapping[str, Any], run: str | None) -> MissingInputs:
    """Data, saliency maps, weights and runs that a recipe needs and that are not there.

    Args:
        recipe: that was read.
        options: of the verb, flat, with the recipe's and those that were typed.
        settings: that were typed, by path.
        run: that was typed in place of the recipe's; None: none was.
    """
    from wsss_platform.plan.documents import Lacking, MissingInputs

    merged = {**recipe.settings, **settings}
    missing = [*_data(options, merged), *_weights(options), *_run(run or recipe.run, options)]
    return MissingInputs(
        recipe=recipe.place, missing=tuple(Lacking(what=what, command=command) for what, command in missing)
    )


def _data(options: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind, place = named(str(options.get("data") or "sample"), str(options.get("root") or ""))
    kind, place = settings.get("data.kind", kind), settings.get("data.root", place)
    if kind == "sample":
        return
    root = Path(place).expanduser()
    if not place or not fits(kind, root):
        what = TITLES.get(kind, "a VOC tree, COCO, or images with a label file")
        where = f"at {root}" if place else "(no folder)"
        yield f"data: {what} {where}", "docs/guides/your_own_data.md; then --data FOLDER"
    saliency = str(settings.get("data.saliency", ""))
    if saliency and not any((place / saliency).expanduser().is_dir() for place in (Path(), root)):
        yield f"saliency: grey PNGs in {saliency}", "your saliency detector; then --set data.saliency=FOLDER"


def _weights(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for item in options.get("weights") or ():
        file = Path(str(item).partition("=")[2]).expanduser()
        if not file.is_file():
            yield f"weights: {file}", f"wsss-platform import-weights SOURCE --as KIND --out {file}"


def _run(name: str | None, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The run whose stored maps are searched, and those maps."""
    from wsss_platform.api.runs import load_run
    from wsss_platform.run.records import RECORD
    from wsss_platform.store.artefacts import Store

    if name is None:
        return
    store = Store(Path(options["storage"]))
    if not (store.root / "runs" / name / RECORD).is_file():
        yield f"run: {name}", f"wsss-platform train METHOD --name {name} --until maps"
        return
    split = options.get("split")
    stage = load_run(store, name, split)[0].stage("maps")
    if not store.has("maps", stage.key):
        yield f"maps: of run {name}", f"wsss-platform maps {name} --score-split {stage.list_name}"


def typed_in_recipe(recipe: Recipe, typed: frozenset[str]) -> None:
    """InputError for an option in a recipe that the command line alone has."""
    for name in recipe.options:
        if name in typed:
            raise InputError(f"{recipe.place}: {name}: the command line alone has this option", field=name)
