"""A comparison: its plan, its variants, and what they differ by."""

from __future__ import annotations

from collections.abc import Sequence

from wsss_platform.plan.documents import ComparisonPlan
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Difference, Gap
from wsss_platform.report.table import Shown, Table, aligned, columns

AT = {
    "best": "each at its sweep's best threshold (oracle)",
    "masks": "masks as made",
    "background": "each where it takes as much of the background as the baseline at its best (oracle)",
}
"""Where variants are compared, in words."""


def comparison_plan(plan: ComparisonPlan) -> Table:
    """A line for each run."""
    rows = tuple((run.variant, str(run.seed), ", ".join(run.run) or "-", str(run.stored)) for run in plan.runs)
    return Table(f"comparison {plan.comparison}", columns("variant", "seed", "stages to run", "in the store"), rows)


def comparison_result(found: ComparisonDocument) -> list[Shown]:
    """Both tables, how to read them, and where the images are."""
    return [*comparison_tables(found), reading(found), f"table, bars and images: {found.folder}"]


def comparison_tables(found: ComparisonDocument) -> list[Table]:
    """The variants, and what they differ by where there are several."""
    gaps = [gaps_table(found.differences)] if found.differences else []
    return [variants_table(found.rows, found.at), *gaps]


def comparison_markdown(found: ComparisonDocument) -> str:
    """Both tables as Markdown, for a leaderboard file."""
    return "\n".join(table.to_markdown() for table in comparison_tables(found))


def variants_table(variants: Sequence[ComparedVariant], at: str) -> Table:
    """A line for each variant."""
    effects = list(variants[0].effects)
    rows = []
    for variant in variants:
        spread = "" if variant.spread is None else f" ± {100 * variant.spread:.2f}"
        thresholds = sorted({"-" if value is None else f"{value:.3g}" for value in variant.thresholds})
        rows.append(
            (
                variant.label,
                str(len(variant.seeds)),
                "-" if variant.training_seconds is None else f"{variant.training_seconds:.0f} s",
                _percent(variant.mean_iou, 2) + spread,
                "..".join([thresholds[0], thresholds[-1]][: len(thresholds)]),
                *(_percent(variant.effects[name], 1) for name in effects),
            )
        )
    headings = ("variant", "random seeds", "trained", "mean IoU", "threshold", *effects)
    return Table(f"percent; {AT[at]}", aligned(headings, ("variant",)), tuple(rows))


def gaps_table(differences: Sequence[Difference]) -> Table:
    """A line for each variant but the baseline: what it differs by."""
    names = list(differences[0].effects)
    rows = tuple(
        (one.label, _interval(one.mean_iou), *(_interval(one.effects[name]) for name in names)) for one in differences
    )
    title = f"minus {differences[0].against}, with 95 % intervals"
    return Table(title, aligned(("variant", "mean IoU", *names), ("variant",)), rows)


def reading(found: ComparisonDocument) -> str:
    """How to read the tables."""
    several = len(found.rows[0].seeds) > 1
    drawn = "images and seeds" if several else "images only: one seed says nothing of the luck of training"
    oracle = "" if found.at == "masks" else "; thresholds were chosen on the ground truth they are scored with"
    return f"The intervals are over {drawn}{oracle}. Trained: wall time of a seed's trainings, whatever else ran."


def _interval(gap: Gap) -> str:
    if gap.value is None or gap.low is None or gap.high is None:
        return "-"
    return f"{100 * gap.value:+.2f} ({100 * gap.low:+.2f}..{100 * gap.high:+.2f})"


def _percent(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"
