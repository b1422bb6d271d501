"""A search on a run's stored maps: its plan, its rungs, the confirmation of its winner."""

from __future__ import annotations

from wsss_platform.report.table import Shown, Table, columns
from wsss_platform.search.documents import SearchBase, SearchDocument, SearchPlan
from wsss_platform.search.masks.settings import NO_CRF


def search_plan(plan: SearchPlan) -> list[Shown]:
    """What a search would do."""
    return [search_line(plan), ", ".join(plan.candidates)]


def search_line(plan: SearchBase) -> str:
    """The search in one line."""
    return (
        f'study {plan.study}: {plan.settings} settings with "no CRF"; rungs of {", ".join(map(str, plan.rungs))} '
        f"images of {plan.split}; the winner is confirmed on {plan.confirmed_on} others"
    )


def search_result(found: SearchDocument, run: str) -> list[Shown]:
    """The last rung, the confirmation, the evaluations, what to do next with a run of this name."""
    return [
        rung_table(found),
        *([confirmation_table(found)] if found.confirmation else []),
        _verdict(found),
        f"evaluated on ground truth {found.evaluations} times (settings x images), {found.computed} of them now; "
        f"selection: {found.selection}",
        f"results: {found.results}; curves: {found.curves}",
        f"next: wsss-platform score {run} --config {found.best}",
    ]


def rung_table(found: SearchDocument) -> Table:
    """A line for each setting of the last rung, best first."""
    last = found.scores[-1]
    rows = []
    for name, value in sorted(last.scores.items(), key=lambda item: -item[1]):
        words = ", ".join(f"{path.rsplit('.', 1)[-1]} {value}" for path, value in found.changes[name].items())
        rows.append((name, f"{100 * value:.2f}", words))
    title = f"{found.study}: mean IoU over {last.images} images, percent (chosen on them)"
    return Table(title, columns("setting", "mean IoU", "what differs from the run"), tuple(rows))


def confirmation_table(found: SearchDocument) -> Table:
    """A line for each reference that the winner is compared with."""
    rows = []
    for name, item in found.confirmation.items():
        gap = item.difference
        values = (f"{100 * item.a.value:.2f}", f"{100 * item.b.value:.2f}", f"{100 * gap.value:+.2f}")
        rows.append((name, *values, f"{100 * gap.low:+.2f} .. {100 * gap.high:+.2f}"))
    names = ("the winner against", "winner", "it", "difference", "95 % interval")
    return Table(f"confirmation on {found.confirmed_on} other images", columns(*names), tuple(rows))


def _verdict(found: SearchDocument) -> str:
    if found.winner == NO_CRF:
        return "no setting is better than no CRF"
    is_better = "is better" if found.confirmed else "is not shown to be better"
    return f"{found.winner} {is_better} than no CRF on images it was not chosen on"
