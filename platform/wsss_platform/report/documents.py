"""What `compare`, `leaderboard`, `show` and `doctor` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, Self

from wsss_platform.config.document import Document, Part
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.evaluations import Evaluations, evaluations_of
from wsss_platform.report.leaderboard import Group, Row


class ComparedVariant(Part):
    """A variant of a comparison: one method, or one setting of it, over its seeds. IoU and shares are 0..1."""

    label: str
    """As on the command line."""
    method: str
    """Name of the method."""
    seeds: tuple[int, ...]
    """One run each."""
    scores: tuple[str, ...] = ()
    """Key of each seed's score in the store; empty in documents of older versions."""
    mean_iou: float | None
    """Mean over seeds."""
    mean_iou_by_seed: tuple[float | None, ...]
    """In the order of the seeds."""
    spread: float | None
    """Sample standard deviation over seeds; null for one."""
    thresholds: tuple[float | None, ...]
    """Background threshold of each seed; null for masks that not one constant made."""
    training_seconds: float | None
    """Mean wall time of a seed's trainings; null when one of them is not in the store."""
    classes: dict[str, float | None]
    """Class -> IoU, mean over seeds; background first."""
    effects: dict[str, float | None]
    """What the masks get right or wrong -> share of the pixels counted, mean over seeds."""


class Gap(Part):
    """A difference with its 95 % interval over images and seeds."""

    value: float | None
    """Over all images."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    wins: float | None
    """Share 0..1 of resamples in which it is above 0."""


class Difference(Part):
    """A variant minus the baseline."""

    label: str
    """The variant."""
    against: str
    """The baseline."""
    mean_iou: Gap
    """In mean IoU."""
    effects: dict[str, Gap]
    """In what the masks get right or wrong, by its name."""


class Origin(Part):
    """When, from what and how a comparison was made. Day, commit and version stay while it shows the same scores."""

    date: str
    """Day, YYYY-MM-DD, UTC."""
    commit: str | None
    """Commit checked out in the folder where the command ran, with "+" when files had changes; null outside of git."""
    version: str
    """Of wsss-platform."""
    recipe: str
    """TOML that `wsss-platform compare --recipe FILE` follows to make the comparison again."""


class ComparisonDocument(Document):
    """Methods side by side (`compare`; comparison.json in its folder)."""

    SCHEMA: ClassVar[str] = "wsss-platform/comparison"

    comparison: str
    """Its name."""
    folder: str
    """Of its files."""
    at: str
    """Which prediction was compared: "best", "masks" or "background"."""
    rows: tuple[ComparedVariant, ...]
    """The variants; the first is the baseline."""
    differences: tuple[Difference, ...]
    """One for each variant but the baseline."""
    protocols: dict[str, Protocol]
    """By the variant's label."""
    origin: Origin
    """When, from what and how it was made."""
    drawn: tuple[str, ...] = ()
    """Names of the images that were drawn, those on which the variants differ most first."""


class EvaluationCounts(Part):
    """How often this storage has evaluated on the ground truth of a split."""

    split: str
    """The split."""
    ground_truth: str
    """First 12 hex digits of its hash."""
    scores: int
    """Runs that were scored on it."""
    rungs: int
    """Trials that were scored on a few images before their end."""
    settings: int
    """Settings of searches on stored maps."""
    total: int
    """All of them."""

    @property
    def words(self) -> str:
        """For a person."""
        return Evaluations(**self.model_dump(exclude={"total"})).words

    @classmethod
    def of(cls, counted: Evaluations) -> Self:
        """The evaluations on one split."""
        return cls(**vars(counted), total=counted.total)


class LeaderboardGroup(Part):
    """Rows of one protocol, which may be compared."""

    group: str
    """Hash of the protocol, 12 hex digits."""
    protocol: Protocol
    """Of all its rows."""
    rows: tuple[Row, ...]
    """Best first."""
    evaluations: EvaluationCounts
    """On the ground truth that they are scored with."""


class LeaderboardDocument(Document):
    """Results of this storage by protocol (`leaderboard`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/leaderboard"
    VERSION: ClassVar[int] = 2

    groups: tuple[LeaderboardGroup, ...]
    """By data, list and hash of the protocol."""

    @classmethod
    def of(cls, groups: Iterable[Group], seen: Sequence[Evaluations]) -> Self:
        """Ranked groups with the evaluations in their storage (`report.evaluations.evaluations`)."""
        return cls(groups=tuple(_group(one, seen) for one in groups))


def _group(group: Group, seen: Sequence[Evaluations]) -> LeaderboardGroup:
    truth = evaluations_of(tuple(seen), group.protocol.score_list, group.protocol.truth)
    return LeaderboardGroup(
        group=group.key, protocol=group.protocol, rows=group.rows, evaluations=EvaluationCounts.of(truth)
    )


class Images(Document):
    """Images of a run that were drawn (`show`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/images"
    VERSION: ClassVar[int] = 2

    folder: str
    """Where they are."""
    files: tuple[str, ...]
    """Their paths."""
    evaluations: EvaluationCounts
    """On the ground truth that chose the worst and the best of them; drawing is not counted."""


class DoctorItem(Part):
    """One thing that counts on a machine. Texts hold no secrets."""

    name: str
    """Such as "torch" or "WSSS_STORAGE"; the same on every machine."""
    state: Literal["ok", "missing", "warning"]
    """Warning: it may do, or it could not be checked."""
    needed: bool
    """Whether nothing works without it; otherwise it is for what `meaning` says."""
    found: str
    """What there is; why it is missing, or why it could not be checked."""
    meaning: str
    """What that means, or what to do."""


class Doctor(Document):
    """What this machine has, and what is missing for what (`doctor`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/doctor"

    complete: bool
    """Whether everything needed is there."""
    items: tuple[DoctorItem, ...]
    """Always the same, in the same order."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of what is needed and missing."""
        return tuple(one.name for one in self.items if one.needed and one.state == "missing")

    @classmethod
    def of(cls, items: Iterable[DoctorItem]) -> Self:
        """The items in their order."""
        found = tuple(items)
        return cls(complete=not any(one.needed and one.state == "missing" for one in found), items=found)
