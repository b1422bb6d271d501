"""The leaderboard: runs grouped by protocol, ranked inside a group and never across groups.

Runs that differ only in the seed are one row with mean and spread; one seed is called one seed. Of a
study only the best trial stands in the table, with the number of trials it was chosen from.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.records import RunRecord, Scores

COLUMNS = (
    "rank",
    "run",
    "method",
    "seeds",
    "mIoU fixed",
    "mIoU best (oracle)",
    "pictures",
    "interval",
    "selection",
    "time",
    "date",
)
"""Of the terminal and Markdown tables; IoU in percent."""
NUMBERS = ("rank", "mIoU fixed", "mIoU best (oracle)", "pictures", "interval", "time")


@dataclass(frozen=True)
class Row:
    """One configuration's results under one protocol. IoU is 0..1, means are over seeds."""

    rank: int
    """From 1 inside its group, by the mean at the fixed background; equal means share a rank."""
    runs: tuple[str, ...]
    """Names, by seed."""
    method: str
    seeds: tuple[int, ...]
    """Distinct, ascending. Of two runs with one seed the later counts."""
    mean_iou: float
    """At the config's own background rule."""
    spread: float | None
    """Sample standard deviation over seeds; None for one seed."""
    best: float | None
    """Best of the background sweep: an oracle that saw the truth."""
    best_spread: float | None
    thresholds: tuple[float, ...]
    """Where the sweep was best, by seed."""
    pictures: int
    """Scored."""
    interval: tuple[float, float] | None
    """Bootstrap interval over pictures, for one seed only."""
    selection: str
    """Which pixel truth chose something; a study's best trial says out of how many."""
    trials: int | None
    """Finished trials of the study that this row is the best of."""
    seconds: float
    """Mean wall time of a run, all its stages counted."""
    date: str
    """ISO 8601 day of the last of its runs."""
    per_class: dict[str, float | None]
    """Class name -> IoU at the fixed background."""


@dataclass(frozen=True)
class Group:
    """Rows that may be compared."""

    key: str
    """`Protocol.group()`."""
    protocol: Protocol
    rows: tuple[Row, ...]


def rows(records: Iterable[RunRecord], *, all_trials: bool = False) -> list[Group]:
    """Group and rank finished, scored records; groups ordered by data, lists and key.

    Args:
        records: any records; those without a score are passed over.
        all_trials: show every trial of a study, not only its best.
    """
    groups: defaultdict[str, list[tuple[RunRecord, Scores]]] = defaultdict(list)
    for record in records:
        if record.status == "finished" and record.scores is not None:
            groups[record.protocol.group()].append((record, record.scores))
    made = []
    for key, scored in groups.items():
        unranked = [_row(runs, trials) for runs, trials in _configurations(scored, all_trials)]
        unranked.sort(key=lambda row: (-row.mean_iou, row.runs))
        means = [row.mean_iou for row in unranked]
        ranked = [replace(row, rank=1 + means.index(row.mean_iou)) for row in unranked]
        made.append(Group(key, scored[0][0].protocol, tuple(ranked)))
    return sorted(made, key=lambda group: (group.protocol.data, group.protocol.score_list, group.key))


Scored = list[tuple[RunRecord, Scores]]


def _configurations(scored: Scored, all_trials: bool) -> list[tuple[Scored, int | None]]:
    """Records of one row each, and out of how many trials it was chosen."""
    seeds: defaultdict[str, dict[int, tuple[RunRecord, Scores]]] = defaultdict(dict)
    studies: defaultdict[str, Scored] = defaultdict(list)
    for record, scores in sorted(scored, key=lambda item: (item[0].started, item[0].name)):
        if record.kind == "trial" and not all_trials:
            studies[record.study or ""].append((record, scores))
        else:
            seeds[f"{record.study or ''} {record.config_key}"][record.seed] = (record, scores)
    found: list[tuple[Scored, int | None]] = [([runs[seed] for seed in sorted(runs)], None) for runs in seeds.values()]
    for runs_of_study in studies.values():
        trials: defaultdict[str, Scored] = defaultdict(list)
        for record, scores in runs_of_study:  # a trial of several seeds is NAME, NAME-seed1, ...
            trials[re.sub(r"(-\d{4,})-seed\d+$", r"\1", record.name)].append((record, scores))
        best = max(trials.values(), key=_objective)
        found.append((sorted(best, key=lambda item: item[0].seed), len(trials)))
    return found


def _objective(runs: Scored) -> float:
    """What chose a trial: the study's objective, or without one the masks' mean."""
    record, _ = runs[0]
    return fmean(scores.fixed.mean_iou for _, scores in runs) if record.objective is None else record.objective


def _row(runs: Scored, trials: int | None) -> Row:
    first, first_scores = runs[0]
    fixed = [scores.fixed.mean_iou for _, scores in runs]
    best = [scores.best for _, scores in runs if scores.best is not None]
    names = list(dict.fromkeys(name for _, scores in runs for name in scores.fixed.per_class))
    chosen = "" if trials is None else f", best of {trials} {'trial' if trials == 1 else 'trials'}"
    return Row(
        rank=0,
        runs=tuple(record.name for record, _ in runs),
        method=first.method,
        seeds=tuple(record.seed for record, _ in runs),
        mean_iou=fmean(fixed),
        spread=stdev(fixed) if len(fixed) > 1 else None,
        best=fmean(score.mean_iou for score in best) if best else None,
        best_spread=stdev(score.mean_iou for score in best) if len(best) > 1 else None,
        thresholds=tuple(score.threshold for score in best),
        pictures=first.protocol.score_pictures,
        interval=first_scores.fixed.interval if len(runs) == 1 else None,
        selection=first.protocol.selection + chosen,
        trials=trials,
        seconds=fmean(sum(record.seconds.values()) for record, _ in runs),
        date=max((record.finished or record.started)[:10] for record, _ in runs),
        per_class={name: _mean([scores.fixed.per_class.get(name) for _, scores in runs]) for name in names},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def protocol_words(protocol: Protocol) -> str:
    """The protocol in one readable paragraph, every field in it."""
    gate = "limited to the image's labels" if protocol.label_gate else "over all classes"
    chosen = "nothing was chosen with pixel truth"
    if protocol.selection == "unknown":
        chosen = "what chose their settings is unknown"
    elif protocol.selection != "none":
        chosen = f"settings were chosen with {protocol.selection}"
    trained = f"trained on {protocol.train_list} ({protocol.train_pictures} pictures, "
    if protocol.train_pictures == 0:
        trained = "nothing trained here ("
    parts = (
        f"{protocol.data}: {trained}{protocol.supervision}, labels from {protocol.labels_from})",
        f"scored on {protocol.score_list} ({protocol.score_pictures} pictures, truth {protocol.truth})",
        chosen,
        f"{protocol.backbone} from {protocol.initial_weights}",
        f"maps at {protocol.scales}, {gate}",
        f"background {protocol.background}, CRF {protocol.crf}",
        *([f"affinity {protocol.affinity}"] if protocol.affinity != "none" else []),
        f"segmenter {protocol.segmenter}",
    )
    return "; ".join(parts)


def cells(row: Row) -> tuple[str, ...]:
    """A row in words, in the order of `COLUMNS`."""
    return (
        str(row.rank),
        row.runs[0] if len(row.runs) == 1 else f"{row.runs[0]} +{len(row.runs) - 1}",
        row.method,
        f"1 seed ({row.seeds[0]})" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds ({_listed(row.seeds)})",
        _percent(row.mean_iou, row.spread),
        "" if row.best is None else f"{_percent(row.best, row.best_spread)} @ {_range(row.thresholds)}",
        str(row.pictures),
        "" if row.interval is None else f"{100 * row.interval[0]:.1f}..{100 * row.interval[1]:.1f}",
        row.selection,
        _duration(row.seconds),
        row.date,
    )


def _percent(value: float, spread: float | None) -> str:
    return f"{100 * value:.1f}" if spread is None else f"{100 * value:.1f} ± {100 * spread:.1f}"


def _listed(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _range(thresholds: Sequence[float]) -> str:
    low, high = f"{min(thresholds):.2f}", f"{max(thresholds):.2f}"
    return low if low == high else f"{low}..{high}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def to_markdown(groups: Sequence[Group]) -> str:
    """One heading, one paragraph of protocol and one table for each group; IoU in percent."""
    parts = []
    for group in groups:
        lines = [f"### Protocol {group.key}", "", _escaped(protocol_words(group.protocol)), ""]
        lines += [_markdown_line(COLUMNS), _markdown_line(["---"] * len(COLUMNS))]
        lines += [_markdown_line(cells(row)) for row in group.rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _markdown_line(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, values)) + " |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def to_csv(groups: Sequence[Group]) -> str:
    """One line for each row with its protocol in columns; IoU 0..1 in full precision, lists joined by blanks."""
    stream = io.StringIO()
    fields = [name for name in Row.__dataclass_fields__ if name != "per_class"]
    protocol_fields = list(Protocol.model_fields)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["group", *fields, *(f"protocol.{name}" for name in protocol_fields)])
    for group in groups:
        protocol_cells = [getattr(group.protocol, name) for name in protocol_fields]
        for row in group.rows:
            writer.writerow([group.key, *(_csv_cell(getattr(row, name)) for name in fields), *protocol_cells])
    return stream.getvalue()


def _csv_cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def to_json(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Plain data: each group with its protocol and rows; IoU 0..1."""
    return [
        {
            "group": group.key,
            "protocol": group.protocol.model_dump(mode="json"),
            "rows": [_plain(asdict(row)) for row in group.rows],
        }
        for group in groups
    ]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
