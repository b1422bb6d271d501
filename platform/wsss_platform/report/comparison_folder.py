"""A comparison as a document, and as a folder with its tables and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from wsss_platform import __version__
from wsss_platform.plan.protocol import protocol
from wsss_platform.report.comparison import ScoredVariant, Where, differences
from wsss_platform.report.comparison_figures import bars, differing
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Origin
from wsss_platform.report.drawing import save
from wsss_platform.report.tables.comparison import comparison_markdown
from wsss_platform.run.records import git_commit, now
from wsss_platform.store.artefacts import write_atomic

RESULT, TABLE, CLASSES, EFFECTS = "comparison.json", "table.md", "classes.png", "effects.png"


def summarise(title: str, folder: Path, scored: Sequence[ScoredVariant], at: Where, recipe: str) -> ComparisonDocument:
    """The variants and their differences to the baseline.

    The origin says when the scores were first compared: of a comparison of the same scores that is in the folder, date,
    commit and version are kept.

    Args:
        title: the comparison's name.
        folder: for its files.
        scored: the variants, the baseline first.
        at: which prediction was compared.
        recipe: TOML that makes the comparison again.
    """
    rows = tuple(ComparedVariant.model_validate(one.summary()) for one in scored)
    return ComparisonDocument(
        comparison=title,
        folder=str(folder),
        at=at,
        rows=rows,
        differences=differences(scored[0], scored[1:]),
        protocols={one.variant.label: protocol(one.variant.experiments[0]) for one in scored},
        origin=_origin(folder / RESULT, rows, recipe),
    )


def _origin(stored: Path, rows: Sequence[ComparedVariant], recipe: str) -> Origin:
    """Of the stored comparison where it has the same scores, else of today; with this recipe."""
    try:
        before = json.loads(stored.read_text(encoding="utf-8"))
        if [(row["label"], row["scores"]) for row in before["rows"]] == [(row.label, list(row.scores)) for row in rows]:
            return Origin.model_validate(before["origin"] | {"recipe": recipe})
    except (OSError, ValueError, KeyError, TypeError):  # none, of an older version, or damaged
        pass
    return Origin(date=now()[: len("YYYY-MM-DD")], commit=git_commit(Path.cwd()), version=__version__, recipe=recipe)


def write(document: ComparisonDocument, scored: Sequence[ScoredVariant], images: int) -> ComparisonDocument:
    """comparison.json, table.md, bars, and so many images where the variants differ, into the document's folder.

    Returns:
        The document as stored, with the names of the images that were drawn.
    """
    folder = Path(document.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, comparison_markdown(document))
    save(bars(document.rows, "classes", "IoU per class, mean over random seeds"), folder / CLASSES)
    save(bars(document.rows, "effects", "what the masks get right and wrong"), folder / EFFECTS)
    drawn = []
    for image, figure in differing(scored, images):
        save(figure, folder / image_file(image))
        drawn.append(image)
    document = document.model_copy(update={"drawn": tuple(drawn)})
    write_atomic(folder / RESULT, json.dumps(document.to_json(), indent=1))
    return document


def image_file(image: str) -> str:
    """Name of the figure of an image where the variants differ."""
    return f"image-{image}.png"
