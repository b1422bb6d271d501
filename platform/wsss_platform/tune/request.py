"""The request for a study, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss_platform.config.options import changed
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Runner
from wsss_platform.plan.protocol import Selection
from wsss_platform.plan.selection import SelectionRule
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.documents import BASELINE, DEFAULT, HOST, StudyComparison
from wsss_platform.search.levels import Levels
from wsss_platform.search.space import SearchSpace
from wsss_platform.store.artefacts import Store, check_name
from wsss_platform.tune.identity import default_name, identity, objective_of
from wsss_platform.tune.objectives import SINGLE
from wsss_platform.tune.options import StudyOptions
from wsss_platform.tune.rungs import planned_rungs


@dataclass(frozen=True)
class StudyRequest:
    """What to search, and with how much. What is said of the study stands in `options` alone.

    Raises:
        InputError: options that are wrong or exclude one another, before anything starts.
    """

    experiment: Experiment
    """With the default config, which is trial 0. Its scored list is the one on which trials are judged."""
    space: SearchSpace
    store: Store
    given: StudyOptions = field(default_factory=StudyOptions, repr=False)
    """As asked for; see `options`."""
    rule: SelectionRule | None = None
    """Which ground truth may choose; None: that of the scored list. See `selection.judged_by`."""
    report_list: str | None = None
    """The split on which the comparison at the end is reported; None: there is none."""
    baseline: Experiment | None = None
    """What the best trial is compared with, such as plain CAM; its scored split is the experiment's. None: nothing."""
    host: Experiment | None = None
    """The same for the method's host."""
    cpus_per_worker: int = 1
    goal: int | None = None
    """Trials in total in place of the options' number: where a search within one trial goes on in a further one."""
    runner: Runner | None = None
    """Where a trial's stages run; None: Ray Train and actors, with the options' resources. Another one must be
    picklable and runs in the trial's own process."""

    def __post_init__(self) -> None:
        self.given.check(self.experiment, self.space)
        check_name(self.name, "study name")

    @cached_property
    def _settled(self) -> tuple[StudyOptions, Levels]:
        return self.given.settled(self.experiment, self.space)

    @property
    def options(self) -> StudyOptions:
        """With every default filled in that follows from the rest."""
        return self._settled[0]

    @property
    def levels(self) -> Levels:
        """Which axes are trials, and which are searched within each."""
        return self._settled[1]

    @cached_property
    def name(self) -> str:
        """As asked for, or by the study's identity."""
        return self.given.storage.name or default_name(self.identity())

    @property
    def trials(self) -> int:
        """In total, those of earlier calls included."""
        assert self.options.search.trials is not None
        return self.goal or self.options.search.trials

    def with_options(self, **given: Any) -> StudyRequest:
        """This with some options changed, by their names."""
        return replace(self, given=changed(self.given, given))

    @property
    def seeds(self) -> int:
        """Runs of each trial, with the experiment's seed and the following ones; its objective is their mean, and
        early stopping judges the first."""
        return self.options.search.seeds

    @property
    def objectives(self) -> tuple[str, ...]:
        """Accuracy first. With several no trial is stopped early."""
        return self.options.objective.names

    @property
    def objective(self) -> str:
        """What is maximised; see `identity.objective_of`."""
        return objective_of(self.experiment, self.levels)

    def rows(self) -> dict[str, Experiment]:
        """The rows of the comparison at the end, of what is known before: name -> experiment, the baseline first."""
        if self.report_list is None:
            return {}
        known = {BASELINE: self.baseline, HOST: self.host, DEFAULT: self.experiment}
        if self.baseline == self.experiment:
            del known[DEFAULT]
        return {name: experiment for name, experiment in known.items() if experiment is not None}

    @property
    def reported_on(self) -> str:
        """The split on which the comparison at the end is reported."""
        return self.report_list or self.experiment.data.score_list

    @property
    def asked(self) -> Experiment:
        """The experiment on the split that a person asked to score, before the rule took a part of it."""
        data = self.experiment.data
        split = self.reported_on if self.rule is None else self.rule.asked(self.reported_on, data)
        return replace(self.experiment, data=data.model_copy(update={"score_list": split}))

    @property
    def selection(self) -> Selection:
        """The ground truth that chooses, as stamped in the protocol."""
        data = self.experiment.data
        if self.rule is not None:
            return self.rule.stamp
        return "train ground truth" if data.score_list == data.train_list else "val ground truth"

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """Finished epochs of the last phase after which trials are compared; empty when none is stopped early."""
        return planned_rungs(self.experiment, self.space, self.options)

    def identity(self) -> dict[str, Any]:
        """What must not change when a study is continued; see `identity.identity`."""
        return identity(self.experiment, self.levels, self.selection, self.options)


@dataclass(frozen=True)
class StudyResult:
    """What a study came to."""

    folder: Path
    rows: tuple[TrialRow, ...]
    best: TrialRow | None
    """None when no trial was completed."""
    best_config: Path | None
    """best.toml, readable by `train --recipe`."""
    objective: str
    selection: Selection
    evaluations: int
    """How often trials were evaluated on ground truth to choose."""
    objectives: tuple[str, ...] = SINGLE
    comparison: StudyComparison | None = None
    """Baseline, host, default settings and best trial (`tune.comparison`); None when no trial was completed."""
    compared: Mapping[str, Experiment] = field(default_factory=dict)
    """Row -> its experiment, scored on the reported split."""

    @property
    def front(self) -> tuple[TrialRow, ...]:
        """Of several objectives: the trials that no other one beats, most accurate first. Empty for one."""
        rows = (row for row in self.rows if row.front)
        return tuple(sorted(rows, key=lambda row: (-(row.objective or 0.0), row.number)))
