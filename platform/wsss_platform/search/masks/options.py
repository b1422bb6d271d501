"""The options of a search on a run's stored maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_platform.config.options import group, option
from wsss_platform.config.verb_options import PlanOptions, RecipeOptions, StorageOptions
from wsss_platform.search.levels import DRAWN

IMAGES, CONFIRM = 162, 200
"""Images that settings are chosen on, and other ones that the winner is confirmed on."""


@dataclass(frozen=True)
class RunSearchOptions(RecipeOptions, PlanOptions):
    """What is tried on a run's stored maps."""

    trials: int = option(DRAWN, "Try this many settings.", "Search", low=1)
    space: Path | None = option(
        None, "Search the axes of this file. Default: search_spaces/crf.toml.", "Search", metavar="FILE"
    )
    images: int = option(IMAGES, "Choose the settings on this many images.", "Search", low=8)
    confirm: int = option(CONFIRM, "Confirm the winner on this many other images.", "Search", low=0)
    changes: list[str] | None = option(
        None,
        "Override one setting of the masks first; repeatable.",
        "Method",
        flag="--set",
        metavar="SETTING=VALUE",
        typed=True,
    )
    split: str | None = option(
        None,
        "Search this split. Default: the run's own.",
        "Data",
        flag="--score-split",
        former="--score-list",
        metavar="NAME",
    )
    seed: int = option(0, "Draw settings and images with this random seed.", "Search", low=0)
    threads: int | None = option(
        None, "Work on this many images at once. Default: one for each CPU.", "Resources", low=1
    )
    storage: StorageOptions = group(StorageOptions)
