"""The leaderboard as tables: one for each protocol, as nothing of two protocols may be ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsss_platform.config.supervision import supervision_words
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.leaderboard import Group, Row
from wsss_platform.report.table import Table, aligned, columns

COLUMNS = (
    "rank",
    "run",
    "method",
    "random seeds",
    "mIoU fixed",
    "mIoU best (oracle)",
    "images",
    "interval",
    "selection",
    "time",
    "date",
)
"""Of the terminal and Markdown tables; IoU in percent."""
NUMBERS = ("rank", "mIoU fixed", "mIoU best (oracle)", "images", "interval", "time")


def protocol_words(protocol: Protocol) -> str:
    """The protocol in one readable paragraph, every field in it."""
    gate = "limited to the image's labels" if protocol.label_gate else "over all classes"
    chosen = "nothing was chosen with ground truth"
    if protocol.selection == "unknown":
        chosen = "what chose their settings is unknown"
    elif protocol.selection != "none":
        chosen = f"settings were chosen with {protocol.selection}"
    trained = f"trained on {protocol.train_list} ({protocol.train_images} images, "
    if protocol.train_images == 0:
        trained = "nothing trained here ("
    parts = (
        f"{protocol.data}: {trained}{supervision_words(protocol.supervision)}, labels from {protocol.labels_from})",
        f"scored on {protocol.score_list} ({protocol.score_images} images, ground truth {protocol.truth})",
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
        f"{len(row.seeds)} ({_listed(row.seeds)})",
        _percent(row.mean_iou, row.spread),
        "" if row.best is None else f"{_percent(row.best, row.best_spread)} @ {_range(row.thresholds)}",
        str(row.images),
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


def leaderboard_tables(groups: Sequence[Group]) -> list[Table]:
    """One table for each protocol, which stands above it in words.

    Left out for width: the number of images (it is in the words), and intervals when no row has one.
    """
    tables = []
    for group in groups:
        dropped = {"images"} if any(row.interval for row in group.rows) else {"images", "interval"}
        shown = [name for name in COLUMNS if name not in dropped]
        tables.append(_table(group, f"{protocol_words(group.protocol)}  [{group.key}]", shown))
    return tables


def _table(group: Group, title: str, names: Sequence[str]) -> Table:
    places = [COLUMNS.index(name) for name in names]
    rows = tuple(tuple(cells(row)[place] for place in places) for row in group.rows)
    return Table(title, aligned(names, set(COLUMNS) - set(NUMBERS)), rows, wide=True)


def leaderboard_markdown(groups: Sequence[Group]) -> str:
    """One heading, one paragraph of protocol and one table for each group; IoU in percent."""
    tables = [(group.key, _table(group, protocol_words(group.protocol), COLUMNS)) for group in groups]
    return "\n".join(f"### Protocol {key}\n\n{table.to_markdown()}" for key, table in tables)


def leaderboard_csv(groups: Sequence[Group]) -> str:
    """One line for each row with its protocol in columns; IoU 0..1 in full precision, lists joined by blanks."""
    fields = [name for name in Row.__dataclass_fields__ if name != "per_class"]
    said = list(Protocol.model_fields)
    rows = tuple(
        tuple(
            map(
                _cell,
                (group.key, *(getattr(row, name) for name in fields), *map(group.protocol.fields_in_words().get, said)),
            )
        )
        for group in groups
        for row in group.rows
    )
    return Table("", columns("group", *fields, *(f"protocol.{name}" for name in said)), rows).to_csv()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
