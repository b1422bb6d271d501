"""What `tune` and `search` print: the plan of a study or of a search on a run's stored maps, and what it came to."""

from __future__ import annotations

from typing import Any, ClassVar

from wsss_platform.config.document import Document, Part
from wsss_platform.plan.documents import Plan, PlannedStage
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.scores.intervals import Comparison
from wsss_platform.search.space import Axis

BASELINE, HOST, DEFAULT, BEST, ORACLE = "baseline", "host", "default settings", "best trial", "oracle"
"""Rows of the comparison at the end of a study."""


class PlannedBudget(Part):
    """When a study ends: at whichever comes first; null: no such limit."""

    trials: int | None
    """In total."""
    hours: float | None
    """Of each call."""
    gpu_hours: float | None
    """Of all trials and calls."""


class SearchSettings(Part):
    """How a study searches."""

    sampler: str
    """What proposes settings."""
    scheduler: str
    """What stops trials early."""
    objectives: tuple[str, ...]
    """Accuracy first."""
    rungs: tuple[int, ...]
    """Epochs of the last phase after which a trial may be stopped."""
    budget: PlannedBudget
    """When the study ends."""


class StudyStage(PlannedStage):
    """A stage of a study, with the default config."""

    shared: bool
    """Whether all trials have it in common, so that it is made once."""


class StudyPlan(Plan):
    """What a study would do (`tune METHOD --dry-run`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/study-plan"
    VERSION: ClassVar[int] = 2

    study: str
    """Its name."""
    trials: int | None
    """In total; null: as many as the budget allows, and the cost is that of one."""
    seeds: int
    """Runs of each trial."""
    inner_settings: int
    """Settings that are searched within each trial; 0: none."""
    inner_axes: tuple[str, ...]
    """Dotted paths of the axes that those settings are of."""
    keep_best: int
    """Trials that keep their maps and masks; 0: all."""
    axes: tuple[Axis, ...]
    """All axes of the search space."""
    rows: tuple[str, ...]
    """What the best trial is compared with at the end."""
    trial_0: str
    """What the first trial is, in words."""
    stages: tuple[StudyStage, ...]
    """Of trial 0, in the order in which they are made."""
    selection: str
    """The ground truth that chooses."""
    judged_on: str
    """The split on which trials are scored."""
    reported_on: str
    """The split on which the result is reported."""
    search: SearchSettings
    """How it searches."""
    options: dict[str, Any]
    """Every option of the study by its name, settled; without passwords."""


class StudyRow(Part):
    """One row of a study's comparison."""

    row: str
    """"baseline", "host", "default settings", "best trial" or, where it was asked for, "oracle"."""
    method: str
    """Name of the method, or of the host."""
    trial: int | None = None
    """Number of the trial; null where it is none."""
    miou: float | None
    """Mean IoU in percent on the reported split, the mean over random seeds."""
    difference: float | None = None
    """To the first row, in percent; null in the first row and in the oracle."""
    low: float | None = None
    """Lower end of the difference's 95 % interval, paired over images (and random seeds)."""
    high: float | None = None
    """Upper end."""
    threshold: float | None = None
    """Background threshold 0..1, of the first random seed; null: its masks as they were made."""
    seconds: float | None = None
    """Of all its stages, as if nothing had been cached; the mean over random seeds; null where a stage was removed."""


class StudyReport(Part):
    """By which rule the rows of a study's comparison were measured."""

    chosen_on: str
    """The split whose ground truth chose the best trial and each row's threshold."""
    reported_on: str
    """The split of the numbers."""
    images: int
    """Of that split that were scored in every row."""
    seeds: int
    """Random seeds of each row."""
    selection: str
    """The ground truth that chose, as the protocol says it."""
    objective: str
    """What the study maximised."""
    overlap: bool
    """Whether images of the reported split chose, so that the numbers are optimistic."""
    against: str
    """The row that the others are compared with."""
    evaluations: dict[str, int]
    """Split -> how often this study was evaluated on its ground truth."""

    @property
    def words(self) -> list[str]:
        """The rule, a sentence each."""
        seeds = "" if self.seeds == 1 else f" and {self.seeds} random seeds"
        lines = [
            f"The best trial and every row's threshold were chosen on {self.chosen_on} ({self.selection}).",
            f"Differences are to the {self.against}, paired over images{seeds}.",
        ]
        if self.overlap:
            lines.append("Images of the reported split chose, so these numbers are optimistic.")
        counted = ", ".join(f"{count} times on {split}" for split, count in self.evaluations.items())
        return [*lines, f"This study was evaluated on ground truth {counted}."]


class StudyComparison(Part):
    """Baseline, host, default settings and best trial: comparison.json of a study, without schema."""

    report: StudyReport
    """The rule."""
    rows: tuple[StudyRow, ...]
    """The baseline first."""


class StudyDocument(Document):
    """What a study came to (`tune METHOD`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/study"

    study: str
    """Its name."""
    folder: str
    """Of the study."""
    objective: str
    """What accuracy is: "masks" or "best of the sweep"."""
    objectives: tuple[str, ...]
    """Accuracy first."""
    front: tuple[int, ...]
    """Of several objectives: numbers of the trials that no other one beats, most accurate first."""
    selection: str
    """The ground truth that chose."""
    evaluations: int
    """How often trials were evaluated on it to choose."""
    comparison: tuple[StudyRow, ...]
    """Baseline, host, default settings and best trial by one rule; empty when no trial was completed."""
    report: StudyReport | None
    """That rule; null when no trial was completed."""
    inner: str | None
    """Folder of what was searched within trials; null when nothing was."""
    best: TrialRow | None
    """Null when no trial was completed."""
    best_config: str | None
    """best.toml, readable by `train --recipe`."""
    figure: str | None
    """PNG of some images with the masks of every row; null when there is no comparison."""
    trials: tuple[TrialRow, ...]
    """Every trial, by number."""


class SearchBase(Document):
    """What the plan and the result of a search on stored maps have in common."""

    study: str
    """Its name."""
    folder: str
    """Of its study."""
    split: str
    """Whose images are searched."""
    ground_truth: str
    """First 12 hex digits of the hash of its ground truth."""
    settings: int
    """Tried, with "no CRF"."""
    rungs: tuple[int, ...]
    """Images at each rung."""
    confirmed_on: int
    """Other images, for the winner."""
    selection: str
    """The ground truth that chooses."""


class SearchPlan(SearchBase):
    """What a search on a run's stored maps would do (`search RUN --dry-run`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/search-plan"
    VERSION: ClassVar[int] = 2

    candidates: tuple[str, ...]
    """Names of the settings, without "no CRF"."""


class SearchRung(Part):
    """What one rung of a search saw."""

    images: int
    """Images that it saw."""
    scores: dict[str, float]
    """Setting -> what it is chosen by, 0..1."""


class FoundSettings(Part):
    """What a search on stored maps found."""

    winner: str
    """Name of the best setting on all images searched."""
    searched: dict[str, float]
    """The last rung: setting -> what it is chosen by, 0..1."""
    scores: tuple[SearchRung, ...]
    """Every rung, the first one first."""
    changes: dict[str, dict[str, Any]]
    """Setting -> what it has that the config has not, by dotted path."""
    confirmation: dict[str, Comparison]
    """Reference -> the winner (a) against it (b) on the images kept apart; empty where there are none."""
    confirmed: bool
    """Whether the winner is better than no CRF on images that it was not chosen on."""
    evaluations: int
    """Settings times images: how often this result was evaluated on ground truth."""
    computed: int
    """Those of them that were not counted before."""


class SearchDocument(SearchBase, FoundSettings):
    """What a search on a run's stored maps found (`search RUN`; search.json in its folder)."""

    SCHEMA: ClassVar[str] = "wsss-platform/search"
    VERSION: ClassVar[int] = 2

    masks: dict[str, Any]
    """The winner's whole section."""
    best: str
    """best.toml, readable by `score --config`."""
    results: str
    """Table of all counts."""
    curves: str
    """Figure of how settings fared."""


class TrialSearchDocument(Document, FoundSettings):
    """What the search within a trial found (search.json in its folder)."""

    SCHEMA: ClassVar[str] = "wsss-platform/trial-search"
    VERSION: ClassVar[int] = 2

    maps: tuple[str, ...]
    """Content keys of the maps searched, one for each seed."""
