"""The options that verbs share, and what they turn into: an `Experiment`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform import imported
from wsss_platform.cli.output import note
from wsss_platform.config import (
    DataConfig,
    MethodConfig,
    flatten,
    override,
    parse_assignment,
    read_toml,
    validated,
    why_without_effect,
)
from wsss_platform.errors import InputError, unknown
from wsss_platform.experiment import Experiment
from wsss_platform.method import Method
from wsss_platform.protocol import CHOSEN, Selection, check_selection
from wsss_platform.search.space import Axis
from wsss_platform.store import Store

MethodName = Annotated[
    str, typer.Argument(metavar="METHOD", help="A method of `wsss-platform methods`, or my_package.module:METHOD.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in the storage folder.")]
Data = Annotated[str, typer.Option("--data", help="sample (built in) or voc12.", metavar="sample|voc12")]
Root = Annotated[str, typer.Option("--root", help="Folder of the VOC2012 tree.", metavar="DIR")]
TrainList = Annotated[str | None, typer.Option("--train-list", help="List to train on.", metavar="NAME")]
ScoreList = Annotated[str | None, typer.Option("--score-list", help="List to score.", metavar="NAME")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", help="A shipped partial config, such as paper. Without --config, --data sample takes sample."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of config fields.", metavar="FILE")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one field, such as loss.contrast=0.05; repeatable.", metavar="PATH=VALUE"),
]
Storage = Annotated[
    Path,
    typer.Option("--storage", help="Where stages, runs and studies are kept.", metavar="DIR", envvar="WSSS_STORAGE"),
]
Seed = Annotated[int, typer.Option("--seed", help="Of initial values, crops and the search.", min=0)]
Workers = Annotated[int, typer.Option("--workers", help="Training processes (and processes for maps).", min=1)]
GpusPerWorker = Annotated[
    float | None,
    typer.Option("--gpus-per-worker", help="Default: 1 when the cluster has GPUs, else 0.", min=0.0),
]
Name = Annotated[str | None, typer.Option("--name", help="Default: method, data and a hash of the settings.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
MirrorUrl = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        help="Shares stages with machines that do not see this storage: looked up there before they are made, "
        "copied there when they were. s3://bucket/folder, gs://... or a folder.",
        metavar="URL",
        envvar="WSSS_MIRROR",
    ),
]
MaxFailures = Annotated[
    int,
    typer.Option(
        "--max-failures",
        help="Pictures that may fail (unreadable, or killing their worker) in maps, masks and scores. They are listed "
        "with the reason; what is scored then is another protocol.",
        min=0,
    ),
]
Local = Annotated[bool, typer.Option("--local", help="One process, without Ray; the same bytes with one worker.")]
Wandb = Annotated[
    str,
    typer.Option("--wandb", help="auto (online when logged in), online, offline or disabled.", envvar="WSSS_WANDB"),
]

Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="Take a phase's weights from a file (import-weights, or another weights.pt) instead of training it.",
        metavar="PHASE=FILE",
    ),
]

DATA_PATHS = {"root": ("",), "labels": ("auto", "xml", "list", "masks"), "masks": ("auto",), "saliency": ("",)}
"""Fields of the data section that are paths, with the words that are none."""
STORAGE = Path("wsss-storage")
"""The default storage folder."""


def open_store(storage: Path, max_failures: int = 0, mirror: str | None = None) -> Store:
    """The storage folder, sharing its stages with a mirror when one is named.

    Raises:
        InputError, RunError: a mirror that there is not, or that does not answer.
    """
    if mirror is None:
        return Store(storage, max_failures)
    from wsss_platform.mirror import Mirror

    return Store(storage, max_failures, Mirror(mirror).check())


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
    """The data section from the command line. The scored list is the trained one unless named.

    Raises:
        InputError: unknown data, no --root for voc12, or a list that does not exist.
    """
    if kind is not None and kind not in ("sample", "voc12"):
        raise unknown("data set (--data)", kind, ["sample", "voc12"])
    given = {"kind": kind, "root": str(Path(root).expanduser().resolve()) if root else None}
    given |= {"train_list": train_list, "score_list": score_list or train_list}
    data = override(base, {key: value for key, value in given.items() if value} | changes, "--set data.*")
    data = override(data, {name: _absolute(getattr(data, name), words) for name, words in DATA_PATHS.items()}, "data")
    if data.kind == "voc12" and not data.root:
        raise InputError("--data voc12 needs --root DIR, the folder that holds JPEGImages and ImageSets")
    return data


def build_config(
    method: Method, data: DataConfig, preset: str | None, file: Path | None, changes: dict[str, Any]
) -> MethodConfig:
    """Defaults, then the preset, then the file, then --set."""
    config = method.config()
    presets = method.presets()
    if preset is None and data.kind == "sample" and "sample" in presets and file is None:
        preset = "sample"
    if preset is not None and preset != "default":
        if preset not in presets:
            raise unknown(f"preset of {method.name}", preset, ["default", *presets])
        config = override(config, flatten(read_toml(presets[preset])), f"preset {preset}")
    if file is not None:
        config = override(config, fields_of(file), str(file))
    config = with_changes(config, changes)
    return override(config, {"backbone.weights": _absolute(config.backbone.weights, ("imagenet", "none"))}, "--set")


def with_changes(config: MethodConfig, changes: Mapping[str, Any]) -> MethodConfig:
    """--set on a config; what has no effect beside another setting is said."""
    config = override(config, changes, "--set")
    for path in changes:
        if reason := why_without_effect(config, path):
            note(f"--set: {reason}")
    return config


def _absolute(value: str, words: Sequence[str]) -> str:
    """A path that means the same in every folder and on every worker; words that are no paths as they are."""
    return value if value in words else str(Path(value).expanduser().resolve())


def fields_of(file: Path | None) -> dict[str, Any]:
    """A config file as dotted paths, without the note of a study on how it was chosen; nothing without a file."""
    if file is None:
        return {}
    return flatten({name: value for name, value in read_toml(file).items() if name != CHOSEN})


def chosen_with(file: Path | None) -> Selection:
    """Which pixel truth chose the settings of a config file, as a study's best.toml says; "none" otherwise.

    Raises:
        InputError: the file's `[chosen]` table says something else.
    """
    chosen = {} if file is None else read_toml(file).get(CHOSEN, {})
    selection = chosen.get("selection", "none") if isinstance(chosen, dict) else chosen
    return check_selection(selection, f"{file}: {CHOSEN}.selection")


def assignments(given: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """--set options as (config changes, data changes); the latter were written data.PATH=VALUE."""
    pairs = dict(parse_assignment(text) for text in given or ())
    data = {path.removeprefix("data."): value for path, value in pairs.items() if path.startswith("data.")}
    return {path: value for path, value in pairs.items() if not path.startswith("data.")}, data


def taken(weights: Sequence[str] | None) -> list[str]:
    """--weights options as an assignment of `released`, with absolute paths."""
    found = []
    for item in weights or ():
        phase, equals, file = item.partition("=")
        if not equals or not phase or not file:
            raise InputError(f"--weights {item!r}: expected PHASE=FILE, such as classify=drs.pt")
        found.append(f"{phase}={Path(file).expanduser().resolve()}")
    return [f"released={json.dumps(found)}"] if found else []


def check_released(experiment: Experiment) -> Selection:
    """Phases that are taken from files must exist, and so must the files.

    Returns:
        The pixel truth that chose among a release's epochs, as its file says; "none" when it says nothing.
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
    *,
    data: str,
    root: str,
    train_list: str | None,
    score_list: str | None,
    preset: str | None,
    file: Path | None,
    changes: Sequence[str] | None,
    seed: int,
    workers: int,
) -> Experiment:
    """The experiment that a command line describes, with its lists opened.

    Raises:
        InputError: anything that is wrong, before Ray starts or a GPU is held.
    """
    method = find_method(method_name)
    config_changes, data_changes = assignments(changes)
    data_config = build_data(
        DataConfig(), data_changes, kind=data, root=root, train_list=train_list, score_list=score_list
    )
    config = build_config(method, data_config, preset, file, config_changes)
    experiment = Experiment(method, config, data_config, seed, workers)
    check_lists(experiment)
    check_gates(experiment)
    check_workers(experiment)
    check_released(experiment)
    return experiment


def check_lists(experiment: Experiment) -> None:
    """Open both lists, so that a wrong name is an error now."""
    for name in (experiment.data.train_list, experiment.data.score_list):
        experiment.dataset.split(name)


def check_gates(experiment: Experiment, searched: Sequence[Axis] = ()) -> None:
    """Maps of gate "predicted", in the config or among the values of an axis, need a phase that scores pictures."""
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
    method = imported.METHOD if method_name == imported.NAME else find_method(method_name)
    return Experiment(
        method,
        validated(method.config, config, where),
        validated(DataConfig, data, where),
        seed,
        workers,
    )


def thread_defaults(workers: int) -> int:
    """CPU threads per worker: the machine's cores shared out, at least one."""
    return max(1, (os.cpu_count() or 1) // max(1, workers))
