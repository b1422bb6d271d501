"""Tables for the terminal, by rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.comparison_tables import AT, duration, interval
from wsss_platform.report.leaderboard import COLUMNS, NUMBERS, Group, cells, protocol_words


def score_table(name: str, summary: dict[str, Any]) -> Table:
    """The masks and the best of the sweep side by side, per class and mean, in percent."""
    sweep = summary["sweep"]
    table = Table(title=f"{name}: IoU over {summary['pictures']} pictures, percent", title_justify="left")
    table.add_column("class")
    for heading in ("masks", "precision", "recall", f"maps at {sweep['best_threshold']:g} (oracle)"):
        table.add_column(heading, justify="right")
    for label, values in summary["classes"].items():
        numbers = [values["iou"], values["precision"], values["recall"], sweep["best_classes"][label]["iou"]]
        table.add_row(label, *(_percent(number) for number in numbers))
    table.add_section()
    low, high = summary["interval"]
    table.add_row("mean", _percent(summary["mean_iou"]), "", "", _percent(sweep["best_mean_iou"]), style="bold")
    table.add_row("95 % interval", f"{_percent(low)}..{_percent(high)}", "", "", "")
    return table


def protocol_line(protocol: Protocol) -> str:
    """The protocol in one line."""
    words = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in protocol.model_dump().items())
    return f"protocol {protocol.group()}: {words}"


def rule_lines(found: dict[str, Any]) -> list[Any]:
    """A background rule's result (`api.background_rules.by_rule`): table, setting, protocol."""
    settings = ", ".join(f"{name} {value:g}" for name, value in found["setting"].items())
    line = protocol_line(Protocol.model_validate(found["protocol"]))
    return [_rule_table(found["run"], found["words"], found["subsets"]), settings, line]


def _rule_table(name: str, words: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{name}: mean IoU, percent, with 95 % intervals over pictures", title_justify="left")
    table.add_column("pictures")
    for heading in ("number", "masks as made", f"maps, {words}"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{100 * row[key]['mean_iou']:.2f} ({_span(row[key])})" for key in ("masks", "rule")]
        table.add_row(row["subset"], str(row["pictures"]), *cells)
    return table


def _span(values: dict[str, float]) -> str:
    return f"{100 * values['low']:.2f}..{100 * values['high']:.2f}"


def leaderboard_tables(groups: Sequence[Group]) -> list[Table]:
    """One rich table for each protocol, which stands above it in words.

    Left out for width: the number of pictures (it is in the words), and intervals when no row has one.
    """
    tables = []
    for group in groups:
        title = Text(f"{protocol_words(group.protocol)}  [{group.key}]")
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        dropped = {"pictures"} if any(row.interval for row in group.rows) else {"pictures", "interval"}
        shown = [place for place, name in enumerate(COLUMNS) if name not in dropped]
        for name in (COLUMNS[place] for place in shown):
            longest = max(map(len, name.split()))
            table.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold", min_width=longest)
        for row in group.rows:
            words = cells(row)
            table.add_row(*(Text(words[place]) for place in shown))
        tables.append(table)
    return tables


def scores_table(document: dict[str, Any]) -> Table:
    """A line for each arm."""
    summaries = document["arms"]
    table = Table(title=f"percent; {AT[document['at']]}", title_justify="left")
    effects = list(summaries[0]["effects"])
    for heading in ("arm", "seeds", "trained", "mean IoU", "threshold", *effects):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for item in summaries:
        spread = "" if item["spread"] is None else f" ± {100 * item['spread']:.2f}"
        thresholds = sorted({"-" if value is None else f"{value:.3g}" for value in item["thresholds"]})
        table.add_row(
            item["label"],
            str(len(item["seeds"])),
            duration(item["training_seconds"]),
            f"{100 * item['mean_iou']:.2f}{spread}",
            "..".join([thresholds[0], thresholds[-1]][: len(thresholds)]),
            *(f"{100 * item['effects'][name]:.1f}" for name in effects),
        )
    return table


def gaps_table(document: dict[str, Any]) -> Table:
    """A line for each arm but the first: what it differs by."""
    gaps = document["differences"]
    table = Table(title=f"minus {gaps[0]['against']}, with 95 % intervals", title_justify="left")
    names = [name for name in gaps[0] if name not in ("label", "against")]
    for heading in ("arm", *names):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for item in gaps:
        table.add_row(item["label"], *(interval(item[name]) for name in names))
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
