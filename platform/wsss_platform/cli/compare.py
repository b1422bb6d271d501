"""`compare`: methods side by side on the same images and seeds; the same command continues where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from wsss_platform.api._compare import plan_comparison
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import data_from
from wsss_platform.config import parse_assignment
from wsss_platform.config.options import group
from wsss_platform.config.recipes import Recipe
from wsss_platform.config.verb_options import CompareOptions, DataOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.comparison import comparison_plan, comparison_result

Variants = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VARIANT...",
        help="METHOD or [LABEL=]METHOD,SETTING=VALUE,...; the first is the baseline.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Options:
    """Of `compare`."""

    data: DataOptions = group(DataOptions)
    compare: CompareOptions = group(CompareOptions)


@verb("compare", Options)
def compare(variants: Variants = None, *, options: Options, recipe: Recipe, out: Output) -> None:
    """Train and score variants over several random seeds, and print their paired differences.

    The folder of the comparison gets the tables, bars and images where the variants differ.
    """
    entries: dict[str, Any] = {name: (one.method, one.settings) for name, one in recipe.variants.items()}
    if variants:
        entries = _entries(variants)
    changes = settings(options.compare.method.changes)
    planned = plan_comparison(entries, data_from(options.data), changes, options.compare, recipe)
    page = options.compare.page
    if page is not None:
        from wsss_platform.report.comparison_page import page_file  # it loads matplotlib

        page_file(page, planned.folder.name)  # what is wrong with it is said before anything is trained
    if options.compare.output.dry_run:
        plan = planned.document()
        out.result(plan, comparison_plan(plan))
        return
    done = planned.run()
    told = [] if page is None else [f"page: {done.write_page(page)}"]
    out.result(done.document, *comparison_result(done.document), *told)


def _entries(variants: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in variants:
        label, method, own = parse_variant(text)
        if label in found:
            raise InputError(f"two variants are called {label!r}; write LABEL=METHOD,SETTING=VALUE,... to name each")
        found[label] = (method, dict(parse_assignment(item) for item in own))
    return found


def parse_variant(text: str) -> tuple[str, str, list[str]]:
    """`LABEL=METHOD,SETTING=VALUE,...` -> (label, method, assignments); the label defaults to the text itself.

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
        raise InputError(f"variant {text!r}: expected METHOD, or LABEL=METHOD,SETTING=VALUE,...")
    return label.strip(), method.strip(), assignments
