"""A run: its plan, its score, a background rule on it, and its difference to another run."""

from __future__ import annotations

from wsss_platform.config.words import counted
from wsss_platform.plan.documents import MissingInputs, Plan, RunPlan
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.table import Alert, Shown, Table, columns
from wsss_platform.run.documents import Export, RuleResult, RunDifference, RunResult, SubsetScore
from wsss_platform.run.pipeline import FAILURES
from wsss_platform.scores.documents import Summary
from wsss_platform.scores.intervals import Comparison
from wsss_platform.search.costs import cost_words

_NEXT = {"train": "score", "maps": "masks", "masks": "score", "score": "show"}
"""Kind of a stage -> the verb that usually follows."""


def run_plan(plan: RunPlan) -> list[Shown]:
    """What a run would do."""
    return [f"run {plan.run}", plan_table(plan), cost_words(plan.cost)]


def missing_lines(found: MissingInputs) -> list[Shown]:
    """What a recipe needs and how to make it."""
    lines = [f"missing: {each.what}; from: {each.command}" for each in found.missing]
    return [f"recipe {found.recipe} cannot start yet", *lines]


def plan_table(plan: Plan) -> Table:
    """A line for each stage of a run or a study."""
    on = plan.resources
    resources = f"workers {on.workers}, gpus per worker {on.gpus_per_worker:g}, storage {on.storage}"
    rows = []
    for stage in plan.stages:
        state = "cached" if stage.cached else "to do" if stage.run else "not needed"
        rows.append((stage.stage, stage.split, stage.amount, stage.key[:12], state))
    title = f"{plan.method}: seed {plan.seed}; {resources}"
    return Table(title, columns("stage", "split", "work", "key", "state"), tuple(rows))


def run_result(result: RunResult) -> list[Shown]:
    """A run's score, what failed, where its files are and what comes next."""
    shown: list[Shown] = []
    if result.score is not None:
        shown += [score_table(result.run, result.score), protocol_line(result.protocol)]
    if result.failures:
        shown.append(Alert(f"{counted(result.failures, 'image')} failed and missing: {result.folder}/{FAILURES}"))
    shown.append(f"{result.stage} of run {result.run}: {result.folder}")
    if (following := _NEXT.get(result.stage.partition(":")[0])) is not None:
        shown.append(f"next: wsss-platform {following} {result.run}")
    return [*shown, *(export_lines(result.export) if result.export is not None else [])]


def export_lines(found: Export) -> list[Shown]:
    """Masks that were written for other codebases."""
    hint = "" if found.scored else "; no IoU in scores.parquet, as the run is not scored"
    lines: list[Shown] = [f"{counted(found.images, 'mask')} for other codebases in {found.folder}{hint}"]
    if found.lacking:
        lines.append(
            f"{counted(len(found.lacking), 'image')} without a mask, left out of every split: {' '.join(found.lacking)}"
        )
    return lines


def score_table(name: str, summary: Summary) -> Table:
    """The masks and the best of the sweep side by side, per class and mean, in percent."""
    sweep = summary.sweep
    rows = []
    for label, values in summary.classes.items():
        numbers = (values.iou, values.precision, values.recall, *([sweep.best_classes[label].iou] if sweep else []))
        rows.append((label, *map(_percent, numbers)))
    low, high = summary.interval
    totals = (
        ("mean", _percent(summary.mean_iou), "", "", *([_percent(sweep.best_mean_iou)] if sweep else [])),
        ("95 % interval", f"{_percent(low)}..{_percent(high)}", "", "", *([""] if sweep else [])),
    )
    headings = ("masks", "precision", "recall", *([f"maps at {sweep.best_threshold:g} (oracle)"] if sweep else []))
    title = f"{name}: IoU over {summary.images} images, percent"
    return Table(title, columns("class", right=headings), tuple(rows), totals)


_WORDS = {"train_list": "train split", "score_list": "score split", "truth": "ground truth"}
"""Fields of a protocol that are called otherwise in stored scores."""


def protocol_line(protocol: Protocol) -> str:
    """The protocol in one line."""
    said = protocol.fields_in_words().items()
    words = "; ".join(f"{_WORDS.get(name, name).replace('_', ' ')} {value}" for name, value in said)
    return f"protocol {protocol.group()}: {words}"


def rule_result(found: RuleResult) -> list[Shown]:
    """A background rule on a run: a line for each subset, the setting, the protocol."""
    of_maps = found.rule != "none"
    rows = []
    for row in found.subsets:
        spans = [_with_span(span) for span in (row.masks, row.rule) if span is not None]
        rows.append((row.subset, str(row.images), *spans))
    headings = ("number", "masks as made", *([f"maps, {found.words}"] if of_maps else []))
    title = f"{found.run}: mean IoU, percent, with 95 % intervals over images"
    settings = ", ".join(f"{name} {value:g}" for name, value in found.setting.items())
    table = Table(title, columns("images", right=headings), tuple(rows))
    return [table, *([settings] if of_maps else []), protocol_line(found.protocol)]


def difference_result(found: RunDifference) -> list[Shown]:
    """Two runs side by side, as made and at their best."""
    headings = ("background", found.first, found.second, "difference", "95 % interval", f"p({found.first} better)")
    best = [("best of each sweep (oracle)", *_compared(found.best))] if found.best else []
    rows = (("masks as made", *_compared(found.masks)), *best)
    words = "The interval is over images; it does not cover the spread between seeds."
    return [Table("", columns(*headings), rows), words]


def _compared(found: Comparison) -> tuple[str, ...]:
    gap = found.difference
    interval = f"{100 * gap.low:+.2f} .. {100 * gap.high:+.2f}"
    values = (f"{100 * found.a.value:.2f}", f"{100 * found.b.value:.2f}", f"{100 * gap.value:+.2f}")
    return (*values, interval, f"{found.a_wins:.3f}")


def _with_span(found: SubsetScore) -> str:
    return f"{_percent(found.mean_iou)} ({_percent(found.low)}..{_percent(found.high)})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
