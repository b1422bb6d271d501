"""Plans as documents: what a run or a comparison would do."""

from __future__ import annotations

from typing import Any, ClassVar

from wsss_platform.config.document import Document, Part


class Resources(Part):
    """What a plan would run on."""

    workers: int
    """Training processes."""
    gpus_per_worker: float
    """As asked for; 0 where nothing was asked."""
    storage: str
    """The storage folder."""


class PlannedStage(Part):
    """A stage of a plan."""

    stage: str
    """Kind and phase, such as "train:cam"."""
    split: str
    """The split that it goes through."""
    key: str
    """Content key, 64 hex digits."""
    cached: bool
    """Whether the store has it."""
    run: bool
    """Whether it would be made; false, too, where nothing needs it."""
    amount: str
    """What there is to do, in words."""


class StageCost(Part):
    """What one stage of a plan costs."""

    stage: str
    """As in the plan; "inner settings" for settings that are counted within a trial."""
    row: str
    """Of the comparison at the end of a study, which needs it; "" for a run and for trials."""
    times: int
    """How often it is made, at most."""
    seconds: float | None
    """Of one; null when nothing like it was made before."""
    earlier: int
    """Stages in the store that this speed is the median of."""


class PlanCost(Part):
    """What a plan costs, at most."""

    trainings: int
    """How many."""
    map_passes: int
    """How many; each through all images of a split."""
    mask_passes: int
    """How many; each through all images of a split."""
    crf_passes: int
    """Of the mask passes those with a dense CRF, or that may have one."""
    inner_settings: int
    """Settings that are counted on stored maps within trials."""
    inner_crf_settings: int
    """Of them those that may have a CRF."""
    hours: float | None
    """One stage after the other, by the speed of earlier ones; null when none is known."""
    earlier_stages: int
    """Stages in the store that the speed comes from."""
    not_measured: tuple[str, ...]
    """Stages that the hours leave out, as there was none like them; behind a row's name where they are of one."""
    stages: tuple[StageCost, ...]
    """Each stage that is to be made."""


class Plan(Document):
    """What plans of runs and studies have in common."""

    method: str
    """Its name."""
    data: dict[str, Any]
    """The data config."""
    seed: int
    """Of the run; of a study that of trial 0."""
    resources: Resources
    """What it would run on."""
    stages: tuple[PlannedStage, ...]
    """In the order in which they are made."""
    cost: PlanCost
    """What is still to be made costs."""
    config: dict[str, Any]
    """The method's whole config."""


class RunPlan(Plan):
    """What a run would do (`train`, `maps`, `masks`, `score`, `import-maps`, `import-masks` with `--dry-run`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/run-plan"
    VERSION: ClassVar[int] = 2

    run: str
    """Its name."""


class Lacking(Part):
    """Something that a recipe needs and that is not there."""

    what: str
    """Such as "data" or "run", with its place or name."""
    command: str
    """What makes it."""


class MissingInputs(Document):
    """What has to be made before a recipe can be followed (`--recipe NAME --dry-run`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/missing-inputs"

    recipe: str
    """Its file."""
    missing: tuple[Lacking, ...]


class ComparisonRun(Part):
    """One seed of a variant."""

    variant: str
    """Its label."""
    seed: int
    """Of the run."""
    run: tuple[str, ...]
    """Names of the stages that are to be made."""
    stored: int
    """Number of its other stages: the store has them, or nothing needs them."""
    key: str
    """Content key of its score."""


class ComparisonPlan(Document):
    """What a comparison would do (`compare --dry-run`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/comparison-plan"

    comparison: str
    """Its name."""
    runs: tuple[ComparisonRun, ...]
    """Every variant with every seed."""
