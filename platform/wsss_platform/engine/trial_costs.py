"""What a trial costs as if nothing had been in the store, read from what made its stages wrote down.

Seconds are the sum of its stages' recorded seconds, one after another: those of a stage that another trial or run made
count in full, so that the order of the trials does not matter. They were measured where and when each stage was made:
another machine, or neighbours on the same one, show in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from wsss_platform.costs import training_seconds
from wsss_platform.engine.objectives import MEMORY, REPORTED, SECONDS
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment, Stage
from wsss_platform.stages import METRICS, EpochEnd
from wsss_platform.store import MANIFEST, Store
from wsss_platform.train.record import read_epochs


def measured(experiments: Sequence[Experiment], store: Store, objectives: Sequence[str]) -> dict[str, float]:
    """A finished trial's costs under the names of its last report: the mean of its seeds' seconds, the most memory.

    Args:
        experiments: the trial's, one per seed.
        store: that holds their stages.
        objectives: of the study; accuracy is passed over.

    Raises:
        InputError: a stage that does not say it; naming the stage.
    """
    found: dict[str, float] = {}
    if SECONDS in objectives:
        found[REPORTED[SECONDS]] = fmean(seconds(each, store) for each in experiments)
    if MEMORY in objectives:
        found[REPORTED[MEMORY]] = max(memory(each, store) for each in experiments)
    return found


def seconds(experiment: Experiment, store: Store) -> float:
    """Sum of the recorded seconds of all stages."""
    return sum(_seconds(stage, store) for stage in experiment.stages)


def memory(experiment: Experiment, store: Store) -> float:
    """GiB: the largest peak of its trainings."""
    peaks: list[float] = []
    for stage in (stage for stage in experiment.stages if stage.kind == "train"):
        ends = _epochs(stage, store)
        if not ends:
            raise InputError(
                f"objectives: {stage.name} ({stage.key[:12]}) does not say its peak memory: its weights are from a file"
            )
        peaks += [end.memory for end in ends]
    return max(peaks)


def _seconds(stage: Stage, store: Store) -> float:
    manifest = _manifest(stage, store)
    if stage.kind != "train":
        return float(manifest["seconds"])
    return training_seconds(manifest, _epochs(stage, store))


def _manifest(stage: Stage, store: Store) -> Mapping[str, Any]:
    """Of the stage, also of one that was dropped since."""
    if (store.folder(stage.kind, stage.key) / MANIFEST).is_file():
        return store.open(stage.kind, stage.key).manifest
    gone = store.dropped(stage.kind, stage.key)
    if gone is None:
        raise InputError(
            f"objectives: {stage.name} ({stage.key[:12]}) is not in the store any more, so that its seconds are not "
            "known; remove what was made from it, or search without seconds"
        )
    return gone


def _epochs(stage: Stage, store: Store) -> list[EpochEnd]:
    return read_epochs(store.folder(stage.kind, stage.key) / METRICS)
