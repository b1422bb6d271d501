"""Tables for the terminal, by rich."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from wsss_platform.plan.protocol import Protocol


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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
