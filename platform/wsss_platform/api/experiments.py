"""From what a person gives, options or arguments, to an `Experiment`, with every error before anything starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_platform.config import (
    DataConfig,
    MethodConfig,
    flatten,
    override,
    read_toml,
    validated,
    why_without_effect,
)
from wsss_platform.config.recipes import CHOSEN, Recipe
from wsss_platform.data.recognise import as_said
from wsss_platform.errors import InputError, unknown
from wsss_platform.method import Method
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Selection, check_selection
from wsss_platform.run import imported
from wsss_platform.search.space import Axis

log = logging.getLogger(__name__)

NO_RECIPE = Recipe()
DATA_PATHS = {"root": ("",), "labels": ("auto", "xml", "list", "masks"), "masks": ("auto",), "saliency": ("",)}
"""Fields of the data section that are paths, with the words that are none."""


def find_method(name: str) -> Method:
    """A method by its name; InputError with the nearest right one."""
    import wsss_methods

    method: Method = wsss_methods.get(name)
    return method


def build_data(
    base: DataConfig,
    changes: dict[str, Any],
    *,
    kind: str | None = None,
    root: str | None = None,
    train_list: str | None = None,
    score_list: str | None = None,
) -> DataConfig:
    """The data section from the command line. The scored split is the trained one unless named.

    Raises:
        InputError: no folder for a kind that needs one, or an illegal setting.
    """
    given = {"kind": kind, "root": str(Path(root).expanduser().resolve()) if root else None}
    given |= {"train_list": train_list, "score_list": score_list or train_list}
    data = override(base, {key: value for key, value in given.items() if value} | changes, "--set data.*")
    places = {name: _placed(getattr(data, name), words, data.root) for name, words in DATA_PATHS.items()}
    data = override(data, places, "data")
    if data.kind != "sample" and not data.root:
        form = as_said(data.kind, "DIR")
        raise InputError(f"--data {data.kind} needs a folder: --data {form}, or --data {data.kind} --root DIR")
    return data


def build_config(
    method: Method, data: DataConfig, preset: str | None, recipe: Recipe, changes: Mapping[str, Any]
) -> MethodConfig:
    """Defaults, then the preset, then the recipe, then the changes."""
    config = method.config()
    presets = method.presets()
    if preset is None and data.kind == "sample" and "sample" in presets:
        preset = "sample"
    if preset is not None and preset != "default":
        if preset not in presets:
            raise unknown(f"preset of {method.name}", preset, ["default", *presets], "--preset")
        config = override(config, flatten(read_toml(presets[preset])), f"preset {preset}")
    if recipe.settings:
        config = override(config, apart(recipe.settings)[0], recipe.place)
    config = with_changes(config, changes)
    return override(config, {"backbone.weights": _absolute(config.backbone.weights, ("imagenet", "none"))}, "--set")


def with_changes(config: MethodConfig, changes: Mapping[str, Any]) -> MethodConfig:
    """--set on a config; what has no effect beside another setting is said."""
    config = override(config, changes, "--set")
    for path in changes:
        if reason := why_without_effect(config, path):
            log.warning("--set: %s", reason)
    return config


def _absolute(value: str, words: Sequence[str]) -> str:
    """A path that means the same in every folder and on every worker; words that are no paths as they are."""
    return value if value in words else str(Path(value).expanduser().resolve())


def _placed(value: str, words: Sequence[str], root: str) -> str:
    """The same for a path that may lie under the tree's root, too."""
    inside = Path(root).expanduser() / value
    if root and value not in words and not Path(value).expanduser().exists() and inside.exists():
        return str(inside.resolve())
    return _absolute(value, words)


def fields_of(file: Path | None) -> dict[str, Any]:
    """A config file as dotted paths, without the note of a study on how it was chosen; nothing without a file."""
    if file is None:
        return {}
    return flatten({name: value for name, value in read_toml(file).items() if name != CHOSEN})


def chosen_with(file: Path | None) -> Selection:
    """Which ground truth chose the settings of a config file, as a study's best.toml says; "none" otherwise.

    Raises:
        InputError: the file's `[chosen]` table says something else.
    """
    chosen = {} if file is None else read_toml(file).get(CHOSEN, {})
    selection = chosen.get("selection", "none") if isinstance(chosen, dict) else chosen
    return check_selection(selection, f"{file}: {CHOSEN}.selection")


def apart(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by path as those of the method, and those of the data without their "data."."""
    data = {path.removeprefix("data."): value for path, value in settings.items() if path.startswith("data.")}
    return {path: value for path, value in settings.items() if not path.startswith("data.")}, data


def released(weights: Sequence[str] | None) -> dict[str, list[str]]:
    """Files of weights as "PHASE=FILE", as the setting `released`, with absolute paths; nothing without any.

    Raises:
        InputError: a text without a phase or a file.
    """
    found = []
    for item in weights or ():
        phase, equals, file = item.partition("=")
        if not equals or not phase or not file:
            raise InputError(f"--weights {item!r}: expected PHASE=FILE, such as classify=drs.pt")
        found.append(f"{phase}={Path(file).expanduser().resolve()}")
    return {"released": found} if found else {}


def check_released(experiment: Experiment) -> Selection:
    """Phases that are taken from files must exist, and so must the files.

    Returns:
        The ground truth that chose among a release's epochs, as its file says; "none" when it says nothing.
    """
    if not experiment.config.released:
        return "none"
    from wsss_platform.train.checkpoint import read_torch

    phases = [phase.name for phase in experiment.phases]
    chosen: Selection = "none"
    for item in experiment.config.released:
        phase, _, file = item.partition("=")
        if phase not in phases:
            raise unknown(f"phase of {experiment.method.name} (--weights)", phase, phases)
        selection = check_selection(read_torch(Path(file)).get("selection", "none"), f"{file}: selection")
        chosen = selection if selection != "none" else chosen
    return chosen


def build_experiment(
    method_name: str,
    data: DataConfig,
    settings: Mapping[str, Any],
    *,
    preset: str | None = None,
    recipe: Recipe = NO_RECIPE,
    seed: int = 0,
    workers: int = 1,
) -> Experiment:
    """The experiment that a person describes, with its splits opened.

    Args:
        method_name: of the catalogue, or module:ATTRIBUTE.
        data: without the data settings among `settings`.
        settings: dotted path -> value; those of the data begin with "data.".
        preset: of the method; None: "sample" on the sample.
        recipe: whose settings lie between the preset's and `settings`.
        seed: random seed.
        workers: training processes.

    Raises:
        InputError: anything that is wrong, before Ray starts or a GPU is held.
    """
    method = find_method(method_name)
    config_changes, data_changes = apart(settings)
    data = build_data(data, apart(recipe.settings)[1] | data_changes)
    config = build_config(method, data, preset, recipe, config_changes)
    experiment = Experiment(method, config, data, seed, workers)
    check_lists(experiment)
    check_gates(experiment)
    check_workers(experiment)
    check_released(experiment)
    return experiment


def chosen_in(recipe: Recipe) -> Selection:
    """Which ground truth chose a recipe's settings, as a study's best.toml says; "none" where it says nothing."""
    return check_selection(recipe.chosen.get("selection", "none"), f"{recipe.place}: {CHOSEN}.selection")


def check_lists(experiment: Experiment) -> None:
    """Open both splits, so that a wrong name is an error now."""
    for name in (experiment.data.train_list, experiment.data.score_list):
        experiment.dataset.split(name)


def check_gates(experiment: Experiment, searched: Sequence[Axis] = ()) -> None:
    """Maps of gate "predicted", in the config or among the values of an axis, need a phase that scores images."""
    for phase in experiment.phases:
        values = [value for axis in searched if axis.path == f"{phase.maps}.gate" for value in axis.probes()]
        gated = "predicted" in (experiment.maps_config(phase).gate, *values)
        if gated and not phase.refines and not phase.image_scores:
            raise InputError(
                f"{phase.maps}.gate = 'predicted' needs image scores, and phase {phase.name!r} of "
                f"{experiment.method.name} gives none; expected 'labels' or 'none'"
            )


def check_workers(experiment: Experiment) -> None:
    """The global batch must divide over the workers."""
    for phase in experiment.phases:
        batch = experiment.train_config(phase).batch
        if batch % experiment.workers:
            raise InputError(
                f"{phase.train}.batch = {batch} does not divide over --workers {experiment.workers}; "
                f"expected a multiple of {experiment.workers}"
            )


def reload_experiment(
    method_name: str, config: dict[str, Any], data: dict[str, Any], seed: int, workers: int, where: str
) -> Experiment:
    """An experiment from a stored record."""
    method = imported.METHODS.get(method_name) or find_method(method_name)
    return Experiment(
        method,
        validated(method.config, config, where),
        validated(DataConfig, data, where),
        seed,
        workers,
    )
