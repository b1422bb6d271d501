"""A comparison as plain data, as tables for the terminal and in Markdown, and as a folder with its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsss_platform.plan.protocol import protocol
from wsss_platform.report.comparison import ScoredArm, Where, differences
from wsss_platform.report.comparison_figures import bars, differing
from wsss_platform.report.drawing import save
from wsss_platform.store.artefacts import write_atomic

AT = {
    "best": "each at its sweep's best threshold (oracle)",
    "masks": "masks as made",
    "background": "each where it takes as much of the background as the first at its best (oracle)",
}
"""Where arms are compared, in words."""


def summarise(scored: list[ScoredArm], at: Where) -> dict[str, Any]:
    """The arms and their differences to the first, as plain data."""

    return {
        "at": at,
        "arms": [arm.summary() for arm in scored],
        "differences": differences(scored[0], scored[1:]),
        "protocols": {arm.arm.label: protocol(arm.arm.experiments[0]).model_dump() for arm in scored},
    }


def duration(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"


def interval(found: dict[str, float]) -> str:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.2f} ({low:+.2f}..{high:+.2f})"


def reading(seeds: int, at: str) -> str:
    """How to read the tables."""
    drawn = "pictures and seeds" if seeds > 1 else "pictures only: one seed says nothing of the luck of training"
    oracle = "" if at == "masks" else "; thresholds were chosen on the truth they are scored with"
    return f"The intervals are over {drawn}{oracle}. Trained: wall time of a seed's trainings, whatever else ran."


def write(folder: Path, document: dict[str, Any], scored: list[ScoredArm], pictures: int) -> None:
    """comparison.json, table.md, bars, and the pictures where the arms differ."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "table.md", markdown(document))
    save(bars(document["arms"], "classes", "IoU per class, mean over seeds"), folder / "classes.png")
    save(bars(document["arms"], "effects", "what the masks get right and wrong"), folder / "effects.png")
    for picture, figure in differing(scored, pictures):
        save(figure, folder / f"picture-{picture}.png")
    write_atomic(folder / "comparison.json", json.dumps(document, indent=1))


def markdown(document: dict[str, Any]) -> str:
    """Both tables as Markdown, for a leaderboard file, under a line that says where the arms stand."""
    effects = list(document["arms"][0]["effects"])
    lines = [
        f"Percent; {AT[document['at']]}.",
        "",
        "| arm | seeds | trained | mean IoU | " + " | ".join(effects) + " |",
        "|---|--:|--:|--:|" + "--:|" * len(effects),
    ]
    for item in document["arms"]:
        spread = "" if item["spread"] is None else f" ± {100 * item['spread']:.2f}"
        cells = [f"{100 * item['effects'][name]:.1f}" for name in effects]
        lines.append(
            f"| {item['label']} | {len(item['seeds'])} | {duration(item['training_seconds'])} "
            f"| {100 * item['mean_iou']:.2f}{spread} | {' | '.join(cells)} |"
        )
    if document["differences"]:
        names = [name for name in document["differences"][0] if name not in ("label", "against")]
        against = document["differences"][0]["against"]
        lines += ["", f"| minus {against} | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
        for item in document["differences"]:
            lines.append(f"| {item['label']} | " + " | ".join(interval(item[name]) for name in names) + " |")
    return "\n".join(lines) + "\n"
