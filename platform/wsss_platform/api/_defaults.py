"""What a call takes where nothing is given: the variables of the environment that the command line reads, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_platform.config.options import check, group, leaves_of
from wsss_platform.config.verb_options import MethodOptions, OutputOptions, ResourceOptions, StorageOptions


@dataclass(frozen=True)
class RunOptions:
    """The options by which arguments of a run are checked."""

    method: MethodOptions = group(MethodOptions)
    resources: ResourceOptions = group(ResourceOptions)
    storage: StorageOptions = group(StorageOptions)
    output: OutputOptions = group(OutputOptions)


_LEAVES = {leaf.name: leaf for leaf in leaves_of(RunOptions)}


def storage_folder(given: str | Path | None) -> Path:
    """The storage folder: as given, else of WSSS_STORAGE, else wsss-storage."""
    leaf = _LEAVES["storage"]
    return Path(given or leaf.from_environment or leaf.default)


def wandb_mode(given: str | None) -> str:
    """The mode of tracking: as given, else of WSSS_WANDB, else "auto"; InputError for another type."""
    leaf = _LEAVES["wandb"]
    check(RunOptions, {"wandb": given})
    return given or leaf.from_environment or str(leaf.default)
