"""The tables at the end of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from wsss_platform.cli.front import cells, cost_names, headings
from wsss_platform.config import MethodConfig, look_up

if TYPE_CHECKING:
    from wsss_platform.run.trial_rows import TrialRow
    from wsss_platform.tune.tuner import StudyResult


def trials_table(study: str, rows: tuple[TrialRow, ...], objective: str) -> Table:
    """One line per trial, best first."""
    costs = cost_names(rows)
    table = Table(title=f"{study}: {objective}, percent", title_justify="left")
    for heading in ("trial", "state", "objective", "masks", "threshold", "seconds", *headings(costs), "note"):
        table.add_column(heading, justify="left" if heading in ("state", "note") else "right")
    for row in sorted(rows, key=lambda row: (row.state != "complete", -(row.objective or 0), row.number)):
        numbers = [None if value is None else f"{100 * value:.2f}" for value in (row.objective, row.fixed)]
        if row.spread is not None:
            numbers[0] = f"{numbers[0]} ± {100 * row.spread:.2f}"
        table.add_row(
            str(row.number),
            row.state,
            *[number or "-" for number in numbers],
            "-" if row.threshold is None else f"{row.threshold:g}",
            "-" if row.seconds is None else f"{row.seconds:.0f}",
            *cells(row, costs),
            row.reason or ("" if row.changes else "the default config"),
        )
    return table


def told_table(told: Mapping[str, Any]) -> Table:
    """Fixed, selected and oracle on the list of the report."""
    title = f"on {told['report_list']}, {told['pictures']} pictures; mean IoU in percent"
    table = Table("what", "trial", "mean IoU", "95 %", "threshold", "chosen with", title=title, title_justify="left")
    with_what = {
        "fixed": "nothing",
        "selected": told["selection"] + (", the truth of this very list" if told["biased"] else ""),
        "oracle": f"the truth of this very list, over {told['oracle_over']} trials",
    }
    for name, choice in with_what.items():
        line = told[name]
        if line is None:
            continue
        span = "" if line["interval"] is None else " .. ".join(f"{100 * value:.2f}" for value in line["interval"])
        threshold = "-" if line["threshold"] is None else f"{line['threshold']:.3g}"
        table.add_row(name, str(line["trial"]), f"{100 * line['mean_iou']:.2f}", span, threshold, choice)
    gap = told["difference"]
    if gap is not None:
        span = f"{100 * gap['low']:+.2f} .. {100 * gap['high']:+.2f}"
        table.add_row("selected - fixed", "", f"{100 * gap['value']:+.2f}", span, "", "paired over pictures")
    return table


def best_table(result: StudyResult, default: MethodConfig) -> Table:
    """What the best trial has that the default config has not."""
    assert result.best is not None
    table = Table("field", "default", "best", title=f"trial {result.best.number}, the best", title_justify="left")
    for path, value in result.best.changes.items():
        table.add_row(path, _shown(look_up(default, path)), _shown(value))
    return table


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
