"""The options of a study. Adding one is a field here: help, recipe, plan and JSON follow, with `identity` its identity.

Each rule about a combination stands once, as a method that raises InputError.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wsss_platform.config.options import group, option
from wsss_platform.config.verb_options import OutputOptions, ResourceOptions, StorageOptions
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.resources import check_gpu_share
from wsss_platform.search.levels import DRAWN, SETTINGS, Levels, split
from wsss_platform.search.space import SearchSpace
from wsss_platform.tune.budget import Budget, read_budget, with_old_options
from wsss_platform.tune.halting import UNLIMITED
from wsss_platform.tune.objectives import ACCURACY, check_measured, read_objectives
from wsss_platform.upkeep.retention import KEEP_BEST

REDUCTION = 3
"""Of the trials at a rung about one in this many continues; rungs are this factor apart. [stated: the paper's eta]"""
RUNG_IMAGES = 32
"""Images of the scored split on which a rung is decided. [ours]"""
SCHEDULERS = ("asha", "none")
TRIALS = 6
"""Default number of trials: what two cores do in a few minutes on the sample."""


@dataclass(frozen=True)
class SearchOptions:
    """What is tried, and how it is chosen."""

    trials: int | None = option(
        None,
        f"Run this many trials in total, those of earlier calls too. Default: {TRIALS}; with --budget no limit.",
        "Search",
        low=1,
    )
    space: Path | None = option(
        None, "Search the axes of this file. Default: search_spaces/METHOD.toml.", "Search", metavar="FILE"
    )
    seeds: int = option(
        1,
        "Run each trial with this many random seeds; the objective is their mean.",
        "Search",
        low=1,
        identity=True,
    )
    sampler: str = option(
        "tpe",
        "Propose trials with this algorithm of Optuna.",
        "Search",
        metavar="tpe|random|gp|cmaes|nsgaii",
        hidden=True,
        identity=True,
    )
    sampler_seed: int | None = option(
        None, "Propose trials with this random seed. Default: --seed.", "Search", low=0, hidden=True
    )
    scheduler: str = option(
        "asha",
        "Stop trials that lag behind (asha), or no trial (none).",
        "Search",
        metavar="asha|none",
        hidden=True,
    )
    reduction: int = option(
        REDUCTION,
        "Let one in this many trials continue at a rung of asha; rungs are this factor apart.",
        "Search",
        low=2,
        hidden=True,
        identity=True,
    )
    rung_images: int = option(
        RUNG_IMAGES,
        "Decide a rung on this many images.",
        "Search",
        low=1,
        hidden=True,
        identity=True,
        former="--rung-pictures",
    )
    inner: int | None = option(
        None,
        "Search this many settings of those axes that need only stored maps within each trial; 0 makes every axis a "
        f"trial's. Default: {SETTINGS}; where all axes are such, one trial searches --trials settings.",
        "Search",
        low=0,
        hidden=True,
    )


@dataclass(frozen=True)
class ObjectiveOptions:
    """What is searched for, and which ground truth may choose."""

    selection: str | None = option(
        None,
        "Let this ground truth choose; half: of half the scored split, and the other half is reported. Default: half.",
        "Search",
        metavar="half|held-out:K|train|val",
    )
    no_baseline: bool = option(False, "Leave out the baseline (plain CAM) and the host at the end.", "Search")
    objectives: str = option(
        ACCURACY,
        "Search for several things at once; trials that no other one beats are marked. seconds: of all stages of a "
        "trial, as if none had been stored; memory: peak of its trainings.",
        "Search",
        metavar="accuracy[,seconds][,memory]",
        hidden=True,
    )
    oracle: bool = option(
        False, "Score every trial on the split of the report, also where that needs new maps.", "Search", hidden=True
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives, accuracy first; InputError for an unknown one."""
        return read_objectives(self.objectives)


@dataclass(frozen=True)
class BudgetOptions:
    """When no trial starts any more, besides the number of trials."""

    budget: str | None = option(
        None,
        "Start no more trials after this time, or this many GPU-hours of all trials.",
        "Search",
        metavar="45m|6h|20gpu-h",
    )
    hours: float | None = option(None, "The time of --budget.", "Search", hidden=True)
    gpu_hours: float | None = option(None, "The GPU-hours of --budget.", "Search", hidden=True)

    @property
    def limits(self) -> Budget:
        """Both spellings as one; InputError for a text that is none, or a limit that is set twice."""
        limits = Budget() if self.budget is None else read_budget(self.budget)
        return with_old_options(limits, self.hours, self.gpu_hours)


@dataclass(frozen=True)
class StudyResources(ResourceOptions):
    """What the trials of a study may take together."""

    gpus_per_worker: float | None = option(
        None, "Give each worker this many GPUs. Default: 1 where there are GPUs.", "Resources", low=0, hidden=True
    )
    max_failures: int = option(
        0,
        "Continue while at most this many images fail in maps, masks and scores; they are listed with the reason.",
        "Resources",
        low=0,
        hidden=True,
    )
    concurrent: int | None = option(
        None, "Run at most this many trials at once. Default: all there is room for.", "Resources", low=1, hidden=True
    )
    retries: int = option(
        1,
        "Try a trial that failed or lost its process this many times again before it is listed as failed.",
        "Resources",
        low=0,
        hidden=True,
    )

    @property
    def gpus_per_trial(self) -> float:
        """GPUs that a trial holds; 0 where they are not known yet."""
        return self.workers * (self.gpus_per_worker or 0.0)


@dataclass(frozen=True)
class StudyStorage(StorageOptions):
    """Where a study and what its trials make are kept."""

    study_storage: str | None = option(
        None,
        "Keep the study in this database: sqlite:///FILE or postgresql://.... Default: a journal in its folder. A "
        "password is better off in the environment.",
        "Storage",
        metavar="URL",
        envvar="WSSS_STUDY_STORAGE",
        hidden=True,
        secret=True,
    )
    keep_best: int = option(
        KEEP_BEST, "Keep maps and masks of this many trials; 0 keeps all.", "Storage", low=0, hidden=True
    )


@dataclass(frozen=True)
class StudyOptions:
    """Everything that can be said of a study besides data and method."""

    search: SearchOptions = group(SearchOptions)
    objective: ObjectiveOptions = group(ObjectiveOptions)
    budget: BudgetOptions = group(BudgetOptions)
    resources: StudyResources = group(StudyResources)
    storage: StudyStorage = group(StudyStorage)
    output: OutputOptions = group(OutputOptions)

    @property
    def unlimited(self) -> bool:
        """Whether only a budget ends the study."""
        return self.search.trials == UNLIMITED

    def check_names(self) -> None:
        """What can be checked before method and data are known: names and the budget.

        Raises:
            InputError: an objective, scheduler or algorithm that there is not, or a budget that is none.
        """
        self._check_algorithm(len(self.objective.names))
        self._check_gpus()

    def check(self, experiment: Experiment, space: SearchSpace) -> None:
        """Every rule about names and combinations, before anything starts.

        Raises:
            InputError: an algorithm, scheduler or objective that there is not, or options that exclude one another.
        """
        names = self.objective.names
        self.check_names()
        check_measured(names, experiment, space)
        if self.search.inner and len(names) > 1:
            raise InputError(
                "--inner: settings within a trial are chosen by accuracy on ground truth, which would hide what "
                "--objectives trades it for; leave it out, and every axis is a trial's",
                field="--inner",
            )
        if self.resources.workers != experiment.workers:
            raise InputError(
                f"workers: {self.resources.workers}, but the experiment was planned with {experiment.workers}"
            )

    def _check_algorithm(self, objectives: int) -> None:
        if self.search.scheduler not in SCHEDULERS:
            raise unknown("scheduler (--scheduler)", self.search.scheduler, SCHEDULERS, "--scheduler")
        if self.search.sampler != "tpe":  # Optuna's default needs nothing, and a plan shall not load Optuna
            from wsss_platform.tune.search_algorithm import check_sampler

            check_sampler(self.search.sampler, objectives)

    def _check_gpus(self) -> None:
        """A budget of GPU-hours must be one that can be used up, and a worker's share one that can be placed."""
        hours, gpus = self.budget.limits.gpu_hours, self.resources.gpus_per_worker
        if hours is not None and gpus is not None and not gpus > 0:
            raise InputError(
                f"budget (--budget): {hours:g} GPU-hours, but the trials of this study use no GPU, so it would never "
                "be used up; expected --gpus-per-worker above 0, minutes or hours, or --trials",
                field="--budget",
            )
        check_gpu_share(self.resources.workers, gpus or 0.0)

    def settled(self, experiment: Experiment, space: SearchSpace) -> tuple[StudyOptions, Levels]:
        """These with every default that follows from the others filled in, and the space on its two levels.

        Raises:
            InputError: a budget or a number of inner settings where one trial is the whole search.
        """
        asked, limits = self.search.trials, self.budget.limits
        trials = asked or (TRIALS if limits == Budget() else UNLIMITED)
        several = len(self.objective.names) > 1
        inner = 0 if several else SETTINGS if self.search.inner is None else self.search.inner
        seed = experiment.seed if self.search.sampler_seed is None else self.search.sampler_seed
        levels = split(experiment, space, inner, seed)
        if levels.settings and not levels.outer.axes:
            if limits != Budget() or self.search.inner is not None:
                raise InputError(
                    "--budget, --inner: all axes need stored maps alone, so one trial searches them all; "
                    "--trials is their number",
                    field="--budget" if limits != Budget() else "--inner",
                )
            levels, trials = replace(levels, settings=asked or DRAWN), 1
        search = replace(self.search, trials=trials, inner=levels.settings, sampler_seed=seed)
        return replace(self, search=search), levels

    def ends(self) -> dict[str, Any]:
        """What ends the study, of settled options: trials, hours, GPU-hours; None is no limit."""
        return {"trials": None if self.unlimited else self.search.trials, **asdict(self.budget.limits)}
