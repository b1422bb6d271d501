"""What a plan costs: how often each stage is made, and the hours by the speed of earlier stages in the store.

Reads only. Stages are compared by method, name and what their speed depends on (`like`).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsss_platform.method import Phase
from wsss_platform.plan.documents import PlanCost, StageCost
from wsss_platform.plan.experiment import Experiment, Kind, Stage, check_truth, is_cached, needed
from wsss_platform.plan.jobs import METRICS, EpochEnd
from wsss_platform.plan.speed import like
from wsss_platform.run.trial_rows import ENDED, read_rows
from wsss_platform.search.effects import axes_by_stage
from wsss_platform.search.space import Axis, SearchSpace
from wsss_platform.store.artefacts import MANIFEST, Store, images_of

if TYPE_CHECKING:
    from wsss_platform.search.levels import Levels


@dataclass(frozen=True)
class Cost:
    """How often a stage is made, at most, and how long one takes."""

    stage: str
    kind: Kind | Literal["inner"]
    """"inner": a setting of the masks that is only counted, on stored maps."""
    times: int
    crf: bool
    """Masks and inner: whether a dense CRF runs in it, or may."""
    seconds: float | None
    """Of one; None when nothing like it was made before."""
    earlier: int
    """Stages in the store that the speed is the median of."""
    row: str = ""
    """Of the comparison at the end of a study, which needs it; "" for a run and for trials."""
    split: str = ""
    """That it goes through; "" for inner settings."""

    @property
    def name(self) -> str:
        """For a person: the stage, behind its row where it has one."""
        return f"{self.row}: {self.stage}" if self.row else self.stage


class Speeds:
    """Seconds per image (of a training: per image and epoch) of what the store holds."""

    def __init__(self, store: Store) -> None:
        """Read every manifest once; damaged ones are left out, as `store verify` names them."""
        self._made: dict[tuple[str, str], list[tuple[dict[str, Any], float]]] = {}
        for path in (store.root / "stages").glob(f"*/*/{MANIFEST}"):
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                slot, alike = _slot_of(manifest), manifest["like"]
                seconds = _seconds_per_image(path.parent, manifest)
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if seconds is not None:
                self._made.setdefault(slot, []).append((alike, seconds))

    def of(self, experiment: Experiment, stage: Stage) -> tuple[float | None, int]:
        """Seconds that the stage will take, and the number of earlier stages that say so; (None, 0) without any."""
        wanted = like(experiment, stage)
        slots = {_slot(stage.kind, experiment.identity(stage.phase)), (experiment.method.name, stage.name)}
        found = [seconds for slot in slots for had, seconds in self._made.get(slot, []) if had == wanted]
        if not found:
            return None, 0
        images = len(experiment.dataset.split(stage.list_name).ids)
        epochs = experiment.train_config(stage.phase).epochs if stage.kind == "train" else 1
        return statistics.median(found) * images * epochs, len(found)


def _slot(kind: str, identity: Sequence[Any]) -> tuple[str, str]:
    """What stages share whose speeds may be alike: method and stage, of a plain CAM phase those of plain CAM."""
    method, _, phase = identity
    return method, f"{kind}:{phase}"


def _slot_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    if "identity" in manifest:
        return _slot(manifest["kind"], manifest["identity"])
    return manifest["method"], manifest["stage"]  # of an earlier version, which knew no phase of several methods


def _seconds_per_image(folder: Path, manifest: dict[str, Any]) -> float | None:
    """None when nothing was worked on (weights from a file)."""
    counted = images_of(manifest)
    if counted is not None:
        return float(manifest["seconds"]) / counted if counted else None
    from wsss_platform.train.record import read_epochs

    ends = read_epochs(folder / METRICS)
    images = sum(end.images_per_second * end.seconds for end in ends)
    return training_seconds(manifest, ends) / images if images else None


def training_seconds(manifest: Mapping[str, Any], ends: Sequence[EpochEnd]) -> float:
    """Wall seconds of a finished training: its manifest's, which count the start of the workers, too, but of a resumed
    training only the last part; then the sum over its epochs.

    Args:
        manifest: of the stage.
        ends: its epochs.
    """
    return max(float(manifest["seconds"]), sum(end.seconds for end in ends))


def trained(experiment: Experiment, store: Store) -> float | None:
    """Wall seconds of all trainings of a finished run; one that other runs share counts in each. None when one of them
    is not in the store any more, or was none (weights from a file).

    Raises:
        RunError: a damaged manifest.
    """
    from wsss_platform.train.record import read_epochs

    stages = [stage for stage in experiment.stages if stage.kind == "train"]
    known = all(store.finished("train", stage.key) and not _is_copied(experiment, stage) for stage in stages)
    if not stages or not known:
        return None
    opened = [store.open("train", stage.key) for stage in stages]
    return sum(training_seconds(stage.manifest, read_epochs(stage.folder / METRICS)) for stage in opened)


def run_costs(experiment: Experiment, store: Store, until: Stage) -> list[Cost]:
    """Costs of one run: every stage that it needs, once."""
    check_truth(experiment, until)
    speeds = Speeds(store)
    todo = [stage for stage in needed(experiment.stages, store, until) if not _is_copied(experiment, stage)]
    return [_cost(experiment, stage, 1, speeds) for stage in todo]


def further_costs(row: str, experiment: Experiment, store: Store, known: set[str], speeds: Speeds) -> list[Cost]:
    """Costs of what a row of the comparison needs beside known stages; its own keys are added to these."""
    found = []
    for stage in needed(experiment.stages, store, experiment.stages[-1]):
        if stage.key not in known and not _is_copied(experiment, stage):
            found.append(replace(_cost(experiment, stage, 1, speeds), row=row))
    known.update(stage.key for stage in experiment.stages)
    return found


def best_costs(row: str, experiment: Experiment, space: SearchSpace, chosen_on: str, speeds: Speeds) -> list[Cost]:
    """Costs of the best trial on the reported split, whichever trial it will be: it has been trained then, but no stage
    of it that an axis changes is known, and its masks are those of the threshold that was chosen.

    Args:
        row: its name.
        experiment: the default config, scored on the reported split.
        space: what is searched.
        chosen_on: the split that chooses; where that is the reported one, its trial has made the maps.
        speeds: of the store.
    """
    changing, found = axes_by_stage(experiment, space), []
    for stage in _scored_chain(experiment.stages[-1]).values():
        anew = stage.kind != "maps" or (bool(changing[stage.key]) and stage.list_name != chosen_on)
        if anew:
            found.append(replace(_cost(experiment, stage, 1, speeds, changing[stage.key]), row=row))
    return found


def _scored_chain(stage: Stage) -> dict[str, Stage]:
    """A score and the stages of images that it is made from, refined maps with what they refine, in order, by key."""
    found: dict[str, Stage] = {}
    for source in stage.inputs.values():
        if source.kind != "train":
            found |= _scored_chain(source)
    return {**found, stage.key: stage}


def study_costs(
    experiment: Experiment,
    space: SearchSpace,
    trials: int,
    store: Store,
    study: str,
    keep_best: int,
    *,
    seeds: int = 1,
    levels: Levels | None = None,
) -> list[Cost]:
    """Costs of the trials that a study still lacks, at most: trials that are stopped early take less.

    Args:
        experiment: with the default config, which is trial 0.
        space: what is searched; decides which stages a trial repeats.
        trials: in total.
        store: of the study.
        study: its name, as it may have trials already.
        keep_best: 0 when the maps of every trial are kept and so found again.
        seeds: runs of each trial, each with a training and maps of its own.
        levels: which axes are searched within a trial; None: none are.
    """
    from wsss_platform.search.masks.table import searched

    check_truth(experiment, experiment.stages[-1])
    speeds = Speeds(store)
    done = {row.number for row in read_rows(store.study_folder(study)) if row.state in ENDED}
    missing, settings = max(0, trials - len(done)), 0
    if levels is not None and levels.settings:
        settings = missing * levels.settings
        if not levels.outer.axes:  # one trial is all of it
            known = {key for one in searched(store.study_folder(study)) for key in one["settings"]}
            settings = max(0, levels.settings - len(known))
            missing = int(settings > 0)
    repeats = _Repeats(space, store, missing, done, keep_best, searched=settings > 0)
    found: dict[str, Cost] = {}
    for offset in range(seeds):
        seeded = experiment.of_seed(offset)
        for stage, times, axes in repeats.of(seeded):
            if not times or _is_copied(seeded, stage):
                continue
            before = found[stage.name].times if stage.name in found else 0
            found[stage.name] = replace(_cost(seeded, stage, times, speeds, axes), times=before + times)
    inner = [_inner_cost(experiment, levels, settings * seeds, store)] if levels is not None and settings else []
    return [*found.values(), *inner]


@dataclass(frozen=True)
class _Repeats:
    """How often the trials that a study lacks make a stage."""

    space: SearchSpace
    store: Store
    missing: int
    """Trials."""
    done: set[int]
    """Numbers of those that are finished."""
    keep_best: int
    searched: bool
    """Whether the masks of a trial are those of its best inner setting."""

    def of(self, experiment: Experiment) -> Iterator[tuple[Stage, int, Sequence[Axis]]]:
        """Each stage with its times and the axes that it depends on."""
        stages = experiment.stages
        changing = axes_by_stage(experiment, self.space)
        shared = [stage for stage in stages if not changing[stage.key]]
        some = bool(shared and self.missing)
        once = {stage.key for stage in needed(experiment.stages, self.store, shared[-1])} if some else set()
        for stage in stages:
            axes = changing[stage.key]
            if not axes:
                yield stage, int(stage.key in once), axes
                continue
            kept = stage.kind in ("train", "score") or not self.keep_best
            times = int(min(self.missing, math.prod(axis.count for axis in axes))) if kept else self.missing
            chosen = self.searched and stage.kind in ("masks", "score")  # not those of the default config
            if 0 not in self.done and is_cached(stage, self.store) and not chosen:
                times = max(0, times - 1)
            yield stage, times, axes


def _inner_cost(experiment: Experiment, levels: Levels, times: int, store: Store) -> Cost:
    """Settings that are counted on stored maps, as if each saw every image."""
    from wsss_platform.search.masks.table import seconds_per_image

    crf = _may_have_crf(experiment, experiment.phases[-1], levels.inner)
    each, earlier = seconds_per_image(store, crf=crf)
    images = len(experiment.dataset.split(experiment.data.score_list).ids)
    return Cost("inner settings", "inner", times, crf, None if each is None else each * images, earlier)


def hours(costs: Sequence[Cost]) -> float | None:
    """Hours of those whose speed is known, one after another; None when there are none.

    Stages of images that follow each other run beside each other: the slowest counts.
    """
    total, known = 0.0, False
    for line in _lines(costs):
        seconds = [cost.seconds for cost in line if cost.seconds is not None]
        known = known or bool(seconds)
        total += line[0].times * max(seconds, default=0.0)
    return total / 3600 if known else None


def _lines(costs: Sequence[Cost]) -> list[list[Cost]]:
    """The costs in groups that run beside each other: stages of images that follow each other on one split. A training
    runs alone, and a stage that comes again is that of another random seed."""
    lines: list[list[Cost]] = []
    for cost in costs:
        last = lines[-1][-1] if lines else None
        beside = last is not None and (
            not {"train", "inner"} & {cost.kind, last.kind}
            and (cost.times, cost.row, cost.split) == (last.times, last.row, last.split)
            and cost.stage not in [one.stage for one in lines[-1]]
        )
        if beside:
            lines[-1].append(cost)
        else:
            lines.append([cost])
    return lines


def cost_document(costs: Sequence[Cost]) -> PlanCost:
    """The costs as a part of a plan."""
    took = hours(costs)
    return PlanCost(
        trainings=_times(costs, "train"),
        map_passes=_times(costs, "maps"),
        mask_passes=_times(costs, "masks"),
        crf_passes=sum(cost.times for cost in costs if cost.crf and cost.kind == "masks"),
        inner_settings=_times(costs, "inner"),
        inner_crf_settings=sum(cost.times for cost in costs if cost.crf and cost.kind == "inner"),
        hours=None if took is None else round(took, 4),
        earlier_stages=sum(cost.earlier for cost in costs),
        not_measured=tuple(cost.name for cost in costs if cost.seconds is None),
        stages=tuple(
            StageCost(
                stage=cost.stage,
                row=cost.row,
                times=cost.times,
                seconds=None if cost.seconds is None else round(cost.seconds, 2),
                earlier=cost.earlier,
            )
            for cost in costs
        ),
    )


def cost_words(cost: PlanCost, at_most: bool = False) -> str:
    """The costs in one line."""
    if not cost.stages:
        return "cost: nothing, everything is in the store"
    parts = [
        _number(cost.trainings, "training", "trainings"),
        _number(cost.map_passes, "map pass", "map passes"),
        _number(cost.mask_passes, "mask pass", "mask passes") + f" ({cost.crf_passes or 'none'} with CRF)",
    ]
    if cost.inner_settings:
        some = f"{cost.inner_crf_settings} may have a CRF" if cost.inner_crf_settings else "no CRF"
        parts.append(f"{cost.inner_settings} inner settings on stored maps ({some})")
    line = f"cost: {'at most ' if at_most else ''}{', '.join(parts)}; "
    if cost.hours is None:
        return line + "no earlier run to measure from"
    length = f"{cost.hours:.1f} h" if cost.hours >= 1 else f"{60 * cost.hours:.1f} min"
    earlier = _number(cost.earlier_stages, "earlier stage", "earlier stages")
    line += f"about {length} one after the other, from {earlier}"
    lacking = cost.not_measured
    if not lacking:
        return line
    named = lacking[0] if len(lacking) == 1 else f"{len(lacking)} stages, such as {lacking[0]}"
    return f"{line}; without {named}, of which there is no earlier one"


def _cost(experiment: Experiment, stage: Stage, times: int, speeds: Speeds, axes: Iterable[Axis] = ()) -> Cost:
    crf = stage.kind == "masks" and _may_have_crf(experiment, stage.phase, axes)
    seconds, earlier = speeds.of(experiment, stage)
    for axis in axes:  # of a searched number of epochs the middle counts
        if seconds is not None and stage.kind == "train" and axis.path == f"{stage.phase.train}.epochs":
            ends = [float(value) for value in axis.probes() if isinstance(value, (int, float))]
            seconds *= statistics.mean(ends) / experiment.train_config(stage.phase).epochs
    return Cost(stage.name, stage.kind, times, crf, seconds, earlier, split=stage.list_name)


def _may_have_crf(experiment: Experiment, phase: Phase, axes: Iterable[Axis]) -> bool:
    """Whether masks of a phase have a CRF, or one of some axes may choose one."""
    values = [value for axis in axes if axis.path == f"{phase.masks}.crf" for value in axis.probes()]
    return any(value != "none" for value in [experiment.masks_config(phase).crf, *values])


def _is_copied(experiment: Experiment, stage: Stage) -> bool:
    """Whether its weights are taken from a file."""
    return stage.kind == "train" and experiment.config.released_file(stage.phase.name) is not None


def _times(costs: Iterable[Cost], kind: str) -> int:
    return sum(cost.times for cost in costs if cost.kind == kind)


def _number(count: int, one: str, many: str) -> str:
    return f"{count or 'no'} {one if count == 1 else many}"
