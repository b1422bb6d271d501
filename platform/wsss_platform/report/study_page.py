"""A study on one page: images, the result, every trial, and what failed and why."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from wsss_platform.run.scrub import scrub
from wsss_platform.run.trial_rows import TrialRow

PAGE = "study.html"
"""In the study's folder, beside one PNG per image."""
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 0.6rem 0 1.6rem; font-size: 13px }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.7rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100% } figure { margin: 1.2rem 0 } figcaption, .quiet { color: #666; font-size: 13px }
"""


def page(
    name: str,
    identity: Mapping[str, Any],
    rows: Sequence[TrialRow],
    told: Mapping[str, Any] | None,
    drawn: Sequence[tuple[str, str, Path]],
    skipped: Sequence[str],
) -> str:
    """A study as HTML that holds everything in itself (no script, no link to the outside), so it can be mailed.

    Args:
        name: of the study.
        identity: what it searched (its study.json).
        rows: every trial.
        told: fixed, selected and oracle (its selection.json); None before its end.
        drawn: (name, caption, PNG file) of each image.
        skipped: why others were not drawn.
    """
    title = escape(f"Study {name}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1>",
        f"<p>{escape(_facts(identity, rows))}</p>",
    ]
    if told is not None:
        parts += ["<h2>Fixed, selected, oracle</h2>", _told(told)]
    for name, caption, path in drawn:
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(
            f'<figure><h2>{escape(name)}</h2><img alt="{escape(name)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    parts += [f'<p class="quiet">{escape(text)}</p>' for text in skipped]
    parts += ["<h2>Trials, best first</h2>", _trials(rows)]
    return "\n".join(parts) + "\n"


def _facts(identity: Mapping[str, Any], rows: Sequence[TrialRow]) -> str:
    states: dict[str, int] = {}
    for item in rows:
        states[item.state] = states.get(item.state, 0) + 1
    method = identity.get("method", ["?"])[0]
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    costs = identity.get("objectives", ())[1:]
    against = f", minimised beside it: {', '.join(costs)}" if costs else ""
    return (
        f"Method {method}; maximised: {identity.get('objective', '?')}{against}; ground truth that chose: "
        f"{identity.get('selection', '?')}; {len(rows)} trials ({counted}); the sampler's seed "
        f"{identity.get('sampler_seed', '?')}."
    )


def _told(told: Mapping[str, Any]) -> str:
    lines = []
    for name in ("fixed", "selected", "oracle"):
        line = told[name]
        if line is not None:
            span = "" if line["interval"] is None else " .. ".join(f"{100 * value:.2f}" for value in line["interval"])
            lines.append([name, line["trial"], _percent(line["mean_iou"]), span, line["threshold"]])
    biased = (
        " Selected was chosen with the ground truth of this very list, so it is optimistic." if told["biased"] else ""
    )
    looks = ", ".join(f"{count} at {name}" for name, count in told["looks"].items())
    gap = told["difference"]
    paired = ""
    if gap is not None:
        low, high = 100 * gap["low"], 100 * gap["high"]
        paired = f" Selected - fixed: {100 * gap['value']:+.2f}, paired over images {low:+.2f} .. {high:+.2f}."
    words = (
        f"On {told['report_list']}, {told['images']} images, in percent.{biased} The oracle chooses with that "
        f"ground truth, over {told['oracle_over']} trials.{paired} Looks at ground truth: {looks}."
    )
    return f"<p>{escape(words)}</p>" + _table(["what", "trial", "mean IoU", "95 %", "threshold"], lines)


def _trials(rows: Sequence[TrialRow]) -> str:
    ordered = sorted(rows, key=lambda item: (item.state != "complete", -(item.objective or 0), item.number))
    lines = [
        [
            item.number,
            item.state,
            _percent(item.objective),
            _percent(item.fixed),
            item.seconds,
            ", ".join(f"{path} = {_short(value)}" for path, value in item.changes.items()) or "the default config",
            scrub(item.reason or ""),
        ]
        for item in ordered
    ]
    names = list(next((item.values for item in rows if item.values), {}))[1:]
    for item, line in zip(ordered, lines, strict=True) if names else ():
        costs = [None if item.values is None else item.values[name] for name in names]
        line[5:5] = [*costs, "on the front" if item.front else ""]
    more = [*(f"own {name}" for name in names), "front"] if names else []
    return _table(["trial", "state", "objective", "masks", "seconds", *more, "changes", "reason"], lines)


def _table(headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        number = isinstance(value, int | float)
        text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"<td{' class=number' if number else ''}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(f"<tr>{''.join(map(cell, line))}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
