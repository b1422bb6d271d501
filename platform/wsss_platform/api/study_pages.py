"""A study's figures and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsss_platform.report.study_page import FIGURE, FIGURE_CAPTION, PAGE, page
from wsss_platform.search.documents import StudyComparison, StudyDocument
from wsss_platform.search.masks.table import INNER
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.comparison import COMPARISON
from wsss_platform.tune.figures import draw
from wsss_platform.tune.request import StudyResult
from wsss_platform.tune.study import read_json, table
from wsss_platform.tune.study_storage import open_study


def study_document(name: str, result: StudyResult) -> StudyDocument:
    """What a study came to, as a document."""
    settings = result.folder / INNER
    return StudyDocument(
        study=name,
        folder=str(result.folder),
        objective=result.objective,
        objectives=result.objectives,
        front=tuple(row.number for row in result.front),
        selection=result.selection,
        evaluations=result.evaluations,
        comparison=() if result.comparison is None else result.comparison.rows,
        report=None if result.comparison is None else result.comparison.report,
        inner=str(settings) if settings.is_dir() else None,
        best=result.best,
        best_config=None if result.best_config is None else str(result.best_config),
        figure=str(result.folder / FIGURE) if (result.folder / FIGURE).is_file() else None,
        trials=result.rows,
    )


def write_page(
    folder: Path, study_storage: str | None = None, on_skip: Callable[[str], None] = lambda message: None
) -> list[Path]:
    """Draw a study's figures and write its page.

    Args:
        folder: the study's, where PNG files and `study.html` go.
        study_storage: URL of the database that the study lives in; None for a journal in its folder.
        on_skip: called with which figure could not be drawn, and why (too few trials, a missing package).

    Returns:
        The files that were written, the page last.
    """
    study = open_study(folder, study_storage)
    rows = table(study)
    drawn, skipped = draw(study, rows, folder, on_skip)
    identity = read_json(folder / "study.json") if (folder / "study.json").is_file() else {}
    stored = folder / COMPARISON
    comparison = StudyComparison.model_validate(read_json(stored)) if stored.is_file() else None
    if (folder / FIGURE).is_file():
        drawn = [("Masks", FIGURE_CAPTION, folder / FIGURE), *drawn]
    write_atomic(folder / PAGE, page(folder.name, identity, rows, comparison, drawn, skipped))
    return [*(path for _, _, path in drawn), folder / PAGE]
