"""The request for a study, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from wsss_platform.engine.cluster import check_gpu_share
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Runner
from wsss_platform.plan.protocol import Selection
from wsss_platform.plan.selection import SelectionRule
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.space import SearchSpace
from wsss_platform.store.artefacts import Store, check_name
from wsss_platform.tune.budget import Budget
from wsss_platform.tune.gpu_hours import check_gpu_hours
from wsss_platform.tune.identity import identity, objective_of
from wsss_platform.tune.objectives import SINGLE, check_measured, check_objectives
from wsss_platform.tune.rungs import REDUCTION, RUNG_PICTURES, check_scheduler, planned_rungs
from wsss_platform.tune.search_algorithm import check_sampler
from wsss_platform.tune.study_storage import absolute


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
    scheduler: Literal["asha", "none"] = "asha"
    """"asha" stops trials early by asynchronous successive halving; the rule is Optuna's."""
    max_concurrent: int | None = None
    """At most this many trials at once; None: as many as the cluster has room for."""
    reduction: int = REDUCTION
    """Of the trials at a rung about one in this many goes on; rungs are this factor apart."""
    rung_pictures: int = RUNG_PICTURES
    """Pictures of the scored list on which a rung is decided."""
    sampler: str = "tpe"
    """One of `search_algorithm.SAMPLERS`."""
    budget: Budget = field(default_factory=Budget)
    """Once it is used up no trial starts any more."""
    objectives: tuple[str, ...] = SINGLE
    """What is searched for at once, accuracy first (`objectives`). With several no trial is stopped early."""
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
    (`search.levels`); 0: every axis is a trial's. Where all axes are inner, one trial is the whole search."""
    retries: int = 1
    """How often a trial whose run failed is tried again."""
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
        check_scheduler(self.scheduler)
        check_sampler(self.sampler, len(objectives))
        object.__setattr__(self, "objectives", objectives)
        if self.study_storage is not None:
            object.__setattr__(self, "study_storage", absolute(self.study_storage))
        check_gpu_share(self.workers, self.gpus_per_worker)
        check_gpu_hours(self.budget.gpu_hours, self.gpus_per_trial)
        if self.workers != self.experiment.workers:
            raise InputError(f"workers: {self.workers}, but the experiment was planned with {self.experiment.workers}")

    @property
    def gpus_per_trial(self) -> float:
        """GPUs that a trial holds."""
        return self.workers * self.gpus_per_worker

    @property
    def objective(self) -> str:
        """What is maximised; see `identity.objective_of`."""
        return objective_of(self.experiment, self.levels)

    @cached_property
    def levels(self) -> Levels:
        """Which axes are trials, and which are searched within each."""
        within = 0 if len(self.objectives) > 1 else self.inner
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

        See `rungs.planned_rungs`.
        """
        return planned_rungs(self.experiment, self.space, self.scheduler, self.objectives, self.reduction)

    def identity(self) -> dict[str, Any]:
        """What must not change when a study is continued; see `identity.identity`."""
        return identity(
            self.experiment,
            self.levels,
            self.selection,
            scheduler=self.scheduler,
            sampler=self.sampler,
            sampler_seed=self.seed,
            seeds=self.seeds,
            objectives=self.objectives,
            reduction=self.reduction,
            rung_pictures=self.rung_pictures,
        )


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
    """Fixed, selected and oracle on the report list (`tune.report`); None when they were not asked for."""

    @property
    def front(self) -> tuple[TrialRow, ...]:
        """Of several objectives: the trials that no other one beats, most accurate first. Empty for one."""
        rows = (row for row in self.rows if row.front)
        return tuple(sorted(rows, key=lambda row: (-(row.objective or 0.0), row.number)))
