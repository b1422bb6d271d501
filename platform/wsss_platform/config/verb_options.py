"""Groups of options that several verbs have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_platform.config.options import group, option
from wsss_platform.errors import InputError

STORAGE = Path("wsss-storage")
"""The default storage folder."""


@dataclass(frozen=True)
class JsonOptions:
    """Of every verb."""

    as_json: bool = option(False, "Print one JSON document on standard output.", "Output", flag="--json", typed=True)
    quiet: bool = option(False, "Print neither progress nor notes, only results and errors.", "Output", typed=True)


@dataclass(frozen=True)
class PlanOptions(JsonOptions):
    """Of verbs that plan first."""

    dry_run: bool = option(False, "Print the plan and start nothing.", "Output", typed=True)


@dataclass(frozen=True)
class RecipeOptions:
    """Of verbs that follow a recipe."""

    recipe: str | None = option(
        None,
        "Follow this recipe: a shipped one, such as sample/fbr, or a TOML file. It may name what the arguments name.",
        "Method",
        metavar="NAME|FILE",
        typed=True,
    )
    config: Path | None = option(None, "Follow this recipe.", "Method", metavar="FILE", hidden=True, typed=True)


@dataclass(frozen=True)
class TreeOptions:
    """Which data set."""

    data: str = option(
        "sample",
        "Use this data set: sample (built in), or a folder: a VOC tree, COCO, or images with a label file. It is "
        "recognised; voc:DIR, coco:DIR and images:DIR say what it is.",
        "Data",
        metavar="sample|FOLDER",
    )
    root: str = option("", "Read the data set of kind --data in this folder.", "Data", metavar="DIR", hidden=True)


@dataclass(frozen=True)
class DataOptions(TreeOptions):
    """Which images."""

    train_split: str | None = option(None, "Train on this split.", "Data", metavar="NAME", former="--train-list")
    score_split: str | None = option(
        None, "Score this split. Default: the trained one.", "Data", metavar="NAME", former="--score-list"
    )


@dataclass(frozen=True)
class SettingsOptions(RecipeOptions):
    """Where a method's settings come from, the later before the earlier: preset, recipe, single settings."""

    preset: str | None = option(
        None, "Start from this shipped partial config. Default: sample with --data sample.", "Method", metavar="NAME"
    )
    changes: list[str] | None = option(
        None,
        "Override one setting, such as loss.contrast=0.05; repeatable.",
        "Method",
        flag="--set",
        metavar="SETTING=VALUE",
        typed=True,
    )


@dataclass(frozen=True)
class MethodOptions(SettingsOptions):
    """A method's settings and its random seed."""

    seed: int = option(
        0, "Draw initial weights and crops (and the trials of a study) with this random seed.", "Method", low=0
    )


@dataclass(frozen=True)
class ResourceOptions:
    """What a training may take."""

    workers: int = option(1, "Train with this many processes; they make the maps, too.", "Resources", low=1)
    gpus_per_worker: float | None = option(
        None, "Give each worker this many GPUs. Default: 1 where there are GPUs.", "Resources", low=0
    )
    max_failures: int = option(
        0,
        "Continue while at most this many images fail (unreadable, or killing their worker) in maps, masks and scores. "
        "They are listed with the reason; what is scored then is another protocol.",
        "Resources",
        low=0,
    )


@dataclass(frozen=True)
class StorageOptions:
    """Where things are kept."""

    storage: Path = option(
        STORAGE, "Keep stages, runs and studies in this folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE"
    )
    name: str | None = option(
        None, "Name it. Default: from what is asked for, with a hash; the same command continues it.", "Storage"
    )


@dataclass(frozen=True)
class OutputOptions(PlanOptions):
    """What is reported, and where."""

    wandb: str = option(
        "auto",
        "Track with W&B: auto (online when logged in), online, offline or disabled.",
        "Output",
        envvar="WSSS_WANDB",
        metavar="MODE",
    )


@dataclass(frozen=True)
class ImportingOptions(TreeOptions):
    """Of verbs that make a run of files that somebody else made."""

    split: str | None = option(None, "Take the images of this split.", "Data", metavar="NAME", former="--list")
    supervision: list[str] | None = option(
        None,
        "State knowledge that went into the files: image-labels, image-text-pairs, self-supervised-features, "
        "class-agnostic-masks, saliency, class-masks or other; repeatable. The protocol says it.",
        "Data",
        metavar="KIND[:MODEL[@HASH]]",
    )
    workers: int | None = option(None, "Use this many processes. Default: what there is room for.", "Resources", low=1)
    max_failures: int = option(0, "Continue while at most this many images fail.", "Resources", low=0)
    local: bool = option(False, "Use this process alone, without Ray.", "Resources")
    storage: Path = option(STORAGE, "Keep the run in this folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")
    output: OutputOptions = group(OutputOptions)

    @property
    def planned(self) -> dict[str, Any]:
        """What the plan of an import is told of them."""
        told = {name: getattr(self, name) for name in ("storage", "workers", "local", "max_failures")}
        return {**told, "wandb": self.output.wandb}


@dataclass(frozen=True)
class StoredOptions(JsonOptions):
    """Of verbs that read a storage folder."""

    storage: Path = option(STORAGE, "Read this storage folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")


@dataclass(frozen=True)
class OpenOptions(TreeOptions, JsonOptions):
    """Of verbs that open a data set without a method."""

    changes: list[str] | None = option(
        None,
        "Override one setting, such as data.sample.size=96; repeatable.",
        "Data",
        flag="--set",
        metavar="SETTING=VALUE",
        typed=True,
    )


@dataclass(frozen=True)
class StageOptions(PlanOptions):
    """Of the verbs that continue a recorded run."""

    split: str | None = option(
        None,
        "Take this split. Default: the run's own.",
        "Data",
        flag="--score-split",
        former="--score-list",
        metavar="NAME",
    )
    changes: list[str] | None = option(
        None,
        "Override one setting of this stage; repeatable.",
        "Method",
        flag="--set",
        metavar="SETTING=VALUE",
        typed=True,
    )
    producers: int | None = option(
        None, "Use this many processes. Default: what there is room for.", "Resources", low=1, flag="--workers"
    )
    gpus_per_worker: float | None = option(
        None, "Give each process this many GPUs. Default: 1 where there are GPUs.", "Resources", low=0
    )
    max_failures: int = option(
        0,
        "Continue while at most this many images fail; they are listed with the reason.",
        "Resources",
        low=0,
    )
    local: bool = option(False, "Use this process alone, without Ray; the bytes are the same.", "Resources")
    storage: Path = option(STORAGE, "Read this storage folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")

    @property
    def planned(self) -> dict[str, Any]:
        """As arguments of `api._stages.plan_stage`."""
        return {
            "split": self.split,
            "storage": self.storage,
            "workers": self.producers,
            "gpus_per_worker": self.gpus_per_worker,
            "local": self.local,
            "max_failures": self.max_failures,
        }


@dataclass(frozen=True)
class ConfiguredStageOptions(StageOptions):
    """The same where a file may hold settings."""

    config: Path | None = option(
        None, "Take settings from this TOML file, such as the best.toml of a search.", "Method", metavar="FILE"
    )

    @property
    def planned(self) -> dict[str, Any]:
        """As arguments of `api._stages.plan_stage`."""
        return {**super().planned, "config": self.config}


@dataclass(frozen=True)
class LocalOptions(ResourceOptions):
    """What a run may take that needs no cluster."""

    local: bool = option(False, "Use one process, without Ray; the same bytes with one worker.", "Resources")

    def check_local(self) -> None:
        """InputError for several workers in one process."""
        if self.local and self.workers > 1:
            told = f"--local runs one process; expected --workers 1, got {self.workers}"
            raise InputError(told, field="--workers")


@dataclass(frozen=True)
class TrainOptions:
    """Of `train`, besides its data."""

    method: MethodOptions = group(MethodOptions)
    until: str = option("train", "End with this stage: train, maps, masks or score.", "Method", metavar="STAGE")
    weights: list[str] | None = option(
        None,
        "Take a phase's weights from a file (import-weights, or another weights.pt) instead of training it.",
        "Method",
        metavar="PHASE=FILE",
    )
    wandb_images: int = option(
        0, "Send panels of this many worst, best and random images to W&B; none unless asked.", "Output", low=0
    )
    resources: LocalOptions = group(LocalOptions)
    storage: StorageOptions = group(StorageOptions)
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True)
class CompareOptions:
    """Of `compare`, besides its data."""

    method: SettingsOptions = group(SettingsOptions)
    seeds: str = option("3", "Train with this many random seeds, or with a list such as 0,2,5 (one: 2,).", "Search")
    at: str = option(
        "best",
        "Compare at best: each run's maps where its sweep is best; masks: as made; background: each where it takes as "
        "much of the background as the baseline does at its best (as nearly as its sweep allows).",
        "Search",
        metavar="AT",
    )
    images: int = option(6, "Draw this many images where the variants differ.", "Output", low=0, former="--pictures")
    page: Path | None = option(
        None,
        "Write a page (Markdown, with its figures beside it) into this file, or into this folder under the "
        "comparison's name.",
        "Output",
        metavar="FILE|DIR",
        typed=True,
    )
    resources: LocalOptions = group(LocalOptions)
    storage: StorageOptions = group(StorageOptions)
    output: OutputOptions = group(OutputOptions)
