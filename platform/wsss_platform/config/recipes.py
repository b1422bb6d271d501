"""Recipes: one TOML document for everything that a verb is asked for.

    verb = "tune"                   # train, tune, compare or search
    method = "fbr"                  # of search: run = "NAME"
    seed = 1                        # with preset, name, workers and until: options of the verb that stand at the top
    [loss]                          # and the method's settings, as in a preset
    negative_regions = 0.1
    [data]                          # settings of the data
    kind = "voc12"
    root = "VOCdevkit/VOC2012"
    [study]                         # options of tune, rare ones too; [search] of search, [compare] of compare
    trials = 20
    [compare.variants.ours]         # of compare: each variant with its method and settings
    method = "fbr"

A file of settings alone, such as a study's `best.toml`, is a recipe, too. The command line goes before the recipe, the
recipe before the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from wsss_platform.config.section import flatten, read_toml
from wsss_platform.errors import InputError, unknown

VERBS = ("train", "tune", "compare", "search")
TABLES = {"tune": "study", "compare": "compare", "search": "search"}
"""Verb -> the table that holds its options."""
TOP = (
    *("preset", "seed", "name", "workers", "gpus_per_worker", "max_failures", "storage", "wandb", "until", "weights"),
    "local",
)
"""Options that may stand at the top."""
CHOSEN = "chosen"
"""A study's note on how settings were chosen."""
DATA_OPTIONS = {
    **{"kind": "data", "root": "root", "train_list": "train_split", "score_list": "score_split"},
    **{"train_split": "train_split", "score_split": "score_split"},
}
"""Names in [data] that are options of a verb -> the names of these options."""

SHORT = 60
"""Letters of a list that is written in one line."""


@dataclass(frozen=True)
class Variant:
    """One entry of a comparison."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> value."""


@dataclass(frozen=True)
class Recipe:
    """What a document says; the empty one says nothing."""

    place: str = ""
    """Its file, for messages."""
    method: str | None = None
    run: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the verb, by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the method, by dotted path; those of the data begin with "data."."""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    """Of a comparison, by label."""
    chosen: Mapping[str, Any] = field(default_factory=dict)


def read_recipe(path: Path, verb: str) -> Recipe:
    """A recipe for a verb.

    Args:
        path: of the TOML file.
        verb: that is to follow it.

    Raises:
        InputError: no such file, not TOML, a recipe of another verb, or a table that this verb does not have.
    """
    document = read_toml(path)
    said = document.pop("verb", verb)
    if said not in VERBS:
        raise unknown(f"verb of recipe {path}:", str(said), VERBS)
    if said != verb:
        raise InputError(f"{path}: a recipe for `wsss-platform {said}`; expected one for {verb}")
    tables = {table: document.pop(table) for table in TABLES.values() if isinstance(document.get(table), dict)}
    own = tables.pop(TABLES.get(verb, ""), {})
    for table in tables:
        raise InputError(f"{path}: [{table}] belongs to another verb; {verb} has [{TABLES.get(verb, 'data')}]")
    # A table is no option: `[seed.train]` are settings of fbr's first phase.
    options = {name: document.pop(name) for name in TOP if name in document and not isinstance(document[name], dict)}
    data = flatten(_table(document, "data", path))
    options |= {DATA_OPTIONS[name]: data.pop(name) for name in DATA_OPTIONS if name in data}
    for name in ("data", *(set(options) & set(own))):
        if name in own:
            told = f"{path}: [{TABLES[verb]}] {name} has another place in a recipe; see docs/recipes.md"
            raise InputError(told, field=name)
    variants = _table(own, "variants", path) if verb == "compare" else {}
    method, run = _text(document, "method", path), _text(document, "run", path)
    _check_subject(verb, method, run, path)
    return Recipe(
        place=str(path),
        method=method,
        run=run,
        chosen=_table(document, CHOSEN, path),
        options={**options, **own},
        variants={label: _variant(label, table, path) for label, table in variants.items()},
        settings={**flatten(document), **{f"data.{name}": value for name, value in data.items()}},
    )


def comparison_recipe(
    variants: Mapping[str, Variant],
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    top: Mapping[str, Any],
    compare: Mapping[str, Any],
) -> str:
    """A comparison as the text of a recipe, which `read_recipe` reads back.

    Args:
        variants: by label, the baseline first.
        data: fields of the data section, by dotted path.
        settings: of every variant, by dotted path, without those of the data.
        top: options that stand at the top, by name.
        compare: options of `compare`, by name.

    Returns:
        TOML. Settings are written as dotted keys, and a list that would make a long line has a line for each value.
    """
    parts = [
        _assignments({"verb": "compare", **top, **settings}),
        f"[data]\n{_assignments(data)}",
        f"[compare]\n{_assignments(compare)}",
    ]
    for label, variant in variants.items():
        header = f"[compare.variants.{_key(label)}]"
        parts.append(f"{header}\n{_assignments({'method': variant.method, **variant.settings})}")
    return "\n".join(parts)


def _assignments(values: Mapping[str, Any]) -> str:
    """A line `path = value` for each; a path is dotted, and its parts are names of settings."""
    return "".join(f"{path} = {_written(value)}\n" for path, value in values.items() if value is not None)


def _written(value: Any) -> str:
    """A value as TOML: a list stands in one line where that is short."""
    if isinstance(value, list | tuple):
        line = f"[{', '.join(map(_written, value))}]"
        if len(line) <= SHORT:
            return line
    return tomli_w.dumps({"value": str(value) if isinstance(value, Path) else value}).removeprefix("value = ").rstrip()


def _key(label: str) -> str:
    """A label as a TOML key, quoted where it must be."""
    return tomli_w.dumps({label: 0}).removesuffix(" = 0\n")


def _check_subject(verb: str, method: str | None, run: str | None, path: Path) -> None:
    """What a verb works on: a method, a run, or the variants of a comparison."""
    if run is not None and verb != "search":
        raise InputError(f"{path}: run: {verb} takes no run; expected method", field="run")
    if method is not None and verb in ("search", "compare"):
        expected = "run" if verb == "search" else "[compare.variants.NAME] with a method each"
        raise InputError(f"{path}: method: {verb} takes none; expected {expected}", field="method")


def _variant(label: str, given: Any, path: Path) -> Variant:
    if not isinstance(given, dict):
        raise InputError(f'{path}: [compare.variants.{label}]: expected a table with method = "...", got {given!r}')
    table = dict(given)
    method = _text(table, "method", path)
    if method is None:
        raise InputError(f'{path}: [compare.variants.{label}] names no method; expected method = "fbr" or another one')
    return Variant(method, flatten(table))


def _text(document: dict[str, Any], name: str, path: Path) -> str | None:
    value = document.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path}: {name}: expected a text, got {value!r}")
    return value


def _table(document: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = document.pop(name, {})
    if not isinstance(value, dict):
        raise InputError(f"{path}: {name}: expected a table [{name}], got {value!r}")
    return value
