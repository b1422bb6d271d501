"""A comparison as a document, and as a folder with its tables and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from wsss_platform.plan.protocol import protocol
from wsss_platform.report.comparison import ScoredVariant, Where, differences
from wsss_platform.report.comparison_figures import bars, differing
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument
from wsss_platform.report.drawing import save
from wsss_platform.report.tables.comparison import comparison_markdown
from wsss_platform.store.artefacts import write_atomic

RESULT, TABLE = "comparison.json", "table.md"


def summarise(title: str, folder: Path, scored: Sequence[ScoredVariant], at: Where) -> ComparisonDocument:
    """The variants and their differences to the baseline; `title` is the comparison's name, `folder` for its files."""
    return ComparisonDocument(
        comparison=title,
        folder=str(folder),
        at=at,
        rows=tuple(ComparedVariant.model_validate(one.summary()) for one in scored),
        differences=differences(scored[0], scored[1:]),
        protocols={one.variant.label: protocol(one.variant.experiments[0]) for one in scored},
    )


def write(document: ComparisonDocument, scored: Sequence[ScoredVariant], images: int) -> None:
    """comparison.json, table.md, bars, and so many images where the variants differ, into the document's folder."""
    folder = Path(document.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, comparison_markdown(document))
    save(bars(document.rows, "classes", "IoU per class, mean over seeds"), folder / "classes.png")
    save(bars(document.rows, "effects", "what the masks get right and wrong"), folder / "effects.png")
    for image, figure in differing(scored, images):
        save(figure, folder / f"image-{image}.png")
    write_atomic(folder / RESULT, json.dumps(document.to_json(), indent=1))
