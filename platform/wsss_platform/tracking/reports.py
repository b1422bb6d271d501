"""A leaderboard as a W&B Report: a table and a locked run set for each protocol group, so that unlike ones cannot mix.

The report needs the server. What it is to hold is kept as JSON beside W&B's other files, with the id that the server
gave it: the next call that is logged in makes it, or changes it in place.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from wsss_platform.run.scrub import scrub, shareable
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tracking.weights_and_biases import failures, first_line, load_wandb

TITLE = "Leaderboard"
CURVE = ("sweep/background", "sweep/mean_iou")
"""What a run logs for each threshold of its sweep: background threshold, mean IoU."""
COLUMNS = {
    "run:displayName": "name",
    "config:protocol.value.supervision": "supervision",
    "config:protocol.value.selection": "selection",
    "config:seed.value": "random seed",
    "summary:mean_iou": "mean IoU of the masks",
    "summary:low": "lower end of its interval",
    "summary:high": "upper end",
}
"""Of a run set's table, in this order; others cannot be added where the report is read."""


@dataclass(frozen=True)
class ReportGroup:
    """Runs of one protocol."""

    key: str
    """Hash of the protocol, as in the runs' config."""
    text: str
    """The protocol in words and its rows as a table, Markdown."""


@dataclass(frozen=True)
class ReportStudy:
    """A search."""

    name: str
    """The W&B group of its trials."""
    axes: tuple[str, ...]
    """Settings that it searched, dotted paths."""


@dataclass(frozen=True)
class Published:
    """What became of a report."""

    url: str | None
    """Where it is; None while it is only kept."""
    file: Path
    """Its content and id."""
    reason: str = ""
    """Why it is only kept."""


def publish(
    groups: Sequence[ReportGroup],
    studies: Sequence[ReportStudy],
    folder: Path,
    project: str,
    entity: str | None,
    *,
    online: bool,
    patience: float = 30.0,
) -> Published:
    """Keep the report's content, then make it or change it where the server can be asked.

    Args:
        groups: of the leaderboard.
        studies: to draw in parallel coordinates.
        folder: where content and id are kept.
        project: on the server.
        entity: user or team; None: not known, as nobody is logged in.
        online: whether to ask the server.
        patience: seconds to wait for it; then the report is only kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"report-{project}.json"
    ids = _ids_of(file)
    report = _build(groups, studies, project, entity or "")
    report.id = ids.get(entity or "", "")
    spec = json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))

    def keep(pending: bool) -> None:
        said = {"version": 1, "entity": entity, "project": project, "ids": ids, "pending": pending, "content": spec}
        write_atomic(file, json.dumps(said, indent=1))

    def save() -> None:
        """Also where nobody waits for it any more: its id must not be lost."""
        _save(report)
        ids[entity or ""] = report.id
        keep(pending=False)

    keep(pending=True)
    if not online:
        return Published(None, file, "not logged in")
    reason = _within(patience, save)
    return Published(None, file, reason) if reason else Published(str(report.url), file)


def _ids_of(file: Path) -> dict[str, str]:
    """User or team -> the id that the server gave its report; none from a damaged file."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["ids"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _within(patience: float, work: Callable[[], None]) -> str:
    """Do it in the background for so long; why it did not come to an end, else ""."""
    reasons = [f"the service did not answer within {patience:.0f} s"]

    def try_it() -> None:
        try:
            work()
            reasons[0] = ""
        except failures() as error:
            reasons[0] = scrub(first_line(error))

    thread = threading.Thread(target=try_it, name="wandb-report", daemon=True)
    thread.start()
    thread.join(patience)
    return reasons[0]


def _save(report: Any) -> None:
    """Change the report of its id; make a new one where somebody deleted that."""
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2.gql import view_report

    if report.id:
        found = execute_graphql(load_wandb().Api(), view_report, {"reportId": report.id})
        report.id = report.id if found.get("view") else ""
    report.save()


def _build(groups: Sequence[ReportGroup], studies: Sequence[ReportStudy], project: str, entity: str) -> Any:
    """The report, without asking the server: run sets are of its own project."""
    made = _reports()
    words = "Runs are ranked inside a protocol only: what was seen, what was chosen, and the ground truth are the same."
    blocks = [made.P(words), *(block for group in groups for block in _group(made, group))]
    if studies:
        blocks += [made.H2("Studies"), *(_study(made, study) for study in studies)]
    return made.Report(project=project, entity=entity, title=TITLE, description=words, blocks=blocks, width="fluid")


def _group(made: ModuleType, group: ReportGroup) -> list[Any]:
    metric = load_workspaces().expr.Config("protocol.value.group")
    runs = made.Runset(
        name=f"protocol {group.key}",
        filters=[metric == group.key],
        order=[made.OrderBy(made.SummaryMetric("mean_iou"), ascending=False)],
        visible_columns=list(COLUMNS),
        lock_columns=True,
    )
    threshold, value = CURVE
    curve = made.LinePlot(
        title="mean IoU of the maps at every background threshold", x=threshold, y=[value], range_x=(0, 1)
    )
    bars = made.BarPlot(title="mean IoU of the masks", metrics=[made.SummaryMetric("mean_iou")])
    grid = made.PanelGrid(runsets=[runs], panels=[curve, bars], active_runset=0)
    return [made.MarkdownBlock(shareable(group.text)), grid]


def _study(made: ModuleType, study: ReportStudy) -> Any:
    trials = made.Runset(
        name=study.name, filters=[load_workspaces().expr.Metric("Group") == study.name], lock_columns=True
    )
    columns = [made.ParallelCoordinatesPlotColumn(made.Config(axis)) for axis in study.axes]
    columns.append(made.ParallelCoordinatesPlotColumn(made.SummaryMetric("mean_iou")))
    return made.PanelGrid(runsets=[trials], panels=[made.ParallelCoordinatesPlot(columns=columns, title=study.name)])


def load_workspaces() -> ModuleType:
    """`wandb_workspaces`, imported late, as wandb is."""
    load_wandb()
    import wandb_workspaces
    import wandb_workspaces.expr

    return wandb_workspaces


def _reports() -> ModuleType:
    load_wandb()
    from wandb_workspaces.reports import v2

    return v2
