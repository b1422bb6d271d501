"""Several objectives in the table of trials: what each costs, and which no other one beats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss_platform.run.trial_rows import TrialRow
    from wsss_platform.tune.tuner import StudyResult

HEADINGS = {"seconds": "own seconds", "memory": "peak GiB"}
MARK = "front"


def cost_names(rows: Iterable[TrialRow]) -> list[str]:
    """The objectives besides accuracy; empty for a study of one."""
    return next((list(row.values)[1:] for row in rows if row.values), [])


def headings(names: Iterable[str]) -> list[str]:
    """Of the columns that `cells` fills."""
    shown = [HEADINGS.get(name, name) for name in names]
    return [*shown, MARK] if shown else []


def cells(row: TrialRow, names: list[str]) -> list[str]:
    """A trial's costs, and a mark when it is on the front."""
    costs = [f"{row.values[name]:.4g}" if row.values else "-" for name in names]
    return [*costs, "*" if row.front else ""] if names else []


def front_lines(result: StudyResult) -> list[str]:
    """Which trials are on the front, and where their configs are."""
    front = result.front
    if not front:
        return []
    names = ", ".join(str(row.number) for row in front)
    return [
        f"Pareto front (*) of {', '.join(result.objectives)}: trials {names}, the most accurate first; no other trial "
        "is at least as good in everything and better in something. Seconds are as if nothing had been stored",
        f"their configs: {result.folder / 'front-NNNN.toml'}, by the trial's number",
    ]
