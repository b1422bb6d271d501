"""A study on one page: figures, the result, every trial, and what failed and why."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from wsss_platform.run.scrub import scrub
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.documents import StudyComparison

PAGE = "study.html"
"""In the study's folder, beside one PNG per image."""
FIGURE = "comparison.png"
"""In the study's folder."""
FIGURE_CAPTION = (
    "Images evenly spread over the reported split: the image, the strongest CAM of the first row, each row's mask at "
    "its threshold, the ground truth."
)
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
    comparison: StudyComparison | None,
    drawn: Sequence[tuple[str, str, Path]],
    skipped: Sequence[str],
) -> str:
    """A study as HTML that holds everything in itself (no script, no link to the outside), so it can be mailed.

    Args:
        name: of the study.
        identity: what it searched (its study.json).
        rows: every trial.
        comparison: baseline, host, default settings and best trial; None before its end.
        drawn: (name, caption, PNG file) of each image.
        skipped: why others were not drawn.
    """
    title = escape(f"Study {name}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1>",
        f"<p>{escape(_facts(identity, rows))}</p>",
    ]
    if comparison is not None:
        parts += ["<h2>What the search is worth</h2>", _comparison(comparison)]
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


def _comparison(found: StudyComparison) -> str:
    rows: list[list[Any]] = []
    for row in found.rows:
        span = "" if row.low is None or row.high is None else f"{row.low:+.2f} to {row.high:+.2f}"
        gap = "" if row.difference is None else f"{row.difference:+.2f}"
        shown = [row.row, row.method, row.trial, None if row.miou is None else round(row.miou, 2), gap, span]
        spent = "" if row.seconds is None else round(row.seconds)
        rows.append([*shown, "as made" if row.threshold is None else row.threshold, spent])
    headings = ["row", "method", "trial", "mean IoU", "difference", "95 % interval", "threshold", "seconds"]
    return f"<p>{escape(' '.join(found.report.words))}</p>" + _table(headings, rows)


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
