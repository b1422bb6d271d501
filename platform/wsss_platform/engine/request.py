"""What a study is asked for, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from wsss_platform.engine.brackets import REDUCTION, check_scheduler, planned_rungs
from wsss_platform.engine.cluster import check_gpu_share
from wsss_platform.engine.gpu_hours import check_gpu_hours
from wsss_platform.engine.objectives import SINGLE, check_measured, check_objectives
from wsss_platform.engine.population import Population, check_scored
from wsss_platform.engine.samplers import check_sampler
from wsss_platform.engine.study import BEST, LABEL_FREE, MASKS, TrialRow
from wsss_platform.engine.study_storage import absolute
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.protocol import Selection
from wsss_platform.search.effects import changes_masks
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.space import SearchSpace
from wsss_platform.selection import SelectionRule
from wsss_platform.stages import Runner
from wsss_platform.store import Store, check_name


@dataclass(frozen=True)
class StudyRequest:
    """What to search, and with how much."""

    experiment: Experiment
    """With the default config, which is trial 0. Its scored list is the one on which trials are judged."""
    space: SearchSpace
    trials: int
    """In total, those of earlier calls included."""
    store: Store
    name: str
    seed: int = 0
    """Of the sampler; the experiment has its own."""
    workers: int = 1
    """Training processes of one trial."""
    gpus_per_worker: float = 0.0
    cpus_per_worker: int = 1
    scheduler: Literal["asha", "hyperband", "pbt", "none"] = "asha"
    """"asha" stops trials early by asynchronous successive halving, "hyperband" does so in several brackets
    (`brackets`); the rules are Optuna's."""
    max_concurrent: int | None = None
    """At most this many trials at once; None: as many as the cluster has room for."""
    reduction: int = REDUCTION
    """Of the trials at a rung about one in this many goes on; rungs are this factor apart."""
    rung_pictures: int = 32
    """Pictures of the scored list on which a rung is decided."""
    sampler: str = "tpe"
    """One of `samplers.SAMPLERS`."""
    hours: float | None = None
    """From the call on; later no trial starts, those that run are finished. None: no such limit."""
    gpu_hours: float | None = None
    """Of all trials together, over all calls; once they are used up no trial starts. None: no such limit."""
    objectives: tuple[str, ...] = SINGLE
    """What is searched for at once, accuracy first (`objectives`). With several no trial is stopped early."""
    warm_start: tuple[str, ...] = ()
    """Names of earlier studies in the same storage whose finished trials are told to this one when it is new."""
    study_storage: str | None = field(default=None, repr=False)
    """URL of the database in which the study lives, with its password: never shown. None: a journal in its folder."""
    seeds: int = 1
    """A trial is so many runs of one config, with the experiment's seed and the following ones; its objective is
    their mean. Early stopping looks at the first."""
    rule: SelectionRule | None = None
    """Which pixel truth may choose; None: that of the scored list. See `selection.judged_by`."""
    report_list: str | None = None
    """On which fixed, selected and oracle are told at the end; None: they are not."""
    oracle: bool = False
    """Score every trial on the report list, not only the default and the best, where that needs maps of its own."""
    inner: int = 0
    """Settings of the masks that are searched within each trial on its stored maps, over the axes that need no more
    (`inner.levels`); 0: every axis is a trial's. Label-free trials have none; where all axes are inner, one trial
    is the whole search."""
    retries: int = 1
    """How often a trial whose run failed is tried again."""
    population: Population | None = None
    """Population based training in the place of independent trials; `trials` is then its number of members, and the
    space holds axes that may change during a training (`population.movable`)."""
    runner: Runner | None = None
    """Where a trial's stages run; None: Ray Train and actors, with the resources above. Another one must be
    picklable and runs in the trial's own process."""

    def __post_init__(self) -> None:
        check_name(self.name, "study name")
        for name, low in (
            ("trials", 1),
            ("workers", 1),
            ("cpus_per_worker", 1),
            ("reduction", 2),
            ("rung_pictures", 1),
            ("retries", 0),
            ("seeds", 1),
            ("inner", 0),
        ):
            if getattr(self, name) < low:
                raise InputError(f"{name}: expected at least {low}, got {getattr(self, name)}")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise InputError(f"max_concurrent: expected at least 1, got {self.max_concurrent}")
        objectives = check_objectives(self.objectives)
        check_measured(objectives, self.experiment, self.space)
        check_scheduler(self.scheduler, objectives)
        check_sampler(self.sampler, len(objectives))
        object.__setattr__(self, "objectives", objectives)
        if self.study_storage is not None:
            object.__setattr__(self, "study_storage", absolute(self.study_storage))
        if (self.scheduler == "pbt") != (self.population is not None):
            raise InputError(f"population: it belongs to scheduler 'pbt', and that to one; got {self.scheduler!r}")
        if self.population is not None:
            self._check_population(self.population)
        if self.hours is not None and not self.hours > 0:
            raise InputError(f"hours: expected more than 0, got {self.hours}")
        check_gpu_share(self.workers, self.gpus_per_worker)
        check_gpu_hours(self.gpu_hours, self.gpus_per_trial)
        if self.workers != self.experiment.workers:
            raise InputError(f"workers: {self.workers}, but the experiment was planned with {self.experiment.workers}")

    def _check_population(self, population: Population) -> None:
        if self.trials != population.members:
            raise InputError(f"trials: a population of {population.members} has as many, got {self.trials}")
        check_scored(self.selection == "none")
        unused: dict[str, Any] = {
            "objectives": SINGLE,
            "seeds": 1,
            "sampler": "tpe",
            "hours": None,
            "gpu_hours": None,
            "inner": 0,
            "warm_start": (),
        }
        for name, default in unused.items():
            if getattr(self, name) != default:
                raise InputError(
                    f"{name}: population based training takes no such setting, got {getattr(self, name)!r}"
                )

    @property
    def gpus_per_trial(self) -> float:
        """GPUs that a trial holds."""
        return self.workers * self.gpus_per_worker

    @property
    def objective(self) -> str:
        """What is maximised: proxies where no truth may choose. The sweep sees the maps and not the masks, so a space
        that changes how masks are made is judged by the masks' mean IoU, any other by the best of the exact sweep."""
        if self.selection == "none":
            return LABEL_FREE
        return MASKS if self.levels.settings or changes_masks(self.experiment, self.space) else BEST

    @cached_property
    def levels(self) -> Levels:
        """Which axes are trials, and which are searched within each."""
        within = 0 if self.selection == "none" or len(self.objectives) > 1 else self.inner
        return split(self.experiment, self.space, within, self.seed)

    @property
    def selection(self) -> Selection:
        """The pixel truth that chooses, as stamped in the protocol."""
        data = self.experiment.data
        if self.rule is not None:
            return self.rule.stamp
        return "train truth" if data.score_list == data.train_list else "val truth"

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """Finished epochs of the last phase after which trials are compared; empty when none is stopped early.

        See `brackets.planned_rungs`.
        """
        if self.population is not None:  # its members are judged at the ends of segments
            return ()
        return planned_rungs(
            self.experiment, self.space, self.scheduler, self.selection, self.objectives, self.reduction
        )

    def identity(self) -> dict[str, Any]:
        """What must not change when a study is continued; resources and the number of trials may."""
        experiment = self.experiment
        return {
            "method": [experiment.method.name, experiment.method.revision],
            "config": experiment.config.model_dump(mode="json"),
            "data": experiment.data.model_dump(mode="json"),
            "split": experiment.split_fingerprint(experiment.data.train_list),
            "truth": experiment.truth_fingerprint(experiment.data.score_list),
            "seed": experiment.seed,
            "workers": experiment.workers,
            "space": {
                axis.path: axis.model_dump(mode="json", exclude={"reason", "path"}, exclude_none=True)
                for axis in self.space.axes
            },
            "sampler_seed": self.seed,
            "objective": self.objective,
            "selection": self.selection,
            "rungs": list(self.rungs),
            "reduction": self.reduction,
            "rung_pictures": self.rung_pictures,
            # null where it is what studies did before it could be said
            "sampler": None if self.sampler == "tpe" else self.sampler,
            "seeds": None if self.seeds == 1 else self.seeds,
            "objectives": None if self.objectives == SINGLE else list(self.objectives),
            "brackets": len(self.rungs) + 1 if self.scheduler == "hyperband" else None,
            "inner": self._inner_identity,
            "population": None if self.population is None else self.population.identity(),
        }

    @property
    def _inner_identity(self) -> int | str | None:
        """A search without outer axes may be continued with more settings; another number makes trials incomparable."""
        if not self.levels.settings:
            return None
        return self.levels.settings if self.levels.outer.axes else "all"

    def of_seed(self, offset: int) -> Experiment:
        """The experiment of one of a trial's seeds, from 0."""
        return replace(self.experiment, seed=self.experiment.seed + offset)


@dataclass(frozen=True)
class StudyResult:
    """What a study came to."""

    folder: Path
    rows: tuple[TrialRow, ...]
    best: TrialRow | None
    """None when no trial was completed."""
    best_config: Path | None
    """best.toml, readable by `train --config`."""
    objective: str
    selection: Selection
    looks: int
    """How often pixel truth was looked at to choose."""
    objectives: tuple[str, ...] = SINGLE
    told: Mapping[str, Any] | None = None
    """Fixed, selected and oracle on the report list (`engine.report`); None when they were not asked for."""

    @property
    def front(self) -> tuple[TrialRow, ...]:
        """Of several objectives: the trials that no other one beats, most accurate first. Empty for one."""
        rows = (row for row in self.rows if row.front)
        return tuple(sorted(rows, key=lambda row: (-(row.objective or 0.0), row.number)))
