"""The options that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

STORAGE = Path("wsss-storage")
"""The default storage folder."""
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="Take a phase's weights from a file (import-weights, or another weights.pt) instead of training it.",
        metavar="PHASE=FILE",
    ),
]
Producers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes for maps, masks and counts; default: what there is room for.", min=1),
]
