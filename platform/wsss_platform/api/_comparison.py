"""What a comparison came to, in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._frames import data_frame

if TYPE_CHECKING:
    from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Difference, Gap


@dataclass(frozen=True)
class VariantScore:
    """One variant of a comparison, over its random seeds. IoU and shares are in percent."""

    label: str
    """As it was named."""
    method: str
    """Name of its method."""
    seeds: tuple[int, ...]
    """One run each."""
    miou: float | None
    """Mean IoU, mean over the seeds."""
    spread: float | None
    """Sample standard deviation over the seeds; None for one seed."""
    by_seed: tuple[float | None, ...]
    """Mean IoU of each seed, in their order."""
    thresholds: tuple[float | None, ...]
    """Background threshold of each seed, 0..1; None for masks that not one constant made."""
    training_seconds: float | None
    """Mean wall time of a seed's trainings; None when one of them is not in the storage folder."""
    per_class: Mapping[str, float | None]
    """Class -> IoU, mean over the seeds; "background" first. None for a class that is in no image."""
    effects: Mapping[str, float | None]
    """What the masks get right or wrong -> share of the pixels counted; None where there were none."""


@dataclass(frozen=True)
class VariantDifference:
    """A variant minus the baseline, in percent points. Intervals are 95 %, paired over images and random seeds."""

    label: str
    """The variant."""
    against: str
    """The baseline."""
    miou: float
    """In mean IoU."""
    interval: tuple[float, float]
    """Its lower and upper end."""
    effects: Mapping[str, tuple[float, float, float] | None]
    """What the masks get right or wrong -> (difference, lower end, upper end); None where nothing was counted."""


class Comparison:
    """What a comparison came to. The first variant is the baseline.

    `rows` and `differences` are in percent; `document` is what the command prints with --json, with IoU 0..1.
    """

    def __init__(self, document: ComparisonDocument) -> None:
        """
        Args:
            document: what the command prints with --json.
        """
        self.document = document

    @property
    def name(self) -> str:
        """Of the comparison."""
        return self.document.comparison

    @property
    def folder(self) -> Path:
        """Where its table, bars and images are."""
        return Path(self.document.folder)

    @property
    def rows(self) -> tuple[VariantScore, ...]:
        """One for each variant, the baseline first: mean IoU over random seeds, classes, effects, in percent."""
        return tuple(_score(row) for row in self.document.rows)

    @property
    def differences(self) -> tuple[VariantDifference, ...]:
        """Each variant but the baseline minus the baseline, with paired 95 % intervals, in percent points."""
        return tuple(_difference(found) for found in self.document.differences)

    def to_markdown(self) -> str:
        """Both tables."""
        from wsss_platform.report.tables.comparison import comparison_markdown

        return comparison_markdown(self.document)

    def write_page(self, path: str | Path) -> Path:
        """Write the comparison as a page: recipe, protocol, table, figure and conclusions, as Markdown.

        Figures are copied beside the page. Images are shown of the built-in sample alone, because photographs belong
        to others. A page that was written before is renewed; what stands below its line `<!-- notes -->` is kept.

        Args:
            path: the file, ending in .md, or a folder, in which the page has the comparison's name.

        Returns:
            The page's file.

        Raises:
            InputError: a file of another kind, or one that is there and that this did not write.
        """
        from wsss_platform.report.comparison_page import write_page

        return write_page(self.document, Path(path))

    def to_pandas(self) -> Any:
        """A pandas DataFrame: a row for each variant with mean IoU and spread in percent."""
        rows = self.rows
        return data_frame(
            {
                "variant": [row.label for row in rows],
                "method": [row.method for row in rows],
                "miou": [row.miou for row in rows],
                "spread": [row.spread for row in rows],
            }
        )

    def __repr__(self) -> str:
        told = ", ".join(f"{row.label} {'-' if row.miou is None else format(row.miou, '.2f')}" for row in self.rows)
        return f"<comparison {self.name!r}: {told}>"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _score(row: ComparedVariant) -> VariantScore:
    return VariantScore(
        label=row.label,
        method=row.method,
        seeds=row.seeds,
        miou=_percent(row.mean_iou),
        spread=_percent(row.spread),
        by_seed=tuple(_percent(value) for value in row.mean_iou_by_seed),
        thresholds=row.thresholds,
        training_seconds=row.training_seconds,
        per_class={name: _percent(value) for name, value in row.classes.items()},
        effects={name: _percent(value) for name, value in row.effects.items()},
    )


def _difference(found: Difference) -> VariantDifference:
    value, low, high = _points(found.mean_iou) or (math.nan,) * 3
    return VariantDifference(
        label=found.label,
        against=found.against,
        miou=value,
        interval=(low, high),
        effects={name: _points(gap) for name, gap in found.effects.items()},
    )


def _points(gap: Gap) -> tuple[float, float, float] | None:
    if gap.value is None or gap.low is None or gap.high is None:
        return None
    return 100 * gap.value, 100 * gap.low, 100 * gap.high
