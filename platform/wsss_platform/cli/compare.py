"""`compare`: methods side by side on the same images and seeds; the same command continues where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from wsss_platform.api._compare import plan_comparison
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import data_from, workers_of
from wsss_platform.config import parse_assignment
from wsss_platform.config.options import group, option
from wsss_platform.config.recipes import Recipe
from wsss_platform.config.verb_options import (
    DataOptions,
    OutputOptions,
    ResourceOptions,
    SettingsOptions,
    StorageOptions,
)
from wsss_platform.errors import InputError
from wsss_platform.report.tables.comparison import comparison_plan, comparison_result

Variants = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VARIANT...",
        help="METHOD, METHOD,path=value,... or LABEL=METHOD,path=value,...; the first is the baseline.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class CompareOptions:
    """Of `compare`."""

    data: DataOptions = group(DataOptions)
    method: SettingsOptions = group(SettingsOptions)
    seeds: str = option(
        "3", "Train with this number of random seeds, or with a list such as 0,2,5 (one: 2,).", "Search"
    )
    at: str = option(
        "best",
        "Compare at best: each run's maps where its sweep is best; masks: as made; background: each where it takes as "
        "much of the background as the baseline does at its best (as nearly as its sweep allows).",
        "Search",
        metavar="AT",
    )
    images: int = option(6, "Draw this many images where the variants differ.", "Output", low=0, former="--pictures")
    resources: ResourceOptions = group(ResourceOptions)
    local: bool = option(False, "Use one process, without Ray; the same bytes with one worker.", "Resources")
    storage: StorageOptions = group(StorageOptions)
    output: OutputOptions = group(OutputOptions)


@verb("compare", CompareOptions)
def compare(variants: Variants = None, *, options: CompareOptions, recipe: Recipe, out: Output) -> None:
    """Train and score several methods over several seeds; a table with paired intervals, bars and pictures."""
    entries: dict[str, Any] = {name: (one.method, one.settings) for name, one in recipe.variants.items()}
    if variants:
        entries = _entries(variants)
    planned = plan_comparison(
        entries,
        data_from(options.data),
        settings(options.method.changes),
        seeds=_seeds(options.seeds),
        at=options.at,
        images=options.images,
        preset=options.method.preset,
        name=options.storage.name,
        storage=options.storage.storage,
        workers=workers_of(options.resources.workers, options.local),
        gpus_per_worker=options.resources.gpus_per_worker,
        max_failures=options.resources.max_failures,
        wandb=options.output.wandb,
        recipe=recipe,
    )
    if options.output.dry_run:
        plan = planned.document()
        out.result(plan, comparison_plan(plan))
        return
    found = planned.run().document
    out.result(found, *comparison_result(found))


def _entries(variants: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in variants:
        label, method, own = parse_variant(text)
        if label in found:
            raise InputError(f"two variants are called {label!r}; write LABEL=METHOD,path=value,... to tell them apart")
        found[label] = (method, dict(parse_assignment(item) for item in own))
    return found


def parse_variant(text: str) -> tuple[str, str, list[str]]:
    """`LABEL=METHOD,path=value,...` -> (label, method, assignments); the label defaults to the text itself.

    Commas inside brackets belong to a value: `maps.scales=[1.0,2.0]`.
    """
    items, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            items.append("")
        else:
            items[-1] += letter
    head, *assignments = [item.strip() for item in items]
    label, equals, method = head.partition("=")
    if not equals:
        label, method = text.strip(), head
    if not method or any("=" not in item for item in assignments):
        raise InputError(f"variant {text!r}: expected METHOD, or LABEL=METHOD,path=value,...")
    return label.strip(), method.strip(), assignments


def _seeds(text: str) -> int | list[int]:
    try:
        return [int(item) for item in text.removesuffix(",").split(",")] if "," in text else int(text)
    except ValueError:
        raise InputError(
            f"--seeds {text!r}: expected a number of seeds, or different numbers such as 0,2,5", field="--seeds"
        ) from None
